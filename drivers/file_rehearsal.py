"""Read a file in a process of its own first: a damaged one may hang or crash a C library.

The HDF5 library was seen to loop for ever on an attribute with one turned bit; nothing within the same
process can end that.
"""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from drivers.contract.errors import InputError

#: Seconds for a file of no size; half a second is usual, most of it for the imports.
PATIENCE_S = 20.0

#: Bytes a second that the slowest disk is taken to give.
_SLOWEST_BYTES_PER_S = 10e6


def rehearse(path: Path) -> None:
    """Run ``python -m drivers.file_rehearsal PATH`` and wait for its end.

    Raises
    ------
    InputError
        If it does not end in time, or crashes.  A file that is refused in the ordinary way passes: it will
        be refused again, with its reason.
    """
    limit_s = PATIENCE_S + path.stat().st_size / _SLOWEST_BYTES_PER_S
    command = [sys.executable, "-m", "drivers.file_rehearsal", str(path.resolve())]
    try:
        status = subprocess.run(command, capture_output=True, timeout=limit_s, check=False).returncode
    except subprocess.TimeoutExpired:
        raise InputError(
            f"expected to read the file within {limit_s:.0f} s, found no end: it is damaged; copy it again"
        ) from None
    if status != 0:
        raise InputError(
            f"expected a readable file, found that reading it ends the process (status {status}): it is "
            "damaged; copy it again"
        )


def main() -> int:
    """Read the file that the command line names and forget it; 0 unless something worse than an error."""
    from drivers.file_formats import read_signals

    with suppress(InputError):
        read_signals(Path(sys.argv[1]), is_trusted=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
