"""Ask before taking: whether an array fits into this machine's memory."""

import os

from drivers.contract.errors import InputError

#: Share of the machine's memory that one field may take.
_SHARE = 0.6


def require_memory(needed_bytes: float, what: str) -> None:
    """Raise `InputError` if something would take more memory than this machine can give."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _SHARE
    if needed_bytes > available:
        raise InputError(
            f"{what} needs about {needed_bytes / 2**30:.1f} GiB, this machine can give "
            f"{available / 2**30:.1f} GiB; take a smaller field or larger pixels"
        )
