"""Whether a frame is the next one, and what to do if it is not."""

from dataclasses import dataclass
from typing import Literal

from drivers.contract.errors import SequenceError

#: How often one and the same frame is asked for again at once.
MAX_TIMES = 5

#: How often it is asked for after that, each time after a silence: a burst of noise outlasts any number of
#: questions that follow one another within milliseconds.
MAX_RESTS = 3

Retry = Literal["resume", "rest", "skip"]
Step = Literal["take", "ignore"] | Retry


@dataclass
class Sequencer:
    """Follows the sequence numbers of one session.

    A frame that is not the next one, or whose bytes were altered, makes the client ask for all from the
    missing one on (`Resume`), some times at once and some more after a rest.  What comes before the answer
    (`Resumed`), or in the rest, is out of date and comes again.
    """

    expected: int = 0
    asked: int = 0
    """Requests to resume so far; the answer to the last one counts."""
    answered: int = 0
    """The last request that was answered."""
    is_resting: bool = False
    """Whether to wait for a silence before the next request."""
    _asked_for: int = -1
    _times: int = 0

    @property
    def is_resuming(self) -> bool:
        """Whether a request has no answer yet."""
        return self.answered < self.asked

    @property
    def is_out_of_date(self) -> bool:
        """Whether what comes now will come again."""
        return self.is_resuming or self.is_resting

    def judge(self, sequence: int) -> tuple[Step, SequenceError | None]:
        """Say what to do with a frame of this number, and what is wrong with it if anything is.

        Returns
        -------
        step : str
            ``"take"`` it; ``"resume"``: ask again from `expected`; ``"rest"``: do so after a silence;
            ``"skip"``: take it, and what it skips is lost; ``"ignore"`` it.
        error : SequenceError or None
        """
        if self.is_out_of_date:
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
        step = self._retry()
        if step != "skip":
            return step, SequenceError(
                f"expected frame {self.expected}, found {sequence}: {missing} skipped, or put out of order",
                "none: the bridge is asked for them again",
            )
        self.expected = sequence + 1
        return "skip", SequenceError(
            f"{missing} did not come when asked for again, and no drop was announced",
            "number the frames of a session without gaps, and announce what is dropped",
        )

    def retry(self, sequence: int | None) -> Retry | Literal["ignore"]:
        """Say what to do about something whose bytes were altered, a frame of this number if that is known.

        Returns
        -------
        str
            ``"resume"`` and ``"rest"`` as `judge` does; ``"skip"``: it was asked for often enough, and
            counts as come if its number is known; ``"ignore"``: it is not the one to ask for.
        """
        if self.is_out_of_date or (sequence is not None and sequence != self.expected):
            return "ignore"
        step = self._retry()
        if step == "skip" and sequence is not None:
            self.expected = sequence + 1
        return step

    def pass_over(self, sequence: int) -> bool:
        """Count a frame that cannot be used as come, and say whether it was so."""
        if not self.is_out_of_date:
            self.expected = max(self.expected, sequence + 1)
        return not self.is_out_of_date

    def ask(self) -> int:
        """Return the number of a new request to resume; what comes before its answer is out of date."""
        self.is_resting = False
        self.asked += 1
        return self.asked

    def resumed(self, number: int, next_sequence: int) -> None:
        """Go on where the bridge does, if it answers the last request, and for the first time."""
        if self.answered < self.asked == number:
            self.answered = number
            self.expected = next_sequence

    def _retry(self) -> Retry:
        if self._asked_for != self.expected:
            self._asked_for, self._times = self.expected, 0
        self._times += 1
        if self._times <= MAX_TIMES:
            return "resume"
        self.is_resting = self._times <= MAX_TIMES + MAX_RESTS
        return "rest" if self.is_resting else "skip"


def _range(first: int, end: int) -> str:
    return f"frame {first}" if end - first == 1 else f"frames {first} to {end - 1}"
