"""What `decide` does in doubt: it stops acting, blanks the beam where it can, and tells; once."""

from dataclasses import replace

from agent.actions import Action, Notice, SendCommand
from agent.state import State
from drivers.contract.instrument import BlankBeam, CommandOutcome

Step = tuple[State, tuple[Action, ...]]

#: Beginning of the names of commands that blank the beam.
BLANKING = "blank"

#: How long blanking may take [s].
_BLANKING_S = 5.0


def halt(state: State, why: str) -> Step:
    """Ask for nothing more until the operator sets a mode; what is open is ended by the caller."""
    if state.halted:
        return state, ()
    state = replace(state, halted=why, evidence=replace(state.evidence, pending=None, is_stale=False))
    state, blanking = _blank(state)
    done = "the beam is being blanked" if blanking else "the beam is as it was"
    notice = Notice(
        level="error",
        text=f"the agent has stopped acting: {why}; {done}",
        remedy="look at the instrument; `columnist mode advise` or `auto` lets the agent go on",
    )
    return state, (notice, *blanking)


def resume(state: State) -> Step:
    """Act again: the operator has set a mode."""
    if not state.halted:
        return state, ()
    notice = Notice(level="info", text=f"the agent acts again; it had stopped because {state.halted}")
    return replace(state, halted=""), (notice,)


def blanking_ended(outcome: CommandOutcome) -> Notice:
    """Say what became of blanking the beam."""
    if outcome.status == "confirmed":
        return Notice(level="info", text="the beam is blanked")
    return Notice(
        level="error",
        text=f"the beam could not be blanked: {outcome.status}: {outcome.reason or 'no reason given'}",
        remedy="blank it by hand",
    )


def _blank(state: State) -> Step:
    """Blank the beam where the instrument can and the agent may."""
    can = state.capabilities is not None and BlankBeam().kind in state.capabilities.commands
    if not can or state.link != "up" or state.is_reader or state.mode == "observe":
        return state, ()
    number = state.blanked + 1
    order = SendCommand(request=f"{BLANKING}{number}", command=BlankBeam(), timeout_s=_BLANKING_S)
    return replace(state, blanked=number), (order,)
