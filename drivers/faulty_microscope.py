"""An instrument with a driver that fails for a while: it hangs, never settles, or reads back stale state."""

import threading
import time
from collections.abc import Callable, Sequence

from drivers.contract.instrument import Capabilities, Command, InstrumentState, SwitchEnergy
from drivers.faults import Fault
from drivers.microscope import Exposure, Microscope


class FaultyMicroscope:
    """Stands before another instrument; whatever no fault touches goes to that one.

    Parameters
    ----------
    microscope : Microscope
    clock : callable
        Monotonic [s].
    """

    def __init__(self, microscope: Microscope, clock: Callable[[], float] = time.monotonic) -> None:
        self._microscope, self._clock = microscope, clock
        self._faults: Sequence[Fault] = ()
        self._began_s = clock()
        self._changed = threading.Event()
        self._seen: InstrumentState | None = None
        self.executed: list[Command] = []

    def begin(self, *faults: Fault) -> None:
        """Begin a script now; from any thread."""
        self._began_s, self._faults = self._clock(), faults
        self._changed.set()

    def capabilities(self) -> Capabilities:
        """What the instrument behind can do."""
        return self._microscope.capabilities()

    def state(self) -> InstrumentState:
        """Return the state, an old one, or one that never settles."""
        self._hang()
        if self._is_on("stale_state") and self._seen is not None:
            return self._seen
        state = self._microscope.state()
        self._seen = state
        if self._is_on("ramp_hangs"):
            return state.rebuilt(is_settling=True, note="ramping the beam energy")
        return state

    def take_frame(self, timeout_s: float) -> Exposure | None:
        """Take a frame, late if the driver hangs."""
        self._hang()
        return self._microscope.take_frame(timeout_s)

    def execute(self, command: Command) -> None:
        """Have a command carried out; an energy that does not ramp is left as it is until the fault ends."""
        self._hang()
        self.executed.append(command)
        if isinstance(command, SwitchEnergy) and self._is_on("ramp_hangs"):
            return
        self._microscope.execute(command)

    def close(self) -> None:
        """Let go."""
        self._changed.set()
        self._microscope.close()

    def _is_on(self, kind: str) -> bool:
        at_s = self._clock() - self._began_s
        return any(fault.kind == kind and fault.is_on(at_s) for fault in self._faults)

    def _hang(self) -> None:
        """Stay in this call for as long as the driver hangs."""
        while self._is_on("driver_hangs"):
            self._changed.clear()
            self._changed.wait(0.02)
