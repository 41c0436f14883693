"""What was written by us and lies among micrographs: pictures, reports and maps are no frames to be read."""

from pathlib import Path

from drivers.contract.maps import CLASS_NAMES

#: Headings of the table beside a map.
TABLE_HEADER = (
    *("row_px", "col_px", "x_angstrom", "y_angstrom", "sublattice", "class"),
    *(f"p_{name}" for name in CLASS_NAMES),
    *("entropy_nats", "foreign"),
)

#: How what we wrote says so, within the first bytes: a PNG, a report, and the table beside a map.
_MARKS = {
    ".png": b"tEXtSoftware\0columnist",
    ".html": b"<title>columnist: ",
    ".nxs": ",".join(TABLE_HEADER).encode() + b"\n",
}
_HEAD = 1024


def is_own(path: Path) -> bool:
    """Whether a file is one that an earlier run wrote: a marked picture or report, a map with its table."""
    suffix = path.suffix.lower()
    if suffix not in _MARKS:
        return False
    marked = path.with_suffix(".csv") if suffix == ".nxs" else path
    try:
        if marked.is_file():  # a pipe would be waited for
            with marked.open("rb") as file:
                return _MARKS[suffix] in file.read(_HEAD)
    except OSError:
        pass  # whoever reads the file says what is wrong with it
    return False
