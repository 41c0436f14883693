"""What an instrument's driver has to offer, so that a bridge can serve it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drivers.contract.header import FrameFacts
from drivers.contract.instrument import Capabilities, Command, InstrumentState


@dataclass(frozen=True, eq=False)
class Exposure:
    """One frame as the driver hands it over; the bridge numbers, stamps and seals it.

    Parameters
    ----------
    pixels : ndarray of shape (M, N)
        Counts from 0 up.  The driver must not write into it afterwards.
    facts : FrameFacts
        What the instrument knows of the frame, as it was while the frame was taken.
    """

    pixels: NDArray[np.generic]
    facts: FrameFacts


class Microscope(Protocol):
    """An instrument.  All calls come from one thread and may block, if not for ever.

    Any exception means that the instrument failed; it is announced, and the bridge tries again.
    """

    def capabilities(self) -> Capabilities:
        """What the instrument can do; does not change while it is served."""
        ...

    def state(self) -> InstrumentState:
        """Read the state back from the instrument, not from what it was told."""
        ...

    def take_frame(self, timeout_s: float) -> Exposure | None:
        """Wait for the next frame; None if there is none within the time.

        An instrument that can wait is asked only when there is room for a frame; one that is
        `is_free_running` must be read as fast as its frames come.

        Raises
        ------
        EndOfFramesError
            If there never will be another one.
        InputError
            If this frame cannot be used; the bridge announces it as rejected and goes on.
        """
        ...

    def execute(self, command: Command) -> None:
        """Begin to carry a command out; the bridge then reads the state until it agrees.

        May return before the change is complete, if the state says ``is_settling`` until it is.

        Raises
        ------
        CommandRefusedError
            If the instrument cannot do it; nothing has been begun.
        """
        ...

    def close(self) -> None:
        """Let go of the instrument; called once, last, after the beam was blanked where it can be."""
        ...


class EndOfFramesError(Exception):
    """A recorded instrument has no more frames."""
