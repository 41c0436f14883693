"""Hands things from any thread to the one that polls sockets, and wakes it."""

import contextlib
import queue
import socket
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue with a file descriptor that is readable when there may be something in it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._writer, self._reader = socket.socketpair()
        self._writer.setblocking(False)
        self._reader.setblocking(False)

    def fileno(self) -> int:
        """For a poller."""
        return self._reader.fileno()

    def post(self, item: T) -> None:
        """Put something in; never blocks."""
        self._queue.put(item)
        self.wake()

    def wake(self) -> None:
        """Make the poller look, as if something had come."""
        # A full pipe wakes it all the same; a closed one means that nobody polls any more.
        with contextlib.suppress(OSError):
            self._writer.send(b"x")

    def wait(self, timeout_s: float) -> T | None:
        """Wait for the next thing; None if nothing comes."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def take(self) -> Iterator[T]:
        """Yield all that there is."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._queue.get_nowait()

    def close(self) -> None:
        """Release the descriptors."""
        self._writer.close()
        self._reader.close()
