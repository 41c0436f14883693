"""A walk through the tags of a DigitalMicrograph file, before a reader believes what they claim.

RosettaSciIO's reader loops as often as the tags say: a damaged count of elements of no size keeps it
busy for ever, and a long string costs the square of its length.  The walk reads only the headers.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from drivers.contract.errors import InputError

#: Bytes of the simple types by their code in the file.
_SIZES = {2: 2, 3: 4, 4: 2, 5: 4, 6: 4, 7: 8, 8: 1, 9: 1, 10: 1, 11: 8, 12: 8}

_DEEPEST = 64
_LONGEST_STRING = 65536


def check_dm_tags(path: Path) -> None:
    """Raise `InputError` unless every tag lies within the file and its counts are possible."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _Walk(data).run()


class _Walk:
    """The place in the file, and the rules of its version."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0
        self._is_dm4 = self._take(">i") == 4

    def run(self) -> None:
        """Walk from the first tag to the last."""
        self._at += (8 if self._is_dm4 else 4) + 4  # the file's size, the byte order
        self._at += 2
        self._group(self._count(), depth=0)

    def _take(self, code: str) -> int:
        size = struct.calcsize(code)
        if self._at + size > len(self._data):
            raise InputError(
                f"expected more tags, found the end of the file at {len(self._data)} bytes: "
                "it is cut short; copy it again"
            )
        (value,) = struct.unpack_from(code, self._data, self._at)
        self._at += size
        return int(value)

    def _count(self) -> int:
        """Read a count or a type code."""
        return self._take(">q" if self._is_dm4 else ">i")

    def _group(self, tags: int, depth: int) -> None:
        """Walk the tags of one group."""
        if depth > _DEEPEST:
            raise self._damaged("groups nested this deep", depth)
        for _ in self._repeat(tags, 3):
            kind, name_length = self._take(">b"), self._take(">h")
            self._skip(name_length, 1)
            if kind == 21:
                self._value()
            elif kind == 20:
                self._at += 10 if self._is_dm4 else 2  # two flags, and in DM4 the group's size
                self._group(self._count(), depth + 1)
            else:
                raise self._damaged("a tag of kind", kind)

    def _value(self) -> None:
        """Walk over one value: its description, then its bytes."""
        self._at += 8 if self._is_dm4 else 0
        self._at += 4  # four per cent signs
        described_by = self._count()
        kind = self._count()
        if described_by == 1:
            self._skip(1, self._size(kind))
        elif kind == 18:
            self._skip(self._string(), 1)
        elif kind == 20:
            element = self._element()
            self._skip(self._count(), element)
        elif kind == 15:
            self._skip(1, self._struct())
        else:
            raise self._damaged("a value of type", kind)

    def _element(self) -> int:
        """Bytes of one element of an array, which may be a struct, a string or an array itself."""
        kind = self._count()
        if kind == 15:
            size = self._struct()
        elif kind == 18:
            size = self._string()
        elif kind == 20:
            simple = self._size(self._count())
            size = self._count() * simple
        else:
            return self._size(kind)
        if size < 1:
            raise self._damaged("elements of size", size)
        return size

    def _struct(self) -> int:
        """Bytes of a struct."""
        self._count()  # length of a name
        total = 0
        for _ in self._repeat(self._count(), 16 if self._is_dm4 else 8):
            self._count()
            total += self._size(self._count())
        return total

    def _string(self) -> int:
        length = self._count()
        if length > _LONGEST_STRING:
            raise self._damaged("a string of length", length)
        return length

    def _size(self, kind: int) -> int:
        if kind not in _SIZES:
            raise self._damaged("a value of type", kind)
        return _SIZES[kind]

    def _repeat(self, count: int, smallest: int) -> Iterator[int]:
        """Iterate `count` times, if that many things of at least `smallest` bytes can follow."""
        if not 0 <= count * smallest <= len(self._data) - self._at:
            raise self._damaged("a count of", count)
        return iter(range(count))

    def _skip(self, count: int, size: int) -> None:
        if not 0 <= count * size <= len(self._data) - self._at:
            raise self._damaged(f"values of {size} bytes, in number", count)
        self._at += count * size

    def _damaged(self, what: str, value: int) -> InputError:
        return InputError(
            f"expected possible tags, found {what} {value} at byte {self._at} of {len(self._data)}: the file "
            "is damaged or cut short; copy it again"
        )
