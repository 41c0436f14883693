"""Keeps recorded sessions within a budget of disk, and deletes nothing that nobody has said may go."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.sessions import find_sessions, summarise
from drivers.contract.errors import InputError
from drivers.session_reader import SessionReader

Deletable = Literal["nothing", "exported", "any"]

#: Beside a session's journal, once every frame of it was exported: by what it was known then.
MARKER = "exported.json"


@dataclass(frozen=True)
class Stored:
    """A session on disk.

    Parameters
    ----------
    folder : Path
    bytes : int
    has_ended : bool
    is_exported : bool
        Every recorded frame of it has a map, all of these were exported, and nothing was recorded since.
    """

    folder: Path
    bytes: int
    has_ended: bool
    is_exported: bool


def choose(sessions: Sequence[Stored], budget_bytes: int, deletable: Deletable) -> tuple[list[Stored], int]:
    """Say which sessions have to go, oldest first, and how many bytes over the budget are left then.

    Parameters
    ----------
    sessions : sequence of Stored
        Oldest first.
    budget_bytes : int
        0 is no limit.
    deletable : str
        What may go: nothing, ended sessions that are exported, or any session that has ended.
    """
    excess = sum(each.bytes for each in sessions) - budget_bytes
    if budget_bytes <= 0 or excess <= 0:
        return [], 0
    gone: list[Stored] = []
    for each in sessions:
        if excess <= 0:
            break
        may_go = deletable == "any" or (deletable == "exported" and each.is_exported)
        if may_go and each.has_ended:
            gone.append(each)
            excess -= each.bytes
    return gone, max(excess, 0)


def look(folder: Path) -> list[Stored]:
    """Return the sessions of a folder, oldest first; a damaged one counts as one that has not ended."""
    found = []
    for path in find_sessions(folder) if folder.is_dir() else ():
        if path.is_symlink():
            continue  # what lies elsewhere takes no room here
        summary = summarise(path, is_checked=False)
        found.append(Stored(path, summary.bytes, summary.state == "ended", _is_exported(path)))
    return found


def prune(folder: Path, budget_bytes: int, deletable: Deletable) -> list[str]:
    """Delete what has to go and may; returns what there is to say about it, a line each."""
    gone, excess = choose(look(folder), budget_bytes, deletable)
    said = []
    for each in gone:
        shutil.rmtree(each.folder, ignore_errors=True)
        why = "it was exported" if each.is_exported else "session.delete is any"
        said.append(f"session {each.folder.name} is deleted ({each.bytes / 2**30:.2f} GiB): {why}")
    if excess:
        said.append(
            f"sessions take {excess / 2**30:.2f} GiB more than session.budget_gib, and none is left that may "
            f"be deleted (session.delete is {deletable}): export or move some"
        )
    return said


def mark_exported(folder: Path, summary: dict[str, object], head: str) -> bool:
    """Note that a session was exported, if every frame of it was; whether it was noted.

    Parameters
    ----------
    folder : Path
    summary : dict
        As `agent.exporting.export` returns it.
    head : str
        The newest entry's digest before the export began: what was recorded meanwhile may be in none.
    """
    if summary["frames"] != summary["maps"] or summary["maps_lost"]:
        return False
    (folder / MARKER).write_text(json.dumps({"head": head, "maps": summary["maps"]}) + "\n")
    return True


def _is_exported(folder: Path) -> bool:
    """Whether the marker is there and names the journal's newest entry."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="ascii"))
        return isinstance(marker, dict) and marker.get("head") == newest_digest(folder)
    except (OSError, ValueError, RecursionError, InputError):
        return False


def newest_digest(folder: Path) -> str:
    """Digest of the newest entry of a session; empty if it has none."""
    with SessionReader(folder) as reader:
        count = sum(reader.counts().values())
        newest = next(reader.stored_rows(max(count - 1, 0)), None)
    return newest.digest.hex() if newest is not None else ""
