"""The agent's mind: from what it knows and what is now so to what it knows next and wants done.

Pure: the same events give the same actions, on any day and any machine.  It reads no clock; each event
brings its time.
"""

from dataclasses import replace
from typing import assert_never

from agent import follow_frames, follow_requests
from agent.actions import Action, AnnounceMode, FinishSession, Notice
from agent.events import (
    AnalysisFailed,
    CommandEnded,
    Event,
    FrameMapped,
    FramesDropped,
    FrameSeen,
    FrameSpoiled,
    LinkLost,
    LinkMade,
    OperatorSpoke,
    SessionEnding,
    SessionOpened,
    SourceEnded,
    StateSeen,
    Ticked,
)
from agent.state import State

Step = tuple[State, tuple[Action, ...]]

#: States of the instrument that are kept to tell how it stood while a frame was taken.
_STATES_KEPT = 16


def decide(state: State, event: Event) -> Step:
    """Take one event into account; returns the next state and what is to be done, in this order."""
    match event:
        case SessionOpened():
            opened = State(session=event.session, rules=event.rules, mode=event.rules.policy.mode)
            return opened, (AnnounceMode(mode=opened.mode),)
        case LinkMade():
            return _link_made(state, event)
        case LinkLost():
            down = replace(state, link="down", quiet_since_s=None, is_quiet=False)
            notice = Notice(
                level="error",
                text=f"link to the instrument lost: {event.reason}",
                remedy="check the bridge; the agent keeps trying, and asks for nothing meanwhile",
            )
            down, actions = follow_requests.give_up(down, event.at_s, "the link to the instrument was lost")
            return down, (notice, *actions)
        case StateSeen():
            return replace(state, instruments=(*state.instruments, event.state)[-_STATES_KEPT:]), ()
        case FrameSeen():
            return follow_frames.frame_seen(state, event)
        case FrameSpoiled():
            return follow_frames.frame_spoiled(state, event)
        case FramesDropped():
            return follow_frames.frames_dropped(state, event)
        case FrameMapped():
            return _finish_if_done(*follow_frames.frame_mapped(state, event))
        case AnalysisFailed():
            return _finish_if_done(*follow_frames.analysis_failed(state, event))
        case CommandEnded():
            return follow_requests.command_ended(state, event)
        case OperatorSpoke():
            return follow_requests.operator_spoke(state, event)
        case Ticked():
            state, actions = follow_requests.expire(state, event.at_s)
            state, more = follow_frames.watch(state, event.at_s)
            return state, (*actions, *more)
        case SourceEnded():
            ended = replace(
                state,
                is_source_ended=True,
                quiet_since_s=None,
                end_reason=event.reason,
                is_aborted=event.is_aborted,
            )
            return _finish_if_done(ended, ())
        case SessionEnding():
            return follow_requests.give_up(replace(state, is_finishing=True), event.at_s, "the session ended")
        case _:
            assert_never(event)


def _link_made(state: State, event: LinkMade) -> Step:
    """Take note of the instrument; numbers start anew with a new session of the bridge."""
    link = event.link
    is_same = state.bridge_session == link.session
    made = replace(
        state,
        link="up",
        bridge_session=link.session,
        capabilities=link.capabilities,
        instruments=(*(state.instruments if is_same else ()), link.state)[-_STATES_KEPT:],
        next_sequence=state.next_sequence if is_same else link.next_sequence,
        quiet_since_s=event.at_s,
        is_quiet=False,
    )
    offered = ", ".join(detector.name for detector in link.capabilities.detectors) or "no detectors"
    how = "again in touch with" if is_same else "in touch with"
    text = f"{how} {link.capabilities.instrument} ({offered}), session {link.session}"
    return made, (Notice(level="info", text=text),)


def _finish_if_done(state: State, actions: tuple[Action, ...]) -> Step:
    """End the session once enough frames are mapped, or nothing is left to do and nothing more will come."""
    if state.is_finishing:
        return state, actions
    most = state.rules.max_maps
    if most and state.counts.mapped >= most:
        reason, is_aborted = f"{most} maps made, as asked for", False
    elif state.is_source_ended and state.busy is None and not state.waiting:
        reason, is_aborted = state.end_reason or "the source has ended", state.is_aborted
    else:
        return state, actions
    finish = FinishSession(reason=reason, is_aborted=is_aborted)
    return replace(state, is_finishing=True), (*actions, finish)
