"""What is kept of each session: for lists, and for who wants to know whether it is whole."""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drivers.contract.errors import InputError
from drivers.session_check import Findings, check_session
from drivers.session_reader import SessionReader, is_session


@dataclass(frozen=True)
class SessionSummary:
    """One session of a list.

    Parameters
    ----------
    state : str
        ``"ended"``, ``"recording"``, ``"cut short"`` (whole as far as it goes) or ``"damaged"``.
    findings : Findings or None
        If it was checked from end to end.
    """

    name: str
    folder: Path
    began: str
    source: str
    frames: int
    maps: int
    commands: int
    bytes: int
    state: str
    problem: str
    findings: Findings | None

    def as_json(self) -> dict[str, Any]:
        """Return plain types."""
        return asdict(self) | {"folder": str(self.folder)}


def find_sessions(folder: Path) -> list[Path]:
    """Return the sessions in a folder, or the folder itself if it is one, by name.

    Raises
    ------
    InputError
        If the folder does not exist.
    """
    if is_session(folder):
        return [folder]
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of sessions, found none; name it, or record one first")
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_session(path))


def summarise(folder: Path, *, is_checked: bool) -> SessionSummary:
    """Say what a session holds; with `is_checked` every entry and array is read."""
    name, began, source, state, problem = folder.name, "", "", "damaged", ""
    counts: dict[str, int] = {}
    try:
        with SessionReader(folder) as reader:
            name, counts, ends = reader.name, reader.counts(), reader.ends()
        first, last = ends or ({}, {})
        began, source = str(first.get("wall_time", "")), str(first.get("source", ""))
        is_ended = last.get("kind") == "session_ending"
        state = "ended" if is_ended else "recording" if _is_being_recorded(folder) else "cut short"
    except InputError as error:
        problem = str(error)
    findings = check_session(folder) if is_checked else None
    if findings is not None and not findings.is_whole:
        state, problem = "damaged", findings.damages[0].problem
    return SessionSummary(
        name=name,
        folder=folder,
        began=began,
        source=source,
        frames=counts.get("frame_seen", 0),
        maps=counts.get("frame_mapped", 0),
        commands=counts.get("command_ended", 0),
        bytes=sum(path.stat().st_size for path in _files(folder)),
        state=state,
        problem=problem,
        findings=findings,
    )


def describe(findings: Findings) -> Iterator[str]:
    """Say line by line what a check found, and what can be done."""
    yield (
        f"session {findings.session}: {findings.entries} entries and {findings.arrays} arrays are whole; "
        f"head {findings.head or 'unknown'}"
    )
    for damage in findings.damages[:20]:
        yield f"DAMAGE at entry {damage.position}: {damage.problem}"
    if len(findings.damages) > 20:
        yield f"... and {len(findings.damages) - 20} more"
    if findings.damages:
        yield (
            f"--recover replays the {findings.whole_entries} entries before the first damage, and exports "
            f"what is whole of {findings.whole_facts}"
        )
    for note in findings.notes:
        yield f"note: {note}"


def _is_being_recorded(folder: Path) -> bool:
    """Whether a process holds the lock of the session's journal."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
