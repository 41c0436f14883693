"""Which maps of a session are flagged, and why: a row for each kind of flag."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent.results.course import CoursePoint
from drivers.contract.maps import FlagKind

#: Runs of frames that a row names, at most; `maps.csv` names all.
_MOST_RUNS = 20


@dataclass(frozen=True)
class FlaggedMaps:
    """The maps with a flag of one kind.

    Parameters
    ----------
    kind : str
    maps : int
    frames : str
        Their frames' numbers, such as ``"0 to 4, 7"``.
    message : str
        Of the newest.
    """

    kind: FlagKind
    maps: int
    frames: str
    message: str


def flagged_maps(points: Sequence[CoursePoint]) -> tuple[FlaggedMaps, ...]:
    """Gather the flags of a session's maps, the kind that most maps have first."""
    found: dict[FlagKind, list[CoursePoint]] = {}
    messages: dict[FlagKind, str] = {}
    for point in points:
        for kind, message in {flag.kind: flag.message for flag in point.header.flags}.items():
            found.setdefault(kind, []).append(point)
            messages[kind] = message
    is_one = len({point.session for point in points}) < 2
    rows = (
        FlaggedMaps(kind, len(those), _named(those, is_one), messages[kind]) for kind, those in found.items()
    )
    return tuple(sorted(rows, key=lambda row: (-row.maps, row.kind)))


def _named(points: Sequence[CoursePoint], is_one: bool) -> str:
    """Frames by their numbers, and by the instrument's session where there was more than one."""
    runs = list(_runs(points))
    told = []
    for first, last in runs[:_MOST_RUNS]:
        numbers = f"{first.sequence}" if first is last else f"{first.sequence} to {last.sequence}"
        told.append(numbers if is_one else f"{numbers} of {first.session}")
    if len(runs) > _MOST_RUNS:
        told.append("and others")
    return ", ".join(told)


def _runs(points: Sequence[CoursePoint]) -> Iterator[tuple[CoursePoint, CoursePoint]]:
    """Yield first and last of frames that follow one another."""
    first = last = points[0]
    for point in points[1:]:
        if (point.session, point.sequence) != (last.session, last.sequence + 1):
            yield first, last
            first = point
        last = point
    yield first, last
