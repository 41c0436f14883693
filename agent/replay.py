"""Replays a recorded session through `decide`, and the analysis too if asked, and names what differs.

Decisions follow from events alone, so the recorded events must give the recorded actions; maps follow
from pixels, context and settings, so each analysis must give the recorded map to the bit.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agent.actions import Action, AnalyseFrame, LeaveOut, WeighEvidence
from agent.decide import decide
from agent.events import (
    AnalysisFailed,
    AnalysisMoved,
    EvidenceWeighed,
    FrameMapped,
    FrameSeen,
    SessionOpened,
    SessionResumed,
)
from agent.frames import FrameRef
from agent.recording import RecordedEntry, Recording
from agent.settings import AnalysisSettings
from agent.state import State
from drivers.contract.errors import InputError
from drivers.contract.header import FrameHeader
from drivers.contract.maps import DefectMap

if TYPE_CHECKING:  # brings torch, which a replay of decisions alone does not need
    from agent.parts import Analysis, Weigher


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that came out otherwise than recorded."""

    position: int
    what: str


@dataclass
class Outcome:
    """What a replay saw.

    Parameters
    ----------
    events, actions : Counter
        How many of each kind.
    maps_verified, weighings_verified : int
        Maps, and weighings of maps, that were made again and are the same to the bit.
    difference : Difference or None
        Where the replay stopped because something differs.
    """

    events: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    maps_verified: int = 0
    weighings_verified: int = 0
    difference: Difference | None = None

    @property
    def entries(self) -> int:
        """Entries replayed."""
        return self.events.total()


def replay(
    recording: Recording,
    *,
    stop: int | None = None,
    load_analysis: "Callable[[AnalysisSettings], Analysis] | None" = None,
    load_weigher: "Callable[[AnalysisSettings], Weigher] | None" = None,
    on_entry: Callable[[RecordedEntry], None] = lambda _: None,
) -> Outcome:
    """Replay a session up to its end, to before position `stop`, or to the first difference.

    Parameters
    ----------
    recording : Recording
    stop : int, optional
    load_analysis : callable, optional
        Makes the analysis from the recorded settings.  If given, every map is made again and compared,
        and every array of the session is read and checked.
    load_weigher : callable, optional
        Makes an empty weigher of evidence likewise.  If given, every map is weighed again and compared.
    on_entry : callable
        Is shown each entry that came out the same.
    """
    outcome, state = Outcome(), State()
    desk = _Desk(recording, load_analysis, load_weigher) if load_analysis is not None else None
    for entry in recording.entries(stop):
        problem = desk.check(entry) if desk is not None else None
        if problem is None:
            state, actions = decide(state, entry.event)
            problem = compare_actions(entry.actions, actions)
        if problem is not None:
            outcome.difference = Difference(entry.position, f"{entry.event.kind}: {problem}")
            return outcome
        if desk is not None:
            desk.take_note(entry, state)
            outcome.maps_verified = desk.maps_verified
            outcome.weighings_verified = desk.weighings_verified
        outcome.events[entry.event.kind] += 1
        outcome.actions.update(action.kind for action in entry.actions)
        on_entry(entry)
    return outcome


class _Desk:
    """Where maps are made again: keeps the frames that are still to be analysed."""

    def __init__(
        self,
        recording: Recording,
        load_analysis: "Callable[[AnalysisSettings], Analysis]",
        load_weigher: "Callable[[AnalysisSettings], Weigher] | None",
    ) -> None:
        self._recording, self._load_analysis, self._load_weigher = recording, load_analysis, load_weigher
        self._analysis: Analysis | None = None
        self._settings: AnalysisSettings | None = None
        self._weigher: Weigher | None = None
        self._rests_on_evidence = False
        self._order: tuple[WeighEvidence, State] | None = None
        self._frames: dict[FrameRef, tuple[FrameHeader, RecordedEntry]] = {}
        self._jobs: dict[FrameRef, AnalyseFrame] = {}
        self.maps_verified = self.weighings_verified = 0

    def check(self, entry: RecordedEntry) -> str | None:
        """Make the map of an entry again, if it has one, and say what differs."""
        event = entry.event
        if isinstance(event, SessionOpened):
            self._analysis = self._load_analysis(event.analysis)
            self._analysis.prepare()
            self._settings = event.analysis
            self._rests_on_evidence = event.rules.policy.rule == "value"
            self._begin_weighing()
        elif isinstance(event, SessionResumed):
            self._begin_weighing()  # the evidence of before was in the process that ended
        elif isinstance(event, AnalysisMoved) and self._settings is not None:
            self._analysis = self._load_analysis(self._settings.rebuilt(device=event.device))
            self._analysis.prepare()
        elif isinstance(event, FrameMapped):
            made = self._make_map(event.frame)
            if isinstance(made, str):
                return f"recorded a map of {event.frame}, replayed: {made}"
            problem = compare_json(
                event.header.model_dump(mode="json"), made.header.model_dump(mode="json"), "header"
            )
            problem = problem or compare_columns(self._recording.array(entry), made.columns)
            self.maps_verified += problem is None
            if self._weigher is not None:
                self._weigher.hold(event.frame, made, self._frames[event.frame][0])
            return problem
        elif isinstance(event, EvidenceWeighed):
            return self._weigh(event)
        elif isinstance(event, AnalysisFailed):
            made = self._make_map(event.frame)
            if made != event.reason:
                replayed = made if isinstance(made, str) else "a map"
                return f"recorded failure {event.reason!r}, replayed: {replayed}"
        elif entry.row.array is not None:
            self._recording.array(entry)
        return None

    def take_note(self, entry: RecordedEntry, state: State) -> None:
        """Keep the frame and the analyses that were ordered; forget the frames that nothing awaits."""
        if isinstance(entry.event, FrameSeen):
            header = entry.event.header
            frame = FrameRef(session=header.session, sequence=header.sequence)
            self._frames.setdefault(frame, (header, entry))
        for action in entry.actions:
            if isinstance(action, AnalyseFrame):
                self._jobs[action.frame] = action
            elif isinstance(action, WeighEvidence):
                self._order = (action, state)
            elif isinstance(action, LeaveOut) and self._weigher is not None:
                self._weigher.leave_out(action.frame)
        awaited = {state.busy, *(frame for frame, _ in state.waiting)}
        for frame in [frame for frame in self._frames if frame not in awaited]:
            del self._frames[frame]
            self._jobs.pop(frame, None)

    def _begin_weighing(self) -> None:
        """Begin with no evidence, if the rules rest on any and somebody is there to weigh it."""
        if self._rests_on_evidence and self._load_weigher is not None and self._settings is not None:
            self._weigher, self._order = self._load_weigher(self._settings), None

    def _weigh(self, event: EvidenceWeighed) -> str | None:
        """Weigh a map again, if one is there to do it, and say what differs."""
        if self._weigher is None:
            return None
        if self._order is None or self._order[0].frame != event.frame:
            return f"recorded a weighing of {event.frame}, replayed: none was ordered"
        order, state = self._order
        made = self._weigher.weigh(order, state.capabilities, state.rules)
        problem = compare_json(
            event.assessment.model_dump(mode="json"), made.model_dump(mode="json"), "assessment"
        )
        self.weighings_verified += problem is None
        return problem

    def _make_map(self, frame: FrameRef) -> DefectMap | str:
        """Return the map, or the reason why there is none."""
        if frame not in self._jobs or frame not in self._frames or self._analysis is None:
            return "no analysis of it was ordered"
        header, seen = self._frames[frame]
        try:
            return self._analysis.run(self._recording.array(seen), self._jobs[frame].settled, header)
        except InputError as error:
            return str(error)


def compare_actions(recorded: tuple[Action, ...], replayed: tuple[Action, ...]) -> str | None:
    """Say what is the first difference between two answers to an event, or None."""
    if len(recorded) != len(replayed):
        kinds = [", ".join(action.kind for action in side) or "nothing" for side in (recorded, replayed)]
        return f"recorded {kinds[0]}; replayed {kinds[1]}"
    for number, (left, right) in enumerate(zip(recorded, replayed, strict=True)):
        name = f"action {number} ({left.kind})"
        problem = compare_json(left.model_dump(mode="json"), right.model_dump(mode="json"), name)
        if problem is not None:
            return problem
    return None


def compare_json(recorded: object, replayed: object, name: str) -> str | None:
    """Say which is the first field that differs, or None; numbers must agree to the bit."""
    if isinstance(recorded, Mapping) and isinstance(replayed, Mapping):
        for key in [*recorded, *(key for key in replayed if key not in recorded)]:
            problem = compare_json(recorded.get(key), replayed.get(key), f"{name}.{key}")
            if problem is not None:
                return problem
        return None
    if isinstance(recorded, list) and isinstance(replayed, list) and len(recorded) == len(replayed):
        for index, (left, right) in enumerate(zip(recorded, replayed, strict=True)):
            problem = compare_json(left, right, f"{name}[{index}]")
            if problem is not None:
                return problem
        return None
    left, right = json.dumps(recorded), json.dumps(replayed)
    return None if left == right else f"{name}: recorded {_short(left)}, replayed {_short(right)}"


def compare_columns(recorded: NDArray[Any], replayed: NDArray[Any]) -> str | None:
    """Say which is the first column and field that differs in any bit, or None."""
    if recorded.dtype != replayed.dtype or recorded.shape != replayed.shape:
        return (
            f"columns: recorded {recorded.shape} of {recorded.dtype}, replayed {replayed.shape} of "
            f"{replayed.dtype}"
        )
    if recorded.tobytes() == replayed.tobytes():
        return None
    differs = {
        name: np.array(
            [a.tobytes() != b.tobytes() for a, b in zip(recorded[name], replayed[name], strict=True)]
        )
        for name in recorded.dtype.names or ()
    }
    column = min(int(np.argmax(where)) for where in differs.values() if where.any())
    name = next(name for name, where in differs.items() if where[column])
    total = int(np.logical_or.reduce(list(differs.values())).sum())
    return (
        f"column {column}, {name}: recorded {recorded[name][column]}, replayed {replayed[name][column]} "
        f"({total} of {len(recorded)} columns differ)"
    )


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."
