"""What `decide` does about evidence: maps are weighed one after another, and what follows is asked for."""

from dataclasses import replace

from agent.actions import Action, LeaveOut, Notice, WeighEvidence
from agent.assessment import Assessment, Situation
from agent.events import EvidenceWeighed
from agent.follow_requests import end, may_propose, propose
from agent.frames import FrameRef
from agent.goals import Verdict
from agent.interlocks import count_recent
from agent.requests import Figure, Request, Status, Wish, moved_to, request_of
from agent.state import State
from drivers.contract.header import FrameHeader
from drivers.contract.instrument import AcquireImage, SwitchDetector, SwitchEnergy
from models.nearest import nearest_energy_kev, readable

Step = tuple[State, tuple[Action, ...]]

#: Maps that may wait to be weighed: further ones are left out, or the next frame waits.
MOST_WAITING = 2

#: Frames that requests asked for, of which it is remembered.
_ASKED_KEPT = 32


def note_asked(state: State, header: FrameHeader, frame: FrameRef) -> State:
    """Remember which request a frame was taken for."""
    before, dot, name = (header.command_id or "").partition(f"{state.session}.")
    request = _switched_for(state, header) if before or not dot else request_of(name)
    if request is None or not any(known.id == request for known in state.requests):
        return state
    asked = (*state.evidence.asked, (frame, request))[-_ASKED_KEPT:]
    return replace(state, evidence=replace(state.evidence, asked=asked))


def is_behind(state: State) -> bool:
    """Whether so many maps wait to be weighed that the next frame should wait too."""
    return state.rules.policy.when_behind == "every" and len(state.evidence.waiting) >= MOST_WAITING


def is_idle(state: State) -> bool:
    """Whether no map is being weighed or waits for it."""
    return state.evidence.weighing is None and not state.evidence.waiting


def queue_map(state: State, frame: FrameRef) -> Step:
    """Have a map weighed as soon as those before it are."""
    if state.rules.policy.rule != "value":
        return state, ()
    waiting = (*state.evidence.waiting, frame)
    left: list[FrameRef] = []
    if state.rules.policy.when_behind == "newest":
        for older in waiting[:-1]:
            if len(waiting) - len(left) > MOST_WAITING and state.evidence.request_of(older) is None:
                left.append(older)
    kept = tuple(one for one in waiting if one not in left)
    state, actions = _weigh_next(replace(state, evidence=replace(state.evidence, waiting=kept)))
    return state, (*(LeaveOut(frame=one) for one in left), *actions)


def evidence_weighed(state: State, event: EvidenceWeighed) -> Step:
    """Take note of what a map added, score what asked for it, and ask for what is worth it."""
    told, frame = event.assessment, event.frame
    evidence = replace(
        state.evidence,
        weighing=None,
        last=frame,
        is_stale=False,
        pending=None,
        score=told.score or state.evidence.score,
        drift_angstrom=told.drift_angstrom if told.is_entered else state.evidence.drift_angstrom,
    )
    name = evidence.request_of(frame)
    state = replace(state, evidence=evidence)
    actions: tuple[Action, ...] = tuple(
        Notice(level="warning", text=f"{frame} is not in the evidence: {doubt}") for doubt in told.doubts
    )
    if told.changed:
        what = "1 column has changed" if told.changed == 1 else f"{told.changed} columns have changed"
        text = f"{what} since last seen ({frame})"
        actions += (Notice(level="warning", text=text, remedy="lower the dose, or the beam energy"),)
    state, more = _judged(state, told.verdict)
    actions += more
    if name is not None and told.is_complete:
        state, more = _scored(state, name, told)
        actions += more
    if told.wish is not None and may_propose(state):
        state, more = _ask(state, event.at_s, told.wish, frame)
        actions += more
    elif told.wish is not None and any(r.is_open and r.id == name for r in state.requests):
        state = replace(state, evidence=replace(state.evidence, pending=(told.wish, frame)))
    state, more = _weigh_next(state)
    return state, (*actions, *more)


def lose_frame(state: State, frame: FrameRef, why: str) -> Step:
    """End the request that asked for a frame which will not come into the evidence."""
    name = state.evidence.request_of(frame)
    request = next((r for r in state.requests if r.id == name and r.is_open), None)
    if request is None or request.wish.promise is None:
        return state, ()
    return _settle_score(state, request, "unscored", f"its frame is not in the evidence: {why}")


def tick(state: State, now_s: float) -> Step:
    """Ask for what had to wait for the limit of requests a minute, or choose anew what came to nothing.

    A mode that the operator sets has it choose anew too.
    """
    evidence = state.evidence
    if state.rules.policy.rule != "value" or not may_propose(state):
        return state, ()
    if evidence.pending is not None:
        wish, frame = evidence.pending
        return _ask(state, now_s, wish, frame)
    told = state.instrument
    if told is None or told.is_scanning or told.is_settling or told.is_blanked or not is_idle(state):
        return state, ()
    is_first = state.requests_made == 0 and state.counts.seen == 0
    if is_first or (evidence.is_stale and evidence.last is None):
        return _ask_first(state, now_s) if state.busy is None and not state.waiting else (state, ())
    if not evidence.is_stale or evidence.last is None:
        return state, ()
    situation = _situation(state, None)
    state = replace(state, evidence=replace(evidence, is_stale=False, weighing=evidence.last))
    return state, (WeighEvidence(frame=evidence.last, situation=situation, is_again=True),)


def _ask(state: State, now_s: float, wish: Wish, frame: FrameRef | None) -> Step:
    """Ask, or in auto wait until so many requests may be sent again."""
    recent = count_recent(state.sent_s, now_s)
    if state.mode == "auto" and recent + len(wish.commands) > state.rules.limits.requests_per_minute > 0:
        return replace(state, evidence=replace(state.evidence, pending=(wish, frame))), ()
    state = replace(state, evidence=replace(state.evidence, pending=None))
    return propose(state, now_s, wish, frame)


def _ask_first(state: State, now_s: float) -> Step:
    """Ask for a first frame, where nothing is known and nothing is scanned; once, until a mode is set."""
    told, can = state.instrument, state.capabilities
    acquire = AcquireImage()
    if told is None or can is None or acquire.kind not in can.commands:
        return state, ()
    state = replace(state, evidence=replace(state.evidence, is_stale=False))
    names = [one.name for one in readable(can.detectors) if one.name in state.rules.limits.detectors]
    names = names[: can.max_simultaneous]
    figures = () if told.dwell_us is None else (Figure(name="dwell", value=told.dwell_us, unit="us"),)
    reason = "Nothing is known of this field and nothing is scanned: one frame as the instrument stands."
    first = Wish(command=acquire, reason=reason, figures=figures)
    switch = SwitchDetector(detectors=tuple(names)) if names else None
    present = {one.name for one in told.detectors}
    if switch is not None and len(names) > len(present) and switch.kind in can.commands:
        reason = (
            "Nothing is known of this field and nothing is scanned: one frame as the instrument stands, on "
            f"{' and '.join(names)} at once, which costs no more dose than one of them."
        )
        first = Wish(command=switch, then=acquire, reason=reason, figures=figures)
    return propose(state, now_s, first, None)


def _switched_for(state: State, header: FrameHeader) -> str | None:
    """The request that switched to what a frame was taken with, if it asked for no frame of its own."""
    request = next((r for r in state.requests if r.status == "confirmed" and r.is_open), None)
    if request is None or header.command_id is not None or request.wish.then is not None:
        return None
    if state.confirmed_s is None or header.monotonic_s <= state.confirmed_s:
        return None
    match request.wish.command:
        case SwitchDetector(detectors=names):
            return request.id if header.detector is not None and header.detector.name in names else None
        case SwitchEnergy(energy_kev=energy):
            measured = header.energy_kev
            is_there = measured is not None and nearest_energy_kev(measured) == nearest_energy_kev(energy)
            return request.id if is_there else None
        case _:
            return None


def _weigh_next(state: State) -> Step:
    """Begin to weigh the next map, if none is being weighed."""
    evidence = state.evidence
    if evidence.weighing is not None or not evidence.waiting:
        return state, ()
    frame, *rest = evidence.waiting
    situation = _situation(state, evidence.request_of(frame))
    state = replace(state, evidence=replace(evidence, weighing=frame, waiting=tuple(rest)))
    return state, (WeighEvidence(frame=frame, situation=situation),)


def _situation(state: State, name: str | None) -> Situation:
    """What the weighing rests on beside the map."""
    request = next((r for r in state.requests if r.id == name), None)
    promise = None if request is None else request.wish.promise
    others = [r for r in state.requests if r.is_open and r is not request]
    mapped = state.counts.mapped
    repeats = tuple(one for one in state.evidence.repeats if one.until_map > mapped)
    may_ask = may_propose(replace(state, requests=tuple(others)))
    return Situation(
        instrument=state.instrument,
        is_asking=may_ask,
        score=state.evidence.score,
        request=None if promise is None else name,
        promised_nats=None if promise is None else promise.plain_nats,
        repeats=repeats,
    )


def _scored(state: State, name: str, told: Assessment) -> Step:
    """End the request that asked for a frame, with what came of its promise."""
    request = next((r for r in state.requests if r.id == name and r.is_open), None)
    if request is None or request.wish.promise is None:
        return state, ()
    status: Status = "scored"
    if not told.is_entered or told.realised_nats is None:
        doubt = "; ".join(told.doubts) or told.remark
        status, outcome = "unscored", f"its frame is not in the evidence: {doubt}"
    else:
        promised = request.wish.promise.gain_nats
        outcome = f"{told.realised_nats:.3g} nats came, {promised:.3g} were promised"
    return _settle_score(state, request, status, outcome)


def _settle_score(state: State, request: Request, status: Status, outcome: str) -> Step:
    """End a request that is confirmed; if the instrument's answer is still to come, keep what came first."""
    if request.status == "confirmed":
        return end(state, moved_to(request, status, outcome))
    early = (request.id, status, outcome)
    return replace(state, evidence=replace(state.evidence, early=early)), ()


def _judged(state: State, verdict: Verdict | None) -> Step:
    """Say it once when a goal is reached or cannot be, and once when that has changed for good."""
    if verdict is None:
        return state, ()
    before = state.evidence.told
    told = before.after(verdict.status)
    state = replace(state, evidence=replace(state.evidence, verdict=verdict, told=told))
    if told.status == before.status:
        return state, ()
    what = {
        "reached": "the goal is reached: nothing more is asked for",
        "cannot_be": "the goal cannot be reached: nothing more is asked for",
        "not_yet": "the goal is not reached any more"
        if before.status == "reached"
        else "the goal may be reached after all",
    }[verdict.status]
    text = f"{what}; {'; '.join(standing.sentence for standing in verdict.standings)}"
    if verdict.status == "cannot_be":
        return state, (Notice(level="warning", text=text, remedy="change [goals] or [limits]"),)
    return state, (Notice(level="info", text=text),)
