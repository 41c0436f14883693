"""Whether a frame is the next one, and what to do if it is not."""

from dataclasses import dataclass
from typing import Literal

from drivers.contract.errors import SequenceError

#: How often one and the same frame is asked for again.
MAX_TIMES = 5

Step = Literal["take", "resume", "skip", "ignore"]


@dataclass
class Sequencer:
    """Follows the sequence numbers of one session.

    A frame that is not the next one, or whose bytes were altered, makes the client ask for all from the
    missing one on (`Resume`), some times at most.  What comes before the answer (`Resumed`) is out of date
    and comes again.
    """

    expected: int = 0
    asked: int = 0
    """Requests to resume so far; the answer to the last one counts."""
    answered: int = 0
    """The last request that was answered."""
    _asked_for: int = -1
    _times: int = 0

    @property
    def is_resuming(self) -> bool:
        """Whether what comes now is out of date."""
        return self.answered < self.asked

    def judge(self, sequence: int) -> tuple[Step, SequenceError | None]:
        """Say what to do with a frame of this number, and what is wrong with it if anything is.

        Returns
        -------
        step : str
            ``"take"`` it; ``"resume"``: ask again from `expected`; ``"skip"``: take it, and what it skips
            is lost; ``"ignore"`` it.
        error : SequenceError or None
        """
        if self.is_resuming:
            return "ignore", None
        if sequence == self.expected:
            self.expected += 1
            return "take", None
        if sequence < self.expected:
            return "ignore", SequenceError(
                f"expected frame {self.expected}, found {sequence} again: repeated, or put out of order",
                "number each frame of a session once, counting up; it was not used twice",
            )
        missing = _range(self.expected, sequence)
        if self._may_ask():
            return "resume", SequenceError(
                f"expected frame {self.expected}, found {sequence}: {missing} skipped, or put out of order",
                "none: the bridge is asked for them again",
            )
        self.expected = sequence + 1
        return "skip", SequenceError(
            f"{missing} did not come when asked for again, and no drop was announced",
            "number the frames of a session without gaps, and announce what is dropped",
        )

    def may_retry(self, sequence: int | None) -> bool:
        """Whether to ask again for a frame whose bytes were altered; if not, it counts as come."""
        if self.is_resuming or (sequence is not None and sequence != self.expected):
            return False
        if self._may_ask():
            return True
        if sequence is not None:
            self.expected = sequence + 1
        return False

    def pass_over(self, sequence: int) -> None:
        """Count a frame that cannot be used as come."""
        if not self.is_resuming:
            self.expected = max(self.expected, sequence + 1)

    def ask(self) -> int:
        """Return the number of a new request to resume; what comes before its answer is out of date."""
        self.asked += 1
        return self.asked

    def resumed(self, number: int, next_sequence: int) -> None:
        """Go on where the bridge does, if it answers the last request, and for the first time."""
        if self.answered < self.asked == number:
            self.answered = number
            self.expected = next_sequence

    def _may_ask(self) -> bool:
        if self._asked_for != self.expected:
            self._asked_for, self._times = self.expected, 0
        self._times += 1
        return self._times <= MAX_TIMES


def _range(first: int, end: int) -> str:
    return f"frame {first}" if end - first == 1 else f"frames {first} to {end - 1}"
