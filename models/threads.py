"""How many threads torch works with, and a second one for work that need not wait."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")

#: Frames of fewer pixels, and all where there are but two threads, are read by one, a second one doing what
#: need not wait for it.  Sharing each of a thousand short steps takes longer than it saves
#: (docs/decisions/0045-one-thread-for-small-frames.md).
_SMALL_FRAME = 2**19


def use_threads(count: int) -> None:
    """Let operations that are called from this thread use `count` threads."""
    torch.set_num_threads(count)


class Helper:
    """Does work beside the calling thread; without a pool at once, in the calling thread.

    Results are the same to the bit either way, and in inference mode if the caller is.
    """

    def __init__(self, pool: ThreadPoolExecutor | None = None) -> None:
        self._pool = pool

    def start(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Start some work; what is returned waits for its result, or raises what the work raised."""
        if self._pool is not None:
            mode = torch.inference_mode(torch.is_inference_mode_enabled())  # a thread's own, as is no_grad
            return self._pool.submit(mode(work)).result
        result = work()
        return lambda: result


@contextmanager
def threads_for(pixels: int, device: torch.device | str = "cpu") -> Iterator[Helper]:
    """Work on a frame of so many pixels: with one thread and a helper if it is small, else with all threads.

    For two threads, and on a GPU, which leaves short steps to the processor, every frame is small.  Whoever
    had one thread before, has one now, and the helper is none.
    """
    before = torch.get_num_threads()
    is_large = before > 2 and pixels >= _SMALL_FRAME and torch.device(device).type == "cpu"
    if before == 1 or is_large:
        yield Helper()
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(1, "helper", torch.set_num_threads, (1,)) as pool:
            yield Helper(pool)
    finally:
        torch.set_num_threads(before)
