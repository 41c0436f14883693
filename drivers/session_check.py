"""Checks a recorded session from end to end and says what is whole, what is damaged, and where."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivers.session_layout import (
    ALIGNMENT,
    FACTS,
    ArrayReference,
    DamagedSessionError,
    first_digest,
    segment_name,
)
from drivers.session_reader import SessionReader, find_problem, read_record


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it was recorded, and the entry that it was found at."""

    position: int
    problem: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check of a session found.

    Parameters
    ----------
    session : str
        Name of the session.
    entries, arrays : int
        How many were read and found whole.
    whole_facts : int
        Entries before the first that is missing or altered; some of their arrays may be lost.
    whole_entries : int
        Entries before the first damage of any kind.
    is_closed : bool
        Whether the session was ended, not cut short.
    head : str
        Digest of the last entry read.
    damages : tuple of Damage
        In order of position.
    notes : tuple of str
        What is no damage but worth saying.
    """

    session: str
    entries: int
    arrays: int
    whole_facts: int
    whole_entries: int
    is_closed: bool
    head: str
    damages: tuple[Damage, ...]
    notes: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged; a session cut short by a kill is whole as far as it goes."""
        return not self.damages


def check_session(folder: Path) -> Findings:
    """Read every entry and every array of a session.

    Raises
    ------
    InputError
        If there is no session, or one of another layout.
    """
    try:
        with SessionReader(folder) as reader:
            return _check(reader)
    except DamagedSessionError as error:
        return Findings(folder.name, 0, 0, 0, 0, False, "", (Damage(0, str(error)),), (*_find_loose(folder),))


def _check(reader: SessionReader) -> Findings:
    damages: list[Damage] = []
    facts: list[int] = []  # positions where they are damaged
    entries = arrays = expected = 0
    ends: dict[int, int] = {}  # of segments: where the last array that an entry names ends
    digest, last = first_digest(reader.name), "{}"
    try:
        for row in reader.stored_rows():
            problem = find_problem(row, expected, digest)
            entries += problem is None
            if problem is not None:
                facts.append(min(expected, row.position))
                damages.append(Damage(facts[-1], problem))
            if row.array is not None:
                damage = _find_array_damage(reader.folder, row.position, row.array)
                arrays += damage is None
                damages += [damage] if damage else []
                end = row.array.offset + row.array.length
                ends[row.array.segment] = max(end, ends.get(row.array.segment, 0))
            digest, expected, last = row.digest, row.position + 1, row.event
    except DamagedSessionError as error:
        facts.append(expected)
        damages.append(Damage(expected, str(error)))
    is_closed = _kind(last) == "session_ending"
    whole_facts = min([expected, *facts])
    whole = min([whole_facts, *(damage.position for damage in damages)])
    notes = [*_find_strays(reader.folder, ends)]
    if not is_closed and not damages:
        notes.append("the session was not ended: it is being recorded, or its recorder was killed")
    return Findings(
        session=reader.name,
        entries=entries,
        arrays=arrays,
        whole_facts=whole_facts,
        whole_entries=whole,
        is_closed=is_closed,
        head=digest.hex(),
        damages=tuple(damages),
        notes=tuple(notes),
    )


def _kind(event: str) -> object:
    """Kind of an event, which may be damaged."""
    try:
        tree = json.loads(event)
    except ValueError:
        return None
    return tree.get("kind") if isinstance(tree, dict) else None


def _find_array_damage(folder: Path, position: int, reference: ArrayReference) -> Damage | None:
    try:
        read_record(folder, reference)
    except DamagedSessionError as error:
        return Damage(position, f"the array of entry {position} is lost: {error}")
    return None


def _find_strays(folder: Path, ends: dict[int, int]) -> Iterator[str]:
    """Say what the segments hold that no entry names."""
    segment = 0
    while (path := folder / segment_name(segment)).exists():
        used = -(-ends.get(segment, 0) // ALIGNMENT) * ALIGNMENT
        excess = path.stat().st_size - used
        if excess > 0:
            yield (
                f"{path.name} holds {excess} bytes that no entry names: an append that was cut short before "
                f"it was acknowledged, or {FACTS}-wal was lost"
            )
        segment += 1


def _find_loose(folder: Path) -> Iterator[str]:
    """Count the arrays of segments whose facts are lost, by their own headers."""
    for path in sorted(folder.glob("arrays-*.npys")):
        found = sum(1 for _ in scan_segment(path))
        yield (
            f"{path.name} holds {found} arrays, which numpy.load reads at multiples of {ALIGNMENT} bytes; "
            "what they are of is lost"
        )


def scan_segment(path: Path) -> Iterator[int]:
    """Yield the first byte of every whole NPY record of a segment, without the help of the facts."""
    place, size = 0, path.stat().st_size
    with path.open("rb") as segment:
        while place < size:
            segment.seek(place)
            try:
                if np.lib.format.read_magic(segment) != (1, 0):
                    raise ValueError("not of version 1.0")
                shape, _, dtype = np.lib.format.read_array_header_1_0(segment)
                end = segment.tell() + math.prod(shape) * dtype.itemsize
            except ValueError:
                place += ALIGNMENT
                continue
            if end <= size:
                yield place
            place = max(-(-end // ALIGNMENT), place // ALIGNMENT + 1) * ALIGNMENT
