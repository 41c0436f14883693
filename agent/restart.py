"""What `decide` does when the agent itself failed or was killed: it marks what was in flight."""

from dataclasses import replace

from agent import follow_frames, follow_requests
from agent.actions import Action, Notice
from agent.events import AnalysisMoved, RecordingHeld, SessionResumed
from agent.state import State, Told
from drivers.contract.instrument import SwitchEnergy

Step = tuple[State, tuple[Action, ...]]


def session_resumed(state: State, event: SessionResumed) -> Step:
    """Go on with a session that was cut short.

    What was sent may have been done and is not sent again; what waited for an answer is denied; frames that
    are recorded and have no map are skipped; the evidence begins anew, for it was in the process that ended,
    and where nothing is scanned a first frame is asked for again.  Times are of another run's clock, so
    commands that were sent before count as sent now: the limit a minute holds across the restart.
    """
    why = "the agent was restarted"
    was_changing_energy = any(
        request.status == "sent" and isinstance(request.wish.command, SwitchEnergy)
        for request in state.requests
    )
    state, actions = follow_requests.give_up(replace(state, is_finishing=False), why, is_last=True)
    state, skipped = follow_frames.leave(state, f"{why} before it was analysed")
    resumed = replace(
        state,
        link="connecting",
        energy_doubt=f"{why} during a change of the beam energy"
        if was_changing_energy
        else state.energy_doubt,
        evidence=replace(
            state.evidence,
            weighing=None,
            waiting=(),
            asked=(),
            last=None,
            is_stale=True,
            pending=None,
            early=None,
            verdict=None,
            told=Told(),
        ),
        instruments=(),
        confirmed_s=None,
        sent_s=(event.at_s,) * len(state.sent_s),
        quiet_since_s=None,
        is_quiet=False,
        is_disk_low=False,
        is_source_ended=False,
        end_reason="",
        is_aborted=False,
    )
    text = f"{why}, and goes on with the session at entry {event.position}"
    if event.bytes_cut:
        text += f"; {event.bytes_cut} bytes that nothing had been told of were cut off"
    return resumed, (Notice(level="warning", text=text), *actions, *skipped)


def recording_held(event: RecordingHeld) -> tuple[Action, ...]:
    """Leave word that for a while nothing could be recorded."""
    text = f"for {event.held_s:.0f} s nothing could be recorded: {event.reason}"
    remedy = "frames waited with the bridge; those that it could not keep it has announced as dropped"
    return (Notice(level="warning", text=text, remedy=remedy),)


def analysis_moved(event: AnalysisMoved) -> tuple[Action, ...]:
    """Leave word that frames are analysed elsewhere from now on."""
    text = f"the analysis goes on on {event.device}: {event.reason}"
    return (Notice(level="error", text=text, remedy="maps take longer; restart when the device is mended"),)
