"""What requests leave behind that came to nothing: what is not asked for again, and whether anything is."""

from dataclasses import replace

from agent.actions import Action, Notice
from agent.requests import Promise, Repeat, Request
from agent.state import Evidence, State

Step = tuple[State, tuple[Action, ...]]

#: Scans of the field, and of windows, that told nothing since one did; after so many only a new map leads to
#: another.  Small windows here and there cost little, and what cannot be read in one place may be in the next
#: (`agent.wishes` leaves a place alone that was in vain often enough).
_MOST_FIELDS, _MOST_WINDOWS = 3, 12

#: What helps then.
_REMEDY = "look at the last frames: focus, dose, has the specimen moved on? then scan one of the whole field"

#: Maps after which something that could not be read is asked for again: focus and place may be others then.
_UNREADABLE_MAPS = 50

#: Repeats of either kind that are kept.
_REPEATS_KEPT = 20


def note_end(state: State, request: Request, *, came: bool) -> Step:
    """Note what a request that has ended says of the next; `came` is whether its frame did."""
    evidence, promise = state.evidence, request.wish.promise
    actions: tuple[Action, ...] = ()
    if promise is not None and request.status != "scored" and not request.was_withdrawn:
        repeat = _repeat_of(request, promise, state, is_unreadable=request.status == "unscored" and came)
        evidence = replace(evidence, repeats=_kept((*evidence.repeats, repeat)))
    if request.status == "scored":
        evidence = replace(evidence, vain_fields=0, vain_windows=0)
    elif promise is not None and request.status == "unscored":
        evidence, actions = _counted(evidence, request, promise)
    # After a failure or a frame in vain something else may do; an answer of the operator is to be respected.
    is_fruitless = promise is not None and request.status in ("failed", "unscored")
    may_go_on = evidence.vain_fields < _MOST_FIELDS and evidence.vain_windows < _MOST_WINDOWS
    is_stale = evidence.is_stale or request.was_withdrawn or (is_fruitless and may_go_on)
    evidence = replace(evidence, is_stale=is_stale and not request.was_turned_down)
    return replace(state, evidence=evidence), actions


def _repeat_of(request: Request, promise: Promise, state: State, *, is_unreadable: bool) -> Repeat:
    """What must not be asked for again for some maps."""
    maps = _UNREADABLE_MAPS if is_unreadable else state.rules.policy.cooldown_frames
    return Repeat(
        detectors=promise.detectors,
        energy_kev=promise.energy_kev,
        acquire=request.wish.acquire,
        until_map=state.counts.mapped + maps,
        dose_e_per_a2=promise.dose_e_per_a2,
        electrons=promise.electrons,
        is_unreadable=is_unreadable,
    )


def _counted(evidence: Evidence, request: Request, promise: Promise) -> tuple[Evidence, tuple[Action, ...]]:
    """Count a scan that told nothing, and say so when there were too many in a row."""
    acquire = request.wish.acquire
    is_window = acquire is not None and acquire.window is not None
    fields, windows = evidence.vain_fields + (not is_window), evidence.vain_windows + is_window
    score = evidence.score.scored(promise.plain_nats, 0.0)
    evidence = replace(evidence, score=score, vain_fields=fields, vain_windows=windows)
    if (windows != _MOST_WINDOWS) if is_window else (fields != _MOST_FIELDS):
        return evidence, ()
    what = f"{windows} scans of windows" if is_window else f"{fields} scans of the field"
    text = f"{what} told nothing, and none did since; no more is asked for until another map comes"
    return evidence, (Notice(level="warning", text=text, remedy=_REMEDY),)


def _kept(repeats: tuple[Repeat, ...]) -> tuple[Repeat, ...]:
    """The last repeats of either kind, in order: what was denied does not drive out what was in vain."""
    kinds = [[r for r in repeats if r.is_unreadable == kind][-_REPEATS_KEPT:] for kind in (False, True)]
    kept = {id(repeat) for kind in kinds for repeat in kind}
    return tuple(repeat for repeat in repeats if id(repeat) in kept)
