"""The simulated microscope: a state machine that is told the time and answers with frames.

It sleeps nowhere and reads no clock: whoever drives it says when a command comes or a scan begins, and
the same settings, calls and times make the same session to the bit.  `sim_microscope.server` drives it
by a real clock, or by one that runs as fast as frames can be made.
"""

from collections.abc import Callable
from typing import assert_never, get_args

import numpy as np

from drivers.contract.context import Context, Detector
from drivers.contract.errors import CommandRefusedError, InputError
from drivers.contract.header import StagePosition, Window
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
from sim_microscope.beam_optics import REFOCUS_S, BeamOptics
from sim_microscope.field import FieldKernels
from sim_microscope.scans import Scan, ScanMaker, ScanRequest, SimulatedFrame, Stand
from sim_microscope.settings import SimulatorSettings
from sim_microscope.simulate import load_kernels
from sim_microscope.specimen_under_beam import SpecimenUnderBeam

#: Kinds of the commands that it takes: all.
_COMMAND_KINDS = tuple(kind.model_fields["kind"].default for kind in get_args(get_args(Command)[0]))

#: Ranges that commands may ask for.
DWELL_US_RANGE, FOV_NM_RANGE, MAX_EDGE_PX = (0.05, 10_000.0), (1.0, 100.0), 4096


class Instrument:
    """The simulated microscope.

    Parameters
    ----------
    settings : SimulatorSettings
        Instrument, specimen, and how they stand at first: scanning, the beam on.
    at_s : float
        Time now.
    find_kernels : callable
        Kernels of a context.

    Raises
    ------
    InputError
        If the settings' context lies outside the kernel table.
    """

    def __init__(
        self,
        settings: SimulatorSettings,
        *,
        at_s: float = 0.0,
        find_kernels: Callable[[Context], FieldKernels] = load_kernels,
    ) -> None:
        self.settings = settings
        self.specimen = SpecimenUnderBeam(settings, at_s)
        self._optics = BeamOptics(settings, settings.energy_kev)
        self._maker = ScanMaker(settings, self.specimen, find_kernels)
        self._active = tuple(self._detector(name) for name in settings.active)
        self._fov_nm = settings.fov_nm
        self._live = ScanRequest(settings.dwell_us, (settings.pixels, settings.pixels))
        self._asked: list[ScanRequest] = []
        self._stage = StagePosition(x_nm=0.0, y_nm=0.0)
        self._shift_angstrom = np.zeros(2)
        self._shifts = np.random.default_rng((settings.seed, 4))
        self._is_blanked, self._is_scanning = False, True
        self._settled_s = at_s
        self._scan: Scan | None = None
        self._scans = 0
        self._lost_chalcogens = 0
        for detector in self._active:
            self._maker.require(detector, settings.energy_kev)

    # What it says of itself.

    def capabilities(self) -> Capabilities:
        """Say what it can do."""
        settings = self.settings
        return Capabilities(
            instrument="simulated microscope",
            commands=_COMMAND_KINDS,
            energies_kev=settings.energies_kev,
            detectors=settings.detectors,
            max_simultaneous=len(settings.detectors),
            can_scan_windows=True,
            dwell_us_range=DWELL_US_RANGE,
            field_of_view_nm_range=FOV_NM_RANGE,
            stage_nm_range=(-settings.stage_range_nm, settings.stage_range_nm),
            max_shape_px=(MAX_EDGE_PX, MAX_EDGE_PX),
            flyback_us=settings.flyback_us,
            detector_switch_s=settings.detector_settle_s,
            energy_switch_s=settings.energy_ramp_s + settings.energy_settle_s,
            stage_settle_s=settings.stage_settle_s,
        )

    def state(self, now_s: float) -> InstrumentState:
        """Say how it stands."""
        wait_s = self.settles_in_s(now_s)
        specimen = self.settings.specimen
        return InstrumentState(
            monotonic_s=now_s,
            host=specimen.host,
            dopants=(specimen.dopant,) if specimen.dopant else (),
            energy_kev=self._optics.read_back_kev(now_s),
            convergence_mrad=self.settings.convergence_mrad,
            detectors=self._active,
            field_of_view_nm=self._fov_nm,
            shape_px=self._live.shape_px,
            dwell_us=self._live.dwell_us,
            beam_current_pa=self.settings.beam_current_pa,
            stage=self._stage,
            defocus_nm=self._optics.defocus_angstrom(now_s) / 10,
            is_blanked=self._is_blanked,
            is_scanning=self._is_scanning or self._scan is not None,
            is_settling=wait_s > 0,
            settles_in_s=wait_s,
            note=f"going over to {self._optics.energy_kev:g} keV" if self._optics.is_off(now_s) else "",
        )

    def settles_in_s(self, now_s: float) -> float:
        """Time until everything stands."""
        return max(self._optics.settles_in_s(now_s), self._settled_s - now_s, 0.0)

    @property
    def lost_chalcogens(self) -> int:
        """Chalcogens that the beam has taken."""
        return self._lost_chalcogens

    # What it is told.

    def execute(self, command: Command, now_s: float) -> None:
        """Begin to carry a command out; a scan under way is given up if it could not go on as it is.

        Raises
        ------
        CommandRefusedError
            If it cannot be done; nothing has been begun.
        """
        match command:
            case SwitchDetector():
                self._switch_detector(command, now_s)
            case SwitchEnergy():
                self._switch_energy(command, now_s)
            case AcquireImage():
                self._acquire(command, now_s)
            case SetFieldOfView():
                _require(FOV_NM_RANGE, command.field_of_view_nm, "field of view", "nm")
                self._give_up(now_s)
                self._fov_nm = command.field_of_view_nm
            case MoveStage():
                self._move(command, now_s)
            case Refocus():
                self._require_stillness(now_s)
                self._give_up(now_s)
                self._optics.refocus(now_s)
                self._settled_s = now_s + REFOCUS_S
            case BlankBeam():
                self._give_up(now_s)
                self._is_blanked = True
            case UnblankBeam():
                self._is_blanked = False
            case StartScan():
                self._live = self._request(command.dwell_us, command.shape_px, None)
                self._is_scanning = True
            case StopScan():
                self._is_scanning = False
            case _:
                assert_never(command)

    def _switch_detector(self, command: SwitchDetector, now_s: float) -> None:
        names = command.detectors
        if len(set(names)) < len(names):
            raise CommandRefusedError(f"detectors {', '.join(names)}: expected every name once")
        detectors = tuple(self._detector(name) for name in names)
        self._require_stillness(now_s)
        for detector in detectors:
            self._require_kernels(detector, self._optics.energy_kev)
        self._give_up(now_s)
        self._active = detectors
        self._settled_s = now_s + self.settings.detector_settle_s

    def _switch_energy(self, command: SwitchEnergy, now_s: float) -> None:
        possible = self.settings.energies_kev
        if command.energy_kev not in possible:
            listed = ", ".join(f"{energy:g}" for energy in possible)
            raise CommandRefusedError(f"{command.energy_kev:g} keV is not aligned; possible are {listed} keV")
        self._require_stillness(now_s)
        for detector in self._active:
            self._require_kernels(detector, command.energy_kev)
        if command.energy_kev == self._optics.energy_kev:
            return
        self._give_up(now_s)
        self._optics.switch(command.energy_kev, now_s)
        spread = self.settings.energy_shift_nm * 10
        self._shift_angstrom = self._shift_angstrom + self._shifts.normal(0.0, 1.0, 2) * spread

    def _acquire(self, command: AcquireImage, now_s: float) -> None:
        if self._is_blanked:
            raise CommandRefusedError("the beam is blanked; unblank it first")
        if self._optics.is_off(now_s):
            raise CommandRefusedError(
                f"no beam for another {self._optics.settles_in_s(now_s):.1f} s: the energy is going over"
            )
        self._asked.append(self._request(command.dwell_us, command.shape_px, command.window))

    def _move(self, command: MoveStage, now_s: float) -> None:
        wanted = StagePosition(
            x_nm=self._stage.x_nm if command.x_nm is None else command.x_nm,
            y_nm=self._stage.y_nm if command.y_nm is None else command.y_nm,
            z_nm=self._stage.z_nm if command.z_nm is None else command.z_nm,
        )
        reach = self.settings.stage_range_nm
        for value, axis in ((wanted.x_nm, "x"), (wanted.y_nm, "y")):
            _require((-reach, reach), value, f"stage {axis}", "nm")
        _require((-50.0, 50.0), wanted.z_nm, "stage z", "nm")
        self._require_stillness(now_s)
        self._give_up(now_s)
        self._stage = wanted
        self._optics.lift(wanted.z_nm * 10)
        self._settled_s = now_s + self.settings.stage_settle_s

    def _request(
        self, dwell_us: float | None, shape_px: tuple[int, int] | None, window: Window | None
    ) -> ScanRequest:
        """Settings of a scan, those of the live one where none are given."""
        request = ScanRequest(dwell_us or self._live.dwell_us, shape_px or self._live.shape_px, window)
        _require(DWELL_US_RANGE, request.dwell_us, "dwell", "us")
        for edge in request.shape_px:
            _require((16, MAX_EDGE_PX), edge, "edge of the field's grid", "px")
        if window is not None:
            try:
                window.check_inside(request.shape_px)
            except InputError as error:
                raise CommandRefusedError(str(error)) from error
        return request

    def _require_stillness(self, now_s: float) -> None:
        wait_s = self.settles_in_s(now_s)
        if wait_s > 0:
            raise CommandRefusedError(f"still settling for {wait_s:.1f} s; ask again then")

    def _require_kernels(self, detector: Detector, energy_kev: float) -> None:
        """Refuse a context that cannot be imaged."""
        try:
            self._maker.require(detector, energy_kev)
        except InputError as error:
            raise CommandRefusedError(str(error)) from error

    # What it does.

    def begin_scan(self, now_s: float) -> float | None:
        """Begin the next scan if there is one to do and nothing in its way.

        Returns
        -------
        float or None
            When the scan under way ends; None if there is none.
        """
        if self._scan is not None:
            return self._scan.end_s
        is_wanted = bool(self._asked) or self._is_scanning
        if not is_wanted or self._is_blanked or self._optics.is_off(now_s) or now_s < self._settled_s:
            return None
        request = self._asked.pop(0) if self._asked else self._live
        self._scan = self._maker.make(self._stand(now_s), request, self._scans, now_s)
        self._scans += 1
        return self._scan.end_s

    def end_scan(self) -> tuple[SimulatedFrame, ...]:
        """Complete the scan under way: one frame of each active detector."""
        scan, self._scan = self._scan, None
        if scan is None:
            raise RuntimeError("no scan is under way")
        self._lost_chalcogens += self._maker.count_dose(scan, scan.path.shape[0])
        return scan.frames

    def _give_up(self, now_s: float) -> None:
        """Give up the scan under way and what else was asked for; what was scanned has had its dose."""
        scan, self._scan = self._scan, None
        self._asked.clear()
        if scan is not None:
            rows = min(max(0.0, (now_s - scan.start_s) / scan.path.row_time_s), scan.path.shape[0])
            self._lost_chalcogens += self._maker.count_dose(scan, rows)

    def _stand(self, now_s: float) -> Stand:
        """How it stands, for a scan that begins now."""
        return Stand(
            self._optics.energy_kev,
            self._active,
            self._fov_nm,
            self._stage,
            (float(self._shift_angstrom[0]), float(self._shift_angstrom[1])),
            self._optics.defocus_angstrom(now_s),
            self.settles_in_s(now_s) == 0,
        )

    def _detector(self, name: str) -> Detector:
        for detector in self.settings.detectors:
            if detector.name == name:
                return detector
        known = ", ".join(detector.name for detector in self.settings.detectors)
        raise CommandRefusedError(f"detector {name!r} is not there; there are {known}")


def _require(limits: tuple[float, float], value: float, what: str, unit: str) -> None:
    """Refuse a value out of its range."""
    if not limits[0] <= value <= limits[1]:
        raise CommandRefusedError(
            f"{what} of {value:g} {unit}: expected {limits[0]:g} to {limits[1]:g} {unit}"
        )
