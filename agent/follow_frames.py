"""What `decide` does about frames: their order, their context, the analysis, the watchdog."""

from dataclasses import replace

from agent.actions import Action, AnalyseFrame, Notice, PublishMap, RejectFrame, SkipFrame
from agent.booking import book_frame, book_lost, note_excess
from agent.contexts import DoubtError, settle_frame
from agent.events import AnalysisFailed, FrameMapped, FramesDropped, FrameSeen, FrameSpoiled
from agent.follow_evidence import is_behind, lose_frame, note_asked, queue_map
from agent.follow_requests import propose
from agent.frames import FrameRef
from agent.policy import consider, remember
from agent.state import State
from drivers.contract.facts import Settled
from drivers.contract.header import FrameHeader
from drivers.contract.instrument import SwitchDetector

#: Numbers of refused frames that are remembered, so that they are not taken for missing.
_REFUSED_KEPT = 256

Step = tuple[State, tuple[Action, ...]]


def frame_seen(state: State, event: FrameSeen) -> Step:
    """Check a frame's number, settle its context, and queue it for analysis."""
    header = event.header
    frame = FrameRef(session=header.session, sequence=header.sequence)
    counts = replace(state.counts, seen=state.counts.seen + 1)
    state = replace(state, counts=counts, quiet_since_s=event.at_s, is_quiet=False)
    if state.is_finishing:
        if frame.session == state.bridge_session:  # recorded all the same: if the session goes on, after it
            state = replace(state, next_sequence=max(state.next_sequence or 0, frame.sequence + 1))
        return _skip(book_frame(state, header), frame, "the session is ending")
    objection = _out_of_order(state, frame)
    if objection:
        return _reject(state, RejectFrame(frame=frame, reason=objection[0], remedy=objection[1]))
    state, gap = _note_gap(state, frame)
    state = note_asked(book_frame(state, header), header, frame)
    state, excess = note_excess(state)
    told = (*gap, *excess)
    try:
        settled = _settle(state, header)
    except DoubtError as doubt:
        verdict = RejectFrame(frame=frame, reason=doubt.reason, remedy=doubt.remedy, is_quarantined=True)
        state, actions = _reject(state, verdict)
        state, lost = lose_frame(state, frame, doubt.reason)
        return state, (*told, *actions, *lost)
    state, actions = go_on(replace(state, waiting=(*state.waiting, (frame, settled))))
    return state, (*told, *actions)


def frame_spoiled(state: State, event: FrameSpoiled) -> Step:
    """Announce what the edge has refused."""
    told = event.rejected
    frame = None
    if told.session is not None and told.sequence is not None:
        frame = FrameRef(session=told.session, sequence=told.sequence)
        if told.session == state.bridge_session:  # it may yet come again, and if not it is no gap
            state = replace(state, refused=(*state.refused, told.sequence)[-_REFUSED_KEPT:])
            state = book_lost(state, 1)
    return _reject(
        _awake(state, event.at_s), RejectFrame(frame=frame, reason=told.reason, remedy=told.remedy)
    )


def frames_dropped(state: State, event: FramesDropped) -> Step:
    """Count what the bridge could not keep."""
    told = event.dropped
    counts = replace(state.counts, dropped=state.counts.dropped + told.count)
    if told.session == state.bridge_session and state.next_sequence is not None:
        state = replace(state, next_sequence=max(state.next_sequence, told.last_sequence + 1))
    state = book_lost(state, told.count)
    numbers = f"{told.first_sequence} to {told.last_sequence}"
    text = f"the bridge dropped {told.count} frames, {numbers}: {told.reason}"
    remedy = "let the instrument wait (policy.when_behind = every), or scan more slowly"
    return replace(state, counts=counts), (Notice(level="warning", text=text, remedy=remedy),)


def frame_mapped(state: State, event: FrameMapped) -> Step:
    """Publish a map, let the policy think about it, and go on with the next frame."""
    counts = replace(
        state.counts, mapped=state.counts.mapped + 1, columns=state.counts.columns + event.header.columns
    )
    policy, limits = state.rules.policy, state.rules.limits
    memory = remember(state.memory, event.header, policy)
    state = replace(_awake(state, event.at_s), counts=counts, memory=memory, busy=None)
    actions: tuple[Action, ...] = (PublishMap(frame=event.frame),)
    if not state.is_finishing:
        state, more = queue_map(state, event.frame)
        actions += more
    if is_enough(state):
        return state, actions
    is_plain = policy.rule == "entropy" and state.capabilities is not None and not state.is_finishing
    if is_plain and state.capabilities is not None and state.mode != "observe":
        wish = consider(memory, event.header, state.capabilities, policy, limits)
        if wish is not None:
            state, more = propose(state, event.at_s, wish, event.frame)
            actions += more
    state, more = go_on(state)
    return state, (*actions, *more)


def analysis_failed(state: State, event: AnalysisFailed) -> Step:
    """Announce that a frame could not be mapped, and go on with the next."""
    verdict = RejectFrame(
        frame=event.frame,
        reason=event.reason,
        remedy="the frame is recorded: mend what is named, and read it again by `columnist run --replay "
        "SESSION` (--host, --detector, --set; context.override where the frame itself is wrong)",
    )
    state, actions = _reject(replace(_awake(state, event.at_s), busy=None), verdict)
    state, lost = lose_frame(state, event.frame, event.reason)
    state, more = go_on(state)
    return state, (*actions, *lost, *more)


def is_enough(state: State) -> bool:
    """Whether as many maps are made as were asked for."""
    return 0 < state.rules.max_maps <= state.counts.mapped


def leave(state: State, why: str = "the session ended") -> Step:
    """Announce what will not be mapped any more."""
    left = [frame for frame, _ in state.waiting]
    if state.busy is not None:
        left.insert(0, state.busy)
    actions: tuple[Action, ...] = ()
    for frame in left:
        state, more = _skip(state, frame, why)
        actions += more
    evidence = replace(state.evidence, weighing=None, waiting=())
    return replace(state, busy=None, waiting=(), evidence=evidence), actions


def watch(state: State, now_s: float) -> Step:
    """Warn once when nothing has come or been done for too long; armed by the link, frames and maps."""
    if state.quiet_since_s is None or state.is_quiet or state.is_finishing:
        return state, ()
    silence_s = now_s - state.quiet_since_s
    if silence_s < state.rules.watch.no_frame_s:
        return state, ()
    if state.busy is not None:
        text = f"{state.busy} has been analysed for {silence_s:.0f} s, and others wait"
        remedy = "the machine is overloaded, or analysis.threads is more than it has cores to spare"
    elif state.instrument is not None and state.instrument.is_blanked:
        text = f"no frame for {silence_s:.0f} s: the instrument says that the beam is blanked"
        remedy = "unblank it at the instrument"
    else:
        text = f"no frame for {silence_s:.0f} s"
        remedy = "check that the instrument scans and that the beam is not blanked"
    notice = Notice(level="warning", text=text, remedy=remedy)
    return replace(state, is_quiet=True), (notice,)


def _awake(state: State, now_s: float) -> State:
    """Start the watchdog's time anew, if it is armed."""
    return state if state.quiet_since_s is None else replace(state, quiet_since_s=now_s, is_quiet=False)


def go_on(state: State) -> Step:
    """Begin the next analysis if none is running; when behind, as the rules say, skip to the newest."""
    skipped: tuple[Action, ...] = ()
    if state.rules.policy.when_behind == "newest" and len(state.waiting) > 1:
        *older, newest = state.waiting
        # What a request asked for is worth its dose: it is read, however late.
        asked = [one for one in older if state.evidence.request_of(one[0]) is not None]
        skipped = tuple(
            SkipFrame(frame=one[0], reason=f"newer frames had come: {newest[0]} is next")
            for one in older
            if one not in asked
        )
        counts = replace(state.counts, skipped=state.counts.skipped + len(skipped))
        state = replace(state, waiting=(*asked, newest), counts=counts)
    is_blocked = state.busy is not None or state.is_finishing or is_enough(state) or is_behind(state)
    if is_blocked or not state.waiting:
        return state, skipped
    (frame, settled), *rest = state.waiting
    return replace(state, busy=frame, waiting=tuple(rest)), (
        *skipped,
        AnalyseFrame(frame=frame, settled=settled),
    )


def _out_of_order(state: State, frame: FrameRef) -> tuple[str, str] | None:
    """Reason and remedy if a frame is of another session, or its number was there before."""
    if state.bridge_session is not None and frame.session != state.bridge_session:
        reason = f"{frame} came while the session is {state.bridge_session}"
        return reason, "a bridge that begins a new session must say so first"
    if state.next_sequence is not None and frame.sequence < state.next_sequence:
        expected = f"expected number {state.next_sequence} or later"
        return f"{frame} was repeated or came out of order: {expected}", "send each frame once, in order"
    return None


def _note_gap(state: State, frame: FrameRef) -> Step:
    """Count the numbers between the frame expected and the one that came."""
    first = frame.sequence if state.next_sequence is None else state.next_sequence
    refused = {number for number in state.refused if first <= number < frame.sequence}
    missing = frame.sequence - first - len(refused)
    counts = replace(state.counts, missing=state.counts.missing + missing)
    state = book_lost(state, missing)
    state = replace(state, next_sequence=frame.sequence + 1, counts=counts)
    if not missing:
        return state, ()
    numbers = f"{first} to {frame.sequence - 1}"
    text = f"{missing} frames are missing: of the numbers {numbers} of {frame.session} they never came"
    remedy = "the bridge should hold frames until they are acknowledged, or announce them as dropped"
    return state, (Notice(level="warning", text=text, remedy=remedy),)


def _settle(state: State, header: FrameHeader) -> Settled:
    """Find the context of a frame."""
    if state.energy_doubt:
        raise DoubtError(
            f"frame {header.sequence} came while the beam energy is in doubt: {state.energy_doubt}",
            "frames are taken up again once the instrument has confirmed at which energy it stands",
        )
    return settle_frame(header, state.instruments, state.rules.context, _awaited(state), state.confirmed_s)


def _awaited(state: State) -> tuple[str, ...]:
    """Detectors that a command on its way is about to switch to."""
    commands = [request.wish.command for request in state.requests if request.status == "sent"]
    return tuple(
        name for command in commands if isinstance(command, SwitchDetector) for name in command.detectors
    )


def _reject(state: State, verdict: RejectFrame) -> Step:
    """Count a rejection."""
    counts = replace(state.counts, rejected=state.counts.rejected + 1)
    return replace(state, counts=counts), (verdict,)


def _skip(state: State, frame: FrameRef, reason: str) -> Step:
    """Count a frame that is recorded and not analysed."""
    counts = replace(state.counts, skipped=state.counts.skipped + 1)
    return replace(state, counts=counts), (SkipFrame(frame=frame, reason=reason),)
