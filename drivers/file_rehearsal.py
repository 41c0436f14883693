"""Read a file in a process of its own first: a damaged one may hang or crash a C library.

The HDF5 library was seen to loop for ever on an attribute with one turned bit; nothing within the same
process can end that.
"""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from drivers.contract.errors import InputError

#: Processor seconds for a file of no size; half a second is usual, most of it for the imports.
PATIENCE_S = 20.0

#: Bytes a second that the slowest disk is taken to give.
_SLOWEST_BYTES_PER_S = 10e6

#: Time on the clock over processor time after which a reading that waits is given up too: on a machine with
#: ten busy processes a core, one that advances gets a tenth of it.
_BUSIEST = 20.0

#: The signal that ends a process that has used up its processor time; not all systems have it.
_TIMER = getattr(signal, "ITIMER_PROF", None)


def rehearse(path: Path) -> None:
    """Run ``python -m drivers.file_rehearsal PATH SECONDS`` and wait for its end.

    Raises
    ------
    InputError
        If it does not end in time, or crashes.  A file that is refused in the ordinary way passes: it will
        be refused again, with its reason.
    """
    limit_s = PATIENCE_S + path.stat().st_size / _SLOWEST_BYTES_PER_S
    command = [sys.executable, "-m", "drivers.file_rehearsal", str(path.resolve()), str(limit_s)]
    wait_s = limit_s if _TIMER is None else _BUSIEST * (1 + limit_s)
    try:
        status = subprocess.run(command, capture_output=True, timeout=wait_s, check=False).returncode
    except subprocess.TimeoutExpired:
        raise _endless(wait_s) from None
    if _TIMER is not None and status == -signal.SIGPROF:
        raise _endless(limit_s)
    if status != 0:
        raise InputError(
            f"expected a readable file, found that reading it ends the process (status {status}): it is "
            "damaged; copy it again"
        )


def _endless(limit_s: float) -> InputError:
    """What to say of a file whose reading does not end."""
    return InputError(
        f"expected to read the file within {limit_s:.0f} s, found no end: it is damaged; copy it again"
    )


def main() -> int:
    """Read the file that the command line names and forget it; 0 unless something worse than an error."""
    path, limit_s = Path(sys.argv[1]), float(sys.argv[2])
    if _TIMER is not None:  # of the processor's time: a machine that others keep busy is not the file's fault
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(_TIMER, limit_s)
    from drivers.file_formats import read_signals

    with suppress(InputError):
        read_signals(path, is_trusted=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
