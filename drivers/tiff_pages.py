"""A walk along the pages of a TIFF file, before a reader follows them.

Each page names the place of the next one.  Where a damaged one names an earlier one, the reader goes round
for ever: it looks for this at its hundredth page alone.
"""

import struct
from pathlib import Path

from drivers.contract.errors import InputError

#: More pages than a series has; a reader takes a tenth of a millisecond for each.
_MOST_PAGES = 100_000


def check_tiff_pages(path: Path) -> None:
    """Raise `InputError` if the pages of a TIFF or BigTIFF file go round, or are too many.

    A chain that is cut short is left to the reader, which reads the pages before.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = ">" if head.startswith(b"MM") else "<"
        is_big = head[2:4] in (b"+\0", b"\0+")
        count_code, tag_bytes, place_code, place_at = (
            (f"{order}Q", 20, f"{order}Q", 8) if is_big else (f"{order}H", 12, f"{order}I", 4)
        )
        seen: set[int] = set()
        while True:
            file.seek(place_at)
            place = _number(file.read(struct.calcsize(place_code)), place_code)
            if not place:
                return
            if place in seen or len(seen) >= _MOST_PAGES:
                found = f"{len(seen)} pages that lead back to byte {place}" if place in seen else "more"
                raise InputError(
                    f"expected at most {_MOST_PAGES} pages, one after the other, found {found}: the file is "
                    "damaged; copy or export it again"
                )
            seen.add(place)
            if place >= size:
                return
            file.seek(place)
            tags = _number(file.read(struct.calcsize(count_code)), count_code)
            if tags is None or tags > size:
                return
            place_at = place + struct.calcsize(count_code) + tags * tag_bytes


def _number(content: bytes, code: str) -> int | None:
    """A number, or None if the file ends within it."""
    return int(struct.unpack(code, content)[0]) if len(content) == struct.calcsize(code) else None
