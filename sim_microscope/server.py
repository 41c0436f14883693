"""The simulated microscope behind the `Microscope` protocol, on a clock: what a bridge serves."""

import threading
import time
from collections import OrderedDict, deque
from typing import Protocol

from drivers.contract.instrument import BlankBeam, Capabilities, Command, InstrumentState
from drivers.microscope import EndOfFramesError, Exposure
from sim_microscope.instrument import Instrument
from sim_microscope.scans import SimulatedFrame
from sim_microscope.truth import Truth

#: Frames whose truth is kept.
_TRUTHS_KEPT = 512


class Clock(Protocol):
    """Where the simulated microscope gets its time from."""

    def now_s(self) -> float:
        """Time now."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...


class RealClock:
    """The machine's monotonic clock: frames come at the pace of dwell times pixels."""

    def now_s(self) -> float:
        """Time now."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


class FastClock:
    """A clock that jumps to whatever is waited for: frames come as fast as they can be made.

    It begins at the machine's monotonic time and then runs by itself.
    """

    def __init__(self) -> None:
        self._now_s = time.monotonic()

    def now_s(self) -> float:
        """Time of the simulation."""
        return self._now_s

    def wait(self, seconds: float) -> None:
        """Go on by that much, giving other threads their turn."""
        self._now_s += seconds
        time.sleep(0.001)


class SimulatedMicroscope:
    """Serves an `Instrument` as a `Microscope`.

    Parameters
    ----------
    instrument : Instrument
        Made at the clock's time.
    clock : Clock
        `RealClock` or `FastClock`.
    frames : int, optional
        The session ends after so many; None never.
    """

    def __init__(self, instrument: Instrument, clock: Clock, *, frames: int | None = None) -> None:
        self._instrument = instrument
        self._clock = clock
        self._frames = frames
        self._ready: deque[SimulatedFrame] = deque()
        self._handed_over = 0
        self._truths: OrderedDict[int, Truth] = OrderedDict()
        self._lock = threading.Lock()

    def capabilities(self) -> Capabilities:
        """Say what it can do."""
        return self._instrument.capabilities()

    def state(self) -> InstrumentState:
        """Say how it stands; on a fast clock, asking makes it settle."""
        state = self._instrument.state(self._clock.now_s())
        if state.is_settling and isinstance(self._clock, FastClock):
            self._clock.wait(0.1)
        if self._ready:  # frames of a scan that are still to be handed over
            state = state.rebuilt(is_scanning=True)
        return state

    def take_frame(self, timeout_s: float) -> Exposure | None:
        """Wait for the next frame: a scan takes as long as it takes, in parts if the time is shorter.

        Raises
        ------
        EndOfFramesError
            After the last frame of a session that has one.
        """
        if self._handed_over == self._frames:
            raise EndOfFramesError(f"all {self._frames} frames were taken")
        if not self._ready:
            end_s = self._instrument.begin_scan(self._clock.now_s())
            if end_s is None:
                self._clock.wait(timeout_s)
                return None
            left_s = max(0.0, end_s - self._clock.now_s())
            if isinstance(self._clock, RealClock) and left_s > timeout_s:
                self._clock.wait(timeout_s)
                return None
            self._clock.wait(left_s)
            self._ready.extend(self._instrument.end_scan())
        frame = self._ready.popleft()
        self._keep_truth(frame)
        return Exposure(frame.pixels, frame.facts)

    def execute(self, command: Command) -> None:
        """Begin to carry a command out."""
        self._instrument.execute(command, self._clock.now_s())

    def close(self) -> None:
        """Keep the beam off the specimen."""
        self._instrument.execute(BlankBeam(), self._clock.now_s())

    def truth(self, sequence: int) -> Truth | None:
        """Truth of the frame that was handed over as the `sequence`-th, from 0; None if it is not kept.

        A bridge numbers the frames of a session in the order in which they are handed over, so that this is
        the sequence number of their headers.  May be called from any thread.
        """
        with self._lock:
            return self._truths.get(sequence)

    def _keep_truth(self, frame: SimulatedFrame) -> None:
        truth = Truth.of(
            frame.truth,
            sequence=self._handed_over,
            lost_chalcogens=self._instrument.lost_chalcogens,
            highest_dose_e_per_a2=self._instrument.specimen.dose.highest_e_per_a2,
        )
        with self._lock:
            self._truths[self._handed_over] = truth
            if len(self._truths) > _TRUTHS_KEPT:
                self._truths.popitem(last=False)
        self._handed_over += 1
