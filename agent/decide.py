"""The agent's mind: from what it knows and what is now so to what it knows next and wants done.

Pure: the same events give the same actions, on any day and any machine.  It reads no clock; each event
brings its time.
"""

from dataclasses import replace
from typing import assert_never

from agent import follow_evidence, follow_frames, follow_requests, restart
from agent.actions import Action, AnnounceMode, CheckpointJournal, FinishSession, Notice
from agent.booking import open_ledger
from agent.events import (
    AnalysisFailed,
    AnalysisMoved,
    CheckpointDue,
    CommandEnded,
    Event,
    EvidenceWeighed,
    FrameMapped,
    FramesDropped,
    FrameSeen,
    FrameSpoiled,
    HealthTaken,
    LinkLost,
    LinkMade,
    OperatorSpoke,
    RecordingHeld,
    SessionEnding,
    SessionOpened,
    SessionResumed,
    SourceEnded,
    StateSeen,
    Ticked,
)
from agent.state import State
from drivers.contract.instrument import InstrumentState, SwitchEnergy

Step = tuple[State, tuple[Action, ...]]


def decide(state: State, event: Event) -> Step:
    """Take one event into account; returns the next state and what is to be done, in this order."""
    match event:
        case SessionOpened():
            opened = State(session=event.session, rules=event.rules, mode=event.rules.policy.mode)
            return open_ledger(opened), (AnnounceMode(mode=opened.mode),)
        case SessionResumed():
            return _finish_if_done(*restart.session_resumed(state, event))
        case LinkMade():
            return _link_made(state, event)
        case LinkLost():
            down = replace(state, link="down", quiet_since_s=None, is_quiet=False)
            notice = Notice(
                level="error",
                text=f"link to the instrument lost: {event.reason}",
                remedy="check the bridge; the agent keeps trying, and asks for nothing meanwhile",
            )
            down, actions = follow_requests.give_up(down, "the link to the instrument was lost")
            return down, (notice, *actions)
        case StateSeen():
            return _state_seen(state, event.state), ()
        case FrameSeen():
            return follow_frames.frame_seen(state, event)
        case FrameSpoiled():
            return follow_frames.frame_spoiled(state, event)
        case FramesDropped():
            return follow_frames.frames_dropped(state, event)
        case FrameMapped():
            return _finish_if_done(*follow_frames.frame_mapped(state, event))
        case EvidenceWeighed():
            state, actions = follow_evidence.evidence_weighed(state, event)
            state, more = follow_frames.go_on(state)
            return _finish_if_done(state, (*actions, *more))
        case AnalysisFailed():
            return _finish_if_done(*follow_frames.analysis_failed(state, event))
        case AnalysisMoved():
            return state, restart.analysis_moved(event)
        case CommandEnded():
            state, actions = follow_requests.command_ended(state, event)
            state, more = follow_evidence.tick(state, event.at_s)
            return state, (*actions, *more)
        case OperatorSpoke():
            return follow_requests.operator_spoke(state, event)
        case Ticked():
            state, actions = follow_requests.expire(state, event.at_s)
            state, asked = follow_evidence.tick(state, event.at_s)
            state, more = follow_frames.watch(state, event.at_s)
            return state, (*actions, *asked, *more)
        case HealthTaken():
            return _watch_disk(state, event)
        case RecordingHeld():
            return state, restart.recording_held(event)
        case CheckpointDue():
            return state, (CheckpointJournal(),)
        case SourceEnded():
            return _source_ended(state, event)
        case SessionEnding():
            closed, skipped = follow_frames.leave(replace(state, is_finishing=True))
            closed, given_up = follow_requests.give_up(closed, "the session ended", is_last=True)
            return closed, (*skipped, *given_up)
        case _:
            assert_never(event)


def _link_made(state: State, event: LinkMade) -> Step:
    """Take note of the instrument; numbers start anew with a new session of the bridge."""
    link = event.link
    is_same = state.bridge_session == link.session
    made = _state_seen(
        replace(
            state,
            link="up",
            is_reader=link.role == "reader",
            bridge_session=link.session,
            capabilities=link.capabilities,
            instruments=state.instruments if is_same else (),
            next_sequence=state.next_sequence if is_same else link.next_sequence,
            refused=state.refused if is_same else (),
            quiet_since_s=event.at_s,
            is_quiet=False,
        ),
        link.state,
    )
    offered = ", ".join(detector.name for detector in link.capabilities.detectors) or "no detectors"
    how = "again in touch with" if is_same else "in touch with"
    text = f"{how} {link.capabilities.instrument} ({offered}), session {link.session}"
    notices = [Notice(level="info", text=text)]
    allowed = [one for one in link.capabilities.detectors if one.name in state.rules.limits.detectors]
    if state.mode != "observe" and len(allowed) < 2:
        named = ", ".join(detector.name for detector in allowed) or "none"
        text = f"no second detector is offered and allowed ({named}): none will be asked for"
        notices.append(Notice(level="info", text=text, remedy="limits.detectors says which are allowed"))
    if not made.is_reader:
        return made, tuple(notices)
    warning = Notice(
        level="warning",
        text="another client controls the instrument; this agent only watches",
        remedy="end the other client if the agent is to send requests",
    )
    return made, (*notices, warning)


def _state_seen(state: State, told: InstrumentState) -> State:
    """Take note of how the instrument stands; a doubt about its energy ends once it says where it is."""
    state = state.with_instrument(told)
    is_changing = any(
        request.status == "sent" and isinstance(request.wish.command, SwitchEnergy) and request.done == 0
        for request in state.requests
    )
    if not state.energy_doubt or is_changing or told.is_settling or told.energy_kev is None:
        return state
    return replace(state, energy_doubt="")


def _source_ended(state: State, event: SourceEnded) -> Step:
    """End when all frames are mapped, or wait for the instrument's next session, as the rules say."""
    quiet = replace(state, quiet_since_s=None)
    how = "broke off" if event.is_aborted else "ended"
    text = f"the instrument's session {how}: {event.reason or 'no reason given'}"
    notice = Notice(level="warning" if event.is_aborted else "info", text=text)
    if not state.rules.end_with_source:
        return quiet, (notice,)
    ended = replace(quiet, is_source_ended=True, end_reason=text, is_aborted=event.is_aborted)
    return _finish_if_done(ended, (notice,))


def _watch_disk(state: State, event: HealthTaken) -> Step:
    """Warn once when the disk is nearly full."""
    free_gib = event.disk_free_bytes / 2**30
    is_low = free_gib < state.rules.watch.disk_free_gib
    if is_low == state.is_disk_low:
        return state, ()
    state = replace(state, is_disk_low=is_low)
    if not is_low:
        return state, (Notice(level="info", text=f"{free_gib:.1f} GiB are free again"),)
    text = f"only {free_gib:.1f} GiB are free where sessions are kept"
    return state, (Notice(level="warning", text=text, remedy="make room, or stop the session"),)


def _finish_if_done(state: State, actions: tuple[Action, ...]) -> Step:
    """End the session once enough frames are mapped, or nothing is left to do and nothing more will come."""
    if state.is_finishing:
        return state, actions
    if not follow_evidence.is_idle(state):
        return state, actions
    if follow_frames.is_enough(state):
        reason, is_aborted = f"{state.counts.mapped} maps made, as asked for", False
    elif state.is_source_ended and state.busy is None and not state.waiting:
        reason, is_aborted = state.end_reason or "the source has ended", state.is_aborted
    else:
        return state, actions
    finish = FinishSession(reason=reason, is_aborted=is_aborted)
    return replace(state, is_finishing=True), (*actions, finish)
