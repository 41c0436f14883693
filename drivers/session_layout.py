"""A session on disk: facts in one SQLite file, arrays as NPY records in segments, digests over both.

`docs/sessions.md` describes the layout for readers without columnist.
"""

import hashlib
import io
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.errors import InputError

#: Name of the SQLite file in a session's folder.
FACTS = "journal.sqlite"

#: Version of the layout, kept as SQLite's `user_version`; a reader refuses any other.
LAYOUT_VERSION = 1

#: Kept as SQLite's `application_id`: "clmn".
APPLICATION_ID = 0x636C6D6E

#: `kind` and `at_s` are read out of the event, so that nothing is said twice and could contradict itself.
SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {LAYOUT_VERSION};
CREATE TABLE session (name TEXT NOT NULL) STRICT;
CREATE TABLE entry (
    position INTEGER PRIMARY KEY,
    event TEXT NOT NULL,
    actions TEXT NOT NULL,
    digest BLOB NOT NULL,
    kind TEXT GENERATED ALWAYS AS (json_extract(event, '$.kind')) VIRTUAL,
    at_s REAL GENERATED ALWAYS AS (json_extract(event, '$.at_s')) VIRTUAL
) STRICT;
CREATE INDEX entry_kind ON entry (kind);
CREATE TABLE array (
    position INTEGER PRIMARY KEY REFERENCES entry (position),
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    sha256 BLOB NOT NULL
) STRICT;
"""

#: Records begin at multiples of this [bytes], the unit of unbuffered writes.
ALIGNMENT = 4096

#: A segment that has reached this size [bytes] is followed by a new one.
SEGMENT_BYTES = 256 * 2**20

#: The longest header of an array that is read [bytes]; ours take 128 to 512.
_LONGEST_HEADER = 10_000


class DamagedSessionError(InputError):
    """A recorded session that is cut short or altered; the message says where and what is whole."""


@dataclass(frozen=True, slots=True)
class ArrayReference:
    """Where an array lies: its segment, first byte, length [bytes], and the SHA-256 of those bytes."""

    segment: int
    offset: int
    length: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as it is stored: event and actions as JSON, the array by reference."""

    position: int
    event: str
    actions: str
    array: ArrayReference | None
    digest: bytes


def segment_name(segment: int) -> str:
    """Return the name of a segment's file within the session's folder."""
    return f"arrays-{segment:05d}.npys"


def first_digest(name: str) -> bytes:
    """Digest that the chain of a session begins with."""
    return hashlib.sha256(f"columnist session {LAYOUT_VERSION} {name}".encode()).digest()


def next_digest(
    previous: bytes, position: int, event: str, actions: str, array_sha256: bytes | None
) -> bytes:
    """Chain an entry to the one before it, so that no entry can be altered, removed or moved unseen."""
    link = hashlib.sha256(previous)
    for part in (str(position).encode(), event.encode(), actions.encode(), array_sha256 or b""):
        link.update(len(part).to_bytes(8, "little"))
        link.update(part)
    return link.digest()


def event_tree(text: str) -> dict[str, Any]:
    """Read the event of an entry as far as every event goes: an object with a kind and a time.

    Raises
    ------
    DamagedSessionError
        If it is none.
    """
    try:
        tree = json.loads(text)
        if isinstance(tree["kind"], str) and math.isfinite(tree["at_s"]):
            return dict(tree)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        pass
    raise DamagedSessionError(f"expected an event with its kind and time, found {str(text)[:60]!r}")


def encode_header(array: NDArray[Any]) -> bytes:
    """Return the NPY header of an array in C order.

    Raises
    ------
    ValueError
        If the array holds Python objects.
    """
    if array.dtype.hasobject:
        raise ValueError("expected an array of plain numbers, found Python objects")
    header = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def decode_array(record: bytes) -> NDArray[Any]:
    """Return the array of one NPY record, read-only and without a copy.

    Raises
    ------
    ValueError
        If it is no NPY record, or its length is not what its header says.
    """
    stream = io.BytesIO(record[: _LONGEST_HEADER + 16])
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("expected an NPY record of version 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_LONGEST_HEADER)
    if dtype.hasobject:
        raise ValueError("expected an array of plain numbers, found Python objects")
    array = np.frombuffer(record, dtype=dtype, offset=stream.tell())
    return array.reshape(shape)
