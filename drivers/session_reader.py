"""Reads a recorded session, whole or damaged, checks all that it reads, and never alters it."""

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from drivers.contract.errors import InputError
from drivers.session_layout import (
    APPLICATION_ID,
    FACTS,
    LAYOUT_VERSION,
    ArrayReference,
    DamagedSessionError,
    Row,
    decode_array,
    event_tree,
    first_digest,
    next_digest,
    segment_name,
)

_ROWS = """
SELECT position, event, actions, digest, segment, offset, length, sha256
FROM entry LEFT JOIN array USING (position) WHERE position >= ? ORDER BY position
"""

#: What SQLite answers where it may not make the files that it needs beside the session's.
_NOT_WRITABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """A frame as it was seen: its header as JSON text (a `FrameHeader`), and its pixels, read-only."""

    position: int
    at_s: float
    header: str
    pixels: NDArray[Any]


def is_session(folder: Path) -> bool:
    """Whether the folder holds a recorded session, damaged or not, or what is left of one."""
    return any((folder / name).is_file() for name in (FACTS, segment_name(0)))


class SessionReader:
    """A recorded session, also one that is still being written.

    Parameters
    ----------
    folder : Path
        The folder of the session.

    Raises
    ------
    InputError
        If the folder holds no session, or one of another layout.
    DamagedSessionError
        If the file of facts cannot be opened as what it should be.
    """

    def __init__(self, folder: Path) -> None:
        if not is_session(folder):
            raise InputError(
                f"{folder}: expected a recorded session, found no {FACTS} in it; "
                "`columnist sessions` lists those that there are"
            )
        if not (folder / FACTS).is_file():
            raise DamagedSessionError(
                f"{folder}: {FACTS} is missing, which says what the arrays beside it are; "
                f"`columnist sessions {folder} --check` says what can be read"
            )
        self.folder = folder
        with ExitStack() as stack, _damage_named(folder):
            self._facts = _open_facts(folder, stack)
            self.name = _read_name(self._facts, folder)
            self._closing = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._closing.close()

    def rows(self, stop: int | None = None) -> Iterator[Row]:
        """Yield the entries in order, up to before position `stop`, each checked against the chain.

        Raises
        ------
        DamagedSessionError
            At the first entry that is missing, altered or unreadable.
        """
        digest, expected = first_digest(self.name), 0
        for row in self.stored_rows():
            if expected == stop:
                return
            problem = find_problem(row, expected, digest)
            if problem is not None:
                raise DamagedSessionError(
                    f"{self.folder}: {problem}; the {expected} entries before it are whole: "
                    f"`columnist sessions {self.folder} --check` says more"
                )
            digest, expected = row.digest, expected + 1
            yield row

    def stored_rows(self, start: int = 0) -> Iterator[Row]:
        """Yield the entries from position `start` on as they are stored, unchecked but for their types.

        Raises
        ------
        DamagedSessionError
            Where SQLite cannot read on.
        """
        with _damage_named(self.folder):
            for values in self._facts.execute(_ROWS, (start,)):
                yield _row(*values)

    def array(self, row: Row) -> NDArray[Any] | None:
        """Read and check the array of an entry, if it has one; it is read-only.

        Raises
        ------
        DamagedSessionError
            If it is cut short, altered, or its segment is missing.
        """
        if row.array is None:
            return None
        try:
            return decode_array(read_record(self.folder, row.array))
        except ValueError as error:
            raise DamagedSessionError(
                f"{self.folder}: the array of entry {row.position} is lost: {error}; "
                f"`columnist sessions {self.folder} --check` says what can be recovered"
            ) from error

    def frames(self, stop: int | None = None) -> Iterator[RecordedFrame]:
        """Yield the recorded frames in the order in which they came, up to before position `stop`.

        Raises
        ------
        DamagedSessionError
            At the first entry or frame that is cut short or altered.
        """
        for row in self.rows(stop):
            event = event_tree(row.event)
            if event["kind"] == "frame_seen" and (pixels := self.array(row)) is not None:
                header = json.dumps(event.get("header"))
                yield RecordedFrame(row.position, float(event["at_s"]), header, pixels)

    def newest_array(self) -> ArrayReference | None:
        """Return where the newest array lies (not checked), or None if there is none."""
        with _damage_named(self.folder):
            found = self._facts.execute(
                "SELECT segment, offset, length, sha256 FROM array ORDER BY position DESC LIMIT 1"
            ).fetchone()
            return None if found is None else _reference(*found)

    def counts(self) -> dict[str, int]:
        """Count the entries of each kind (for a list of sessions: nothing is checked)."""
        with _damage_named(self.folder):
            return dict(self._facts.execute("SELECT kind, count(*) FROM entry GROUP BY kind").fetchall())

    def ends(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return the first and the last event (nothing is checked), or None if there is none."""
        with _damage_named(self.folder):
            found = self._facts.execute(
                "SELECT event FROM entry WHERE position IN "
                "((SELECT min(position) FROM entry), (SELECT max(position) FROM entry)) ORDER BY position"
            ).fetchall()
            return (event_tree(found[0][0]), event_tree(found[-1][0])) if found else None


def find_problem(row: Row, position: int, previous: bytes | None) -> str | None:
    """Say what is wrong with an entry that should be at `position` and follow the digest `previous`."""
    if row.position != position:
        return f"entry {position} is missing"
    if previous is None:
        return None
    array_sha256 = row.array.sha256 if row.array else None
    if row.digest != next_digest(previous, position, row.event, row.actions, array_sha256):
        return f"entry {position} is altered: its digest does not follow from it and the entry before"
    return None


def read_record(folder: Path, reference: ArrayReference) -> bytes:
    """Read the bytes of one array and check them.

    Raises
    ------
    DamagedSessionError
        If they are cut short, altered, or their segment is missing.
    """
    path = folder / segment_name(reference.segment)
    if not path.is_file():
        raise DamagedSessionError(f"{path.name} is missing")
    size, end = path.stat().st_size, reference.offset + reference.length
    if size < end or reference.offset < 0 or reference.length < 0:
        raise DamagedSessionError(f"{path.name} is cut short: expected at least {end} bytes, found {size}")
    with path.open("rb") as segment:
        segment.seek(reference.offset)
        record = segment.read(reference.length)
    if hashlib.sha256(record).digest() != reference.sha256:
        raise DamagedSessionError(
            f"{path.name} is altered: bytes {reference.offset} to {end} do not have the recorded SHA-256"
        )
    return record


@contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    """Turn what SQLite and JSON say of damage into an error that names the session."""
    try:
        yield
    except (sqlite3.DatabaseError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedSessionError(
            f"{folder}: {FACTS} is cut short or altered ({error}); "
            f"`columnist sessions {folder} --check` says what can be recovered"
        ) from error


def _open_facts(folder: Path, stack: ExitStack) -> sqlite3.Connection:
    """Open the facts; from a copy where SQLite may not make the files beside them that it needs."""
    try:
        return _connect(folder / FACTS, stack)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _NOT_WRITABLE:
            raise
    copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="columnist-session-")))
    for name in (FACTS, f"{FACTS}-wal"):
        if (folder / name).exists():
            shutil.copy(folder / name, copy)
    return _connect(copy / FACTS, stack)


def _connect(path: Path, stack: ExitStack) -> sqlite3.Connection:
    facts = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    stack.callback(facts.close)
    facts.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return facts


def _read_name(facts: sqlite3.Connection, folder: Path) -> str:
    (application,) = facts.execute("PRAGMA application_id").fetchone()
    (version,) = facts.execute("PRAGMA user_version").fetchone()
    if (folder / FACTS).stat().st_size == 0:
        raise DamagedSessionError(f"{folder}: {FACTS} is cut short: it is empty")
    if application != APPLICATION_ID:
        raise InputError(f"{folder}: expected a recorded session, found an SQLite file of another program")
    if version != LAYOUT_VERSION:
        raise InputError(
            f"{folder}: expected layout {LAYOUT_VERSION} of a session, found {version}; "
            "read it with the columnist that recorded it"
        )
    names = facts.execute("SELECT name FROM session").fetchall()
    if len(names) != 1 or not isinstance(names[0][0], str):
        raise DamagedSessionError(f"{folder}: the name of the session is missing from {FACTS}")
    return str(names[0][0])


def _row(position: Any, event: Any, actions: Any, digest: Any, *place: Any) -> Row:
    """Check the types, which a damaged file need not keep."""
    if not (isinstance(event, str) and isinstance(actions, str) and isinstance(digest, bytes)):
        raise sqlite3.DatabaseError(f"entry {position} has fields of wrong types")
    return Row(position, event, actions, None if place[0] is None else _reference(*place), digest)


def _reference(segment: Any, offset: Any, length: Any, sha256: Any) -> ArrayReference:
    if not (all(isinstance(n, int) for n in (segment, offset, length)) and isinstance(sha256, bytes)):
        raise sqlite3.DatabaseError("the place of an array has fields of wrong types")
    return ArrayReference(segment, offset, length, sha256)
