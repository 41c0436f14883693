"""What the agent knew at some entry of its journal, kept beside it: going on need not begin at the first.

It is a convenience, never believed blindly: it names the digest of its entry, and is left out where it does
not read back as it was.  Without it the whole journal is thought through.
"""

import contextlib
import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from agent.state import State
from drivers.session_reader import SessionReader

#: Name of the file.
STATE_FILE = "state.json"

#: Largest file that is read [bytes].
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class KeptState:
    """A state, and the entry after which it held."""

    position: int
    digest: str
    state: State


_KEPT: TypeAdapter[KeptState] = TypeAdapter(KeptState)


def keep_state(folder: Path, state: State, position: int) -> bool:
    """Write the state after an entry that is recorded; whether it was, and would read back the same."""
    with SessionReader(folder) as reader:
        row = next(reader.stored_rows(position), None)
    if row is None or row.position != position:
        return False
    kept = KeptState(position=position, digest=row.digest.hex(), state=state)
    try:
        text = _KEPT.dump_json(kept)
        if len(text) > _MOST_BYTES or _KEPT.validate_json(text) != kept:
            return False
        partial = folder / f"{STATE_FILE}.part"
        partial.write_bytes(text)
        os.replace(partial, folder / STATE_FILE)
    except (OSError, ValueError):  # no room, or something that JSON cannot hold
        return False
    return True


def read_state(folder: Path) -> KeptState | None:
    """Return the state that is kept, if it is whole and its entry is in the journal."""
    path = folder / STATE_FILE
    with contextlib.suppress(OSError, ValidationError, ValueError, RecursionError):
        if path.stat().st_size > _MOST_BYTES:
            return None
        kept = _KEPT.validate_json(path.read_bytes())
        with SessionReader(folder) as reader:
            row = next(reader.stored_rows(kept.position), None)
        if row is not None and row.position == kept.position and row.digest.hex() == kept.digest:
            return kept
    return None
