"""A recorded session as the agent's own events, actions and maps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from agent.actions import Action, RejectFrame, SkipFrame
from agent.events import EVENTS, Event, FrameMapped, FrameSeen
from agent.frames import FrameRef
from agent.journal import JournalEntry
from drivers.contract.errors import InputError
from drivers.contract.header import FrameHeader
from drivers.contract.maps import DefectMap
from drivers.session_layout import DamagedSessionError, Row
from drivers.session_reader import SessionReader

_ACTIONS: TypeAdapter[tuple[Action, ...]] = TypeAdapter(tuple[Action, ...])


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """One step of a session: what happened and what was decided on it; the array is read when asked for."""

    event: Event
    actions: tuple[Action, ...]
    row: Row

    @property
    def position(self) -> int:
        """Where it stands in the session."""
        return self.row.position


@dataclass(frozen=True, slots=True)
class MappedFrame:
    """A frame, its map, and when it was mapped on the agent's clock [s]."""

    header: FrameHeader
    pixels: NDArray[Any]
    defect_map: DefectMap
    at_s: float


class Recording:
    """Reads a session; parameters and errors as `SessionReader`."""

    def __init__(self, folder: Path) -> None:
        self._reader = SessionReader(folder)
        self.folder, self.name = folder, self._reader.name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def entries(self, stop: int | None = None, start: int = 0) -> Iterator[RecordedEntry]:
        """Yield the entries in order, from `start` to before `stop`; all before them are checked, too.

        Raises
        ------
        DamagedSessionError
            At the first entry that is missing, altered or unreadable.
        InputError
            At an entry that this version of columnist does not know.
        """
        for row in self._reader.rows(stop):
            if row.position < start:
                continue
            try:
                event = EVENTS.validate_json(row.event)
                actions = _ACTIONS.validate_json(row.actions)
            except ValidationError as error:
                first = error.errors()[0]
                raise InputError(
                    f"{self.folder}: entry {row.position} was recorded by another version of columnist "
                    f"({'.'.join(map(str, first['loc']))}: {first['msg']}); read it with that version"
                ) from error
            yield RecordedEntry(event, actions, row)

    def array(self, entry: RecordedEntry) -> NDArray[Any]:
        """Read the pixels or columns of an entry.

        Raises
        ------
        DamagedSessionError
            If they are lost.
        """
        found = self._reader.array(entry.row)
        if found is None:
            raise InputError(f"{self.folder}: entry {entry.position} ({entry.event.kind}) has no array")
        return found

    def journal_entry(self, entry: RecordedEntry) -> JournalEntry:
        """Return an entry as it was given to the journal, with its array."""
        return JournalEntry(entry.position, entry.event, entry.actions, self._reader.array(entry.row))

    def maps(
        self,
        stop: int | None = None,
        is_wanted: Callable[[int], bool] = lambda number: True,
        on_lost: Callable[[DamagedSessionError], None] | None = None,
    ) -> Iterator[MappedFrame]:
        """Yield maps with their frames, in the order in which they were made.

        Parameters
        ----------
        stop : int, optional
            Leave out what lies at this position and after.
        is_wanted : callable
            Whether to read the map of this number, counted from 0.
        on_lost : callable, optional
            Is told of a map whose pixels or columns are damaged, which is then left out.

        Raises
        ------
        DamagedSessionError
            As `entries` and, without `on_lost`, `array`.
        """
        waiting: dict[FrameRef, RecordedEntry] = {}
        number = 0
        for entry in self.entries(stop):
            event = entry.event
            if isinstance(event, FrameSeen):
                frame = FrameRef(session=event.header.session, sequence=event.header.sequence)
                if not any(isinstance(action, RejectFrame) for action in entry.actions):
                    waiting.setdefault(frame, entry)
            elif isinstance(event, FrameMapped):
                seen = waiting.pop(event.frame)
                if is_wanted(number):
                    try:
                        mapped = self._mapped_frame(seen, entry)
                    except DamagedSessionError as error:
                        if on_lost is None:
                            raise
                        on_lost(error)
                    else:
                        yield mapped
                number += 1
            for action in entry.actions:
                if isinstance(action, SkipFrame):
                    waiting.pop(action.frame, None)

    def _mapped_frame(self, seen: RecordedEntry, mapped: RecordedEntry) -> MappedFrame:
        assert isinstance(seen.event, FrameSeen)
        assert isinstance(mapped.event, FrameMapped)
        defect_map = DefectMap(mapped.event.header, self.array(mapped))
        return MappedFrame(seen.event.header, self.array(seen), defect_map, mapped.event.at_s)
