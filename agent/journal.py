"""The journal: every event, what was decided on it, and its array, durable before it is announced."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from agent.journal_errors import JournalBrokenError, JournalError, typed_errors
from agent.segments import SegmentWriter, align, sync_folder
from drivers.contract.context import Message
from drivers.session_layout import (
    FACTS,
    SCHEMA,
    ArrayReference,
    DamagedSessionError,
    first_digest,
    next_digest,
    segment_name,
)
from drivers.session_reader import SessionReader, find_problem, read_record

#: Entries whose chain is checked, with the newest array, before a session goes on after a kill; a whole
#: session is checked by `columnist sessions SESSION --check`.
_CHECKED_ON_REOPENING = 1000

#: Pages of 4 KiB in the write-ahead log after which a commit copies them back itself: a backstop for a
#: caller that never calls `checkpoint`.
_BACKSTOP_PAGES = 16384

_ENTRY = "INSERT INTO entry (position, event, actions, digest) VALUES (?, ?, ?, ?)"
_ARRAY = "INSERT INTO array (position, segment, offset, length, sha256) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One step of the agent.

    Parameters
    ----------
    position : int
        0, 1, 2 and so on, without gaps.
    event : Message
        What happened; its JSON has `kind` and `at_s`.
    actions : tuple of Message
        What was decided upon it.
    array : ndarray, optional
        The pixels or columns that came with the event.
    """

    position: int
    event: Message
    actions: tuple[Message, ...] = ()
    array: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class Repair:
    """What reopening found: how many bytes of unacknowledged appends it cut off, and what there is to say."""

    bytes_cut: int
    notes: tuple[str, ...]


class Journal:
    """The recorder of one session; made by `create` or `reopen`.

    Any thread may call it, but only one at a time.
    """

    def __init__(
        self,
        folder: Path,
        facts: sqlite3.Connection,
        segments: SegmentWriter,
        position: int,
        head: bytes,
        closing: ExitStack,
    ) -> None:
        self.folder = folder
        self._facts, self._segments = facts, segments
        self._position, self._head = position, head
        self._closing = closing
        self._is_broken = self._is_closed = False

    @classmethod
    def create(cls, folder: Path, session: str | None = None) -> Self:
        """Begin a session in a folder that holds none, or does not exist yet.

        Parameters
        ----------
        folder : Path
            Folder of the session; its parents are made too.
        session : str, optional
            Name of the session, by default the folder's.

        Raises
        ------
        JournalError
            If the folder holds a session already, or cannot be written to.
        """
        name = session or folder.name
        with typed_errors(folder), ExitStack() as stack:
            folder.mkdir(parents=True, exist_ok=True)
            stack.callback(os.close, _lock(folder))
            if (folder / FACTS).exists() or (folder / segment_name(0)).exists():
                raise JournalError(f"{folder}: expected a folder without a session, found one; name another")
            facts = stack.enter_context(closing(_connect(folder)))
            facts.executescript(SCHEMA)
            facts.execute("INSERT INTO session VALUES (?)", (name,))
            _set_up(facts)
            segments = stack.enter_context(closing(SegmentWriter(folder)))
            sync_folder(folder.parent)
            return cls(folder, facts, segments, 0, first_digest(name), stack.pop_all())

    @classmethod
    def reopen(cls, folder: Path) -> tuple[Self, Repair]:
        """Go on with a session that was killed.

        Nothing that was acknowledged is touched.  Bytes of arrays that no entry names, from an append that
        the kill cut short, are cut off, and said.

        Raises
        ------
        DamagedSessionError
            If the newest entries are altered, or an array that they name is not whole.
        JournalError
            If the folder cannot be written to, or another process is recording to it.
        """
        with typed_errors(folder), ExitStack() as stack:
            stack.callback(os.close, _lock(folder))
            with SessionReader(folder) as reader:
                name = reader.name
                position, head, newest = _check_newest(reader)
            segment, end = (newest.segment, align(newest.offset + newest.length)) if newest else (0, 0)
            repair = _describe_repair(folder, name, position, segment, end)
            facts = stack.enter_context(closing(_connect(folder)))
            _set_up(facts)
            for stray in _segments_from(folder, segment + 1):
                stray.unlink()
            segments = stack.enter_context(closing(SegmentWriter(folder, segment, end)))
            return cls(folder, facts, segments, position, head, stack.pop_all()), repair

    @property
    def next_position(self) -> int:
        """Position that the next entry must have."""
        return self._position

    @property
    def head(self) -> str:
        """Digest of the newest entry; whoever keeps it can later tell whether the history was altered."""
        return self._head.hex()

    def append(self, entries: Sequence[JournalEntry]) -> None:
        """Record entries; returns when all of them are on the disk, or raises with none recorded.

        Raises
        ------
        DiskFullError, ReadOnlyError
            If the disk is full or not writable; the same entries may be appended again.
        JournalBrokenError
            If the disk fails, or failed before.
        ValueError
            If a position is not the next one.
        """
        if self._is_broken or self._is_closed:
            state = "closed" if self._is_closed else "broken"
            raise JournalBrokenError(f"{self.folder}: the journal is {state}; reopen the session")
        for expected, entry in enumerate(entries, self._position):
            if entry.position != expected:
                raise ValueError(f"expected position {expected}, found {entry.position}")
        try:
            with typed_errors(self.folder):
                self._append(entries)
        except JournalBrokenError:
            self._is_broken = True
            raise

    def checkpoint(self) -> None:
        """Copy the write-ahead log back into the file of facts, so that it stays short.

        Raises
        ------
        JournalError
            As `append` does.
        """
        with typed_errors(self.folder):
            self._facts.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close the session, leaving one plain SQLite file of facts unless somebody is reading it."""
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(sqlite3.Error):  # a reader is there: the write-ahead log stays, and is valid
            self._facts.execute("PRAGMA busy_timeout=0")
            self._facts.execute("PRAGMA journal_mode=DELETE")
        self._closing.close()

    def _append(self, entries: Sequence[JournalEntry]) -> None:
        references = self._segments.append([each.array for each in entries if each.array is not None])
        rows, arrays = self._rows(entries, references)
        try:
            self._facts.execute("BEGIN IMMEDIATE")
            self._facts.executemany(_ENTRY, rows)
            self._facts.executemany(_ARRAY, arrays)
            self._facts.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._facts.execute("ROLLBACK")
            self._segments.take_back(references)
            raise
        if rows:
            self._position, self._head = self._position + len(rows), rows[-1][-1]

    def _rows(
        self, entries: Sequence[JournalEntry], references: Sequence[ArrayReference]
    ) -> tuple[list[tuple[int, str, str, bytes]], list[tuple[int, int, int, int, bytes]]]:
        head, rows, arrays, places = self._head, [], [], iter(references)
        for entry in entries:
            event, actions = entry.event.model_dump_json(), _dump(entry.actions)
            place = next(places) if entry.array is not None else None
            head = next_digest(head, entry.position, event, actions, place.sha256 if place else None)
            rows.append((entry.position, event, actions, head))
            if place is not None:
                arrays.append((entry.position, place.segment, place.offset, place.length, place.sha256))
        return rows, arrays


def _dump(actions: Sequence[Message]) -> str:
    return "[" + ",".join(action.model_dump_json() for action in actions) + "]"


def _connect(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / FACTS, isolation_level=None, check_same_thread=False, timeout=5.0)


def _set_up(facts: sqlite3.Connection) -> None:
    facts.execute("PRAGMA journal_mode=WAL")
    facts.execute("PRAGMA synchronous=FULL")
    facts.execute(f"PRAGMA wal_autocheckpoint={_BACKSTOP_PAGES}")


def _lock(folder: Path) -> int:
    """Lock the folder for this process; the lock ends with the process, however it ends."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise JournalError(
            f"{folder}: another process is recording to this session; stop it, or begin a new session"
        ) from error
    return handle


def _check_newest(reader: SessionReader) -> tuple[int, bytes, ArrayReference | None]:
    """Check the newest entries; returns the next position, the digest to go on from, the newest array."""
    position, head, newest = 0, first_digest(reader.name), None
    count = sum(reader.counts().values())
    start = max(0, count - _CHECKED_ON_REOPENING)
    is_trusted = start > 0
    for row in reader.stored_rows(start):
        expected = start if is_trusted else position
        problem = find_problem(row, expected, None if is_trusted else head)
        if problem is not None:
            raise DamagedSessionError(f"{reader.folder}: {problem}; begin a new session")
        is_trusted = False
        position, head, newest = row.position + 1, row.digest, row.array or newest
    newest = newest or reader.newest_array()
    if newest is not None:
        try:
            read_record(reader.folder, newest)
        except DamagedSessionError as error:
            raise DamagedSessionError(f"{reader.folder}: {error}; begin a new session") from error
    return position, head, newest


def _describe_repair(folder: Path, name: str, position: int, segment: int, end: int) -> Repair:
    sizes = [path.stat().st_size for path in _segments_from(folder, segment)]
    excess = max(0, sum(sizes) - end)
    notes = [f"session {name} goes on at entry {position}"]
    if excess:
        notes.append(
            f"cut off {excess} bytes of arrays that no entry names: an append that ended before it was "
            "acknowledged"
        )
    return Repair(excess, tuple(notes))


def _segments_from(folder: Path, segment: int) -> Iterator[Path]:
    while (path := folder / segment_name(segment)).exists():
        yield path
        segment += 1
