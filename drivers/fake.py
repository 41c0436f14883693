"""An instrument in memory: does what it is told at once, or fails in ways that a test chooses."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import CONVERGENCE_MRAD, DETECTORS, ENERGIES_KEV, HAADF
from drivers.contract.errors import CommandRefusedError
from drivers.contract.header import FrameFacts, Simultaneous, StagePosition
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    Capabilities,
    Command,
    InstrumentState,
    MoveStage,
    Refocus,
    SetFieldOfView,
    StartScan,
    StopScan,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from drivers.microscope import EndOfFramesError, Exposure

Draw = Callable[[int, tuple[int, int]], NDArray[Any]]


def draw_ramp(number: int, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Return a picture of counts that tells its number: its first pixel."""
    rows, cols = shape
    ramp = np.arange(rows * cols, dtype=np.uint32) % 4093 + number
    return (ramp % 65536).astype(np.uint16).reshape(shape)


@dataclass
class Faults:
    """What goes wrong, for tests.

    Parameters
    ----------
    refuses, ignores : set of str
        Kinds of command that are refused, or taken and not carried out.
    errors : dict of str to Exception
        What a call raises, by its name or by the kind of command; stays until removed.
    settling_reads : int
        For how many readings of the state the instrument settles after a change.
    hold : threading.Event, optional
        Every call to `execute` waits for it.
    """

    refuses: set[str] = field(default_factory=set)
    ignores: set[str] = field(default_factory=set)
    errors: dict[str, Exception] = field(default_factory=dict)
    settling_reads: int = 0
    hold: threading.Event | None = None


class FakeMicroscope:
    """An instrument of the reference detectors and energies that scans a ramp.

    Parameters
    ----------
    frames : int, optional
        After how many the session ends; None never.
    shape : tuple of int
        Grid of the whole field.
    draw : callable
        Makes the pixels of a frame from its number and shape.
    facts : FrameFacts, optional
        Overrides what frames say of themselves, for tests of bad ones.
    is_free_running : bool
        Say that frames do not wait.
    is_scanning : bool
        Whether it scans at the start.
    """

    def __init__(
        self,
        *,
        frames: int | None = None,
        shape: tuple[int, int] = (32, 24),
        draw: Draw = draw_ramp,
        facts: Callable[[int], FrameFacts] | None = None,
        is_free_running: bool = False,
        is_scanning: bool = True,
    ) -> None:
        self.faults = Faults()
        self.executed: list[Command] = []
        self.is_closed = False
        self.taken = 0
        self._frames = frames
        self._draw = draw
        self._facts = facts
        self._is_free_running = is_free_running
        self._pile: deque[Exposure] = deque()
        self._settling = 0
        self._now: dict[str, Any] = {
            "host": "WSe2",
            "dopants": ("Ti",),
            "energy_kev": 80.0,
            "convergence_mrad": CONVERGENCE_MRAD,
            "detectors": (HAADF,),
            "field_of_view_nm": 4.8,
            "shape_px": shape,
            "dwell_us": 1.0,
            "beam_current_pa": 30.0,
            "stage": StagePosition(x_nm=0.0, y_nm=0.0),
            "is_blanked": False,
            "is_scanning": is_scanning,
        }

    def capabilities(self) -> Capabilities:
        """Everything but a limit of the stage."""
        return Capabilities(
            instrument="fake",
            commands=(
                "switch_detector",
                "switch_energy",
                "acquire_image",
                "set_field_of_view",
                "move_stage",
                "refocus",
                "blank_beam",
                "unblank_beam",
                "start_scan",
                "stop_scan",
            ),
            energies_kev=tuple(float(energy) for energy in ENERGIES_KEV),
            detectors=tuple(DETECTORS.values()),
            max_simultaneous=2,
            can_scan_windows=True,
            is_free_running=self._is_free_running,
            dwell_us_range=(0.1, 1000.0),
            field_of_view_nm_range=(1.0, 100.0),
            max_shape_px=(2048, 2048),
        )

    def state(self) -> InstrumentState:
        """Return the state, or raise what the faults say."""
        self._fail("state")
        self._settling = max(0, self._settling - 1)
        return InstrumentState(monotonic_s=time.monotonic(), is_settling=self._settling > 0, **self._now)

    def take_frame(self, timeout_s: float) -> Exposure | None:
        """Scan, if scanning; None at once if not, for there is nothing to wait for."""
        self._fail("take_frame")
        if not self._pile:
            if self._frames is not None and self.taken >= self._frames:
                raise EndOfFramesError("the fake has no more frames")
            if not self._now["is_scanning"] or self._now["is_blanked"]:
                threading.Event().wait(min(timeout_s, 0.002))
                return None
            self._scan(None)
        self.taken += 1
        return self._pile.popleft()

    def execute(self, command: Command) -> None:
        """Carry a command out, unless the faults say otherwise."""
        if self.faults.hold is not None:
            self.faults.hold.wait()
        if command.kind in self.faults.refuses:
            raise CommandRefusedError(f"the fake refuses {command.kind}")
        self._fail(command.kind)
        self.executed.append(command)
        if command.kind not in self.faults.ignores:
            self._settling = self.faults.settling_reads + 1
            self._carry_out(command)

    def close(self) -> None:
        """Note that it was called."""
        self.is_closed = True

    def _carry_out(self, command: Command) -> None:
        match command:
            case SwitchDetector():
                self._now["detectors"] = tuple(DETECTORS[name] for name in command.detectors)
            case SwitchEnergy():
                self._now["energy_kev"] = command.energy_kev
            case AcquireImage():
                self._scan(command)
            case SetFieldOfView():
                self._now["field_of_view_nm"] = command.field_of_view_nm
            case MoveStage():
                given = {
                    name: value
                    for name in ("x_nm", "y_nm", "z_nm")
                    if (value := getattr(command, name)) is not None
                }
                self._now["stage"] = StagePosition(**(self._now["stage"].model_dump() | given))
            case Refocus():
                pass
            case BlankBeam():
                self._now["is_blanked"] = True
            case UnblankBeam():
                self._now["is_blanked"] = False
            case StartScan() | StopScan():
                self._now["is_scanning"] = isinstance(command, StartScan)
                for name in ("dwell_us", "shape_px"):
                    if getattr(command, name, None) is not None:
                        self._now[name] = getattr(command, name)

    def _scan(self, command: AcquireImage | None) -> None:
        """Put one frame of each active detector on the pile."""
        detectors = self._now["detectors"]
        grid = (command and command.shape_px) or self._now["shape_px"]
        window = command.window if command else None
        shape = (window.rows_px, window.cols_px) if window else grid
        first = self.taken + len(self._pile)
        for index, detector in enumerate(detectors):
            facts = FrameFacts(
                **{name: self._now[name] for name in ("host", "dopants", "energy_kev", "convergence_mrad")},
                **{name: self._now[name] for name in ("field_of_view_nm", "beam_current_pa", "stage")},
                detector=detector,
                pixel_size_angstrom=self._now["field_of_view_nm"] * 10 / grid[1],
                dwell_us=(command and command.dwell_us) or self._now["dwell_us"],
                window=window,
                field_shape_px=grid,
                is_settled=self._settling == 0,
                simultaneous=Simultaneous(group=f"scan-{first}", index=index, count=len(detectors))
                if len(detectors) > 1
                else None,
            )
            number = first + index
            pixels = self._draw(number, shape)
            self._pile.append(Exposure(pixels, self._facts(number) if self._facts else facts))

    def _fail(self, call: str) -> None:
        if call in self.faults.errors:
            raise self.faults.errors[call]
