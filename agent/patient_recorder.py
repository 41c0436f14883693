"""A recorder that waits until a full or read-only disk is mended, rather than lose what is to be recorded."""

import threading
import time
from collections.abc import Callable, Sequence

from agent.journal import JournalEntry
from agent.journal_errors import DiskFullError, ReadOnlyError
from agent.parts import Recorder

#: Between two attempts [s].
_RETRY_S = 0.5


class PatientRecorder:
    """Stands before a journal.

    While it cannot record, `append` does not return, so nothing goes on that needs a record.

    Parameters
    ----------
    journal : Recorder
    on_held : callable
        Is told the reason once, when it begins to wait; from the recording thread.
    on_freed : callable
        Is told for how long [s] and why it waited, once the entries are recorded.
    retry_s : float
    clock : callable
        Monotonic [s].
    """

    def __init__(
        self,
        journal: Recorder,
        on_held: Callable[[str], None],
        on_freed: Callable[[float, str], None],
        *,
        retry_s: float = _RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._on_held, self._on_freed = on_held, on_freed
        self._retry_s, self._clock = retry_s, clock
        self._is_given_up = threading.Event()
        self.is_held = False
        """Whether it waits for the disk."""

    def append(self, entries: Sequence[JournalEntry]) -> None:
        """Record; returns when it is on disk, however long that takes.

        Raises
        ------
        JournalError
            If the disk failed, or if it is still full or read-only when `give_up` is called.
        """
        held_s, why = None, ""
        while True:
            try:
                self._journal.append(entries)
            except (DiskFullError, ReadOnlyError) as error:
                if held_s is None:
                    held_s, why, self.is_held = self._clock(), str(error), True
                    self._on_held(why)
                if self._is_given_up.wait(self._retry_s):
                    raise
            else:
                if held_s is not None:
                    self.is_held = False
                    self._on_freed(self._clock() - held_s, why)
                return

    def checkpoint(self) -> None:
        """Tidy up, if there is room to; it can wait, too."""
        try:
            self._journal.checkpoint()
        except (DiskFullError, ReadOnlyError):
            return  # the next append says so, and waits

    def give_up(self) -> None:
        """Wait no longer, now or later."""
        self._is_given_up.set()
