"""How many threads torch works with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Frames of fewer pixels are read by one thread.  Waking a second one for each of a thousand short steps
#: takes longer than it saves (docs/decisions/0045-one-thread-for-small-frames.md).
_SMALL_FRAME = 2**19


def use_threads(count: int) -> None:
    """Let operations that are called from this thread use `count` threads."""
    torch.set_num_threads(count)


@contextmanager
def threads_for(pixels: int) -> Iterator[None]:
    """Work on a frame of so many pixels with one thread if it is small, and then with as many as before."""
    before = torch.get_num_threads()
    if before == 1 or pixels >= _SMALL_FRAME:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
