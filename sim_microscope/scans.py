"""Scans of the simulated microscope: what a detector reads of the specimen where the beam passes over it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from drivers.contract.context import Context, Detector
from drivers.contract.header import FrameFacts, Simultaneous, StagePosition, Window
from sim_microscope.contamination import scattered_per_nm
from sim_microscope.dose import electrons_per_pixel, scan_dose
from sim_microscope.field import REACH_ANGSTROM, FieldKernels
from sim_microscope.imaging import Readout, ScanMap
from sim_microscope.scan_images import MAX_SHIFT_PX, kernel_image, multislice_image
from sim_microscope.scan_path import ScanPath
from sim_microscope.settings import SimulatorSettings
from sim_microscope.specimen import Region
from sim_microscope.specimen_under_beam import SpecimenUnderBeam

#: Defocus is rounded to this when an image is made, so that a settling focus needs few spectra [Å].
_FOCUS_STEP_ANGSTROM = 5.0


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """What stood in a frame.

    Parameters
    ----------
    positions_px : ndarray of shape (n, 2)
        Columns (row, column) [pixels of the frame], the random shifts of rows left out.
    classes : ndarray of shape (n,), uint8
        `ColumnClass` of each, an empty column being a double vacancy.
    sites : ndarray of shape (n,), int64
        Number of each column's lattice site, the same in every frame of the session.
    """

    positions_px: NDArray[np.float64]
    classes: NDArray[np.uint8]
    sites: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SimulatedFrame:
    """A frame with the facts that the instrument declares, and the truth."""

    pixels: NDArray[np.float32]
    facts: FrameFacts
    truth: FrameTruth


@dataclass(frozen=True)
class ScanRequest:
    """What to scan."""

    dwell_us: float
    shape_px: tuple[int, int]
    window: Window | None = None


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan under way: its images are made as it begins, its dose and damage counted as it ends."""

    start_s: float
    end_s: float
    path: ScanPath
    scan_map: ScanMap
    region: Region
    energy_kev: float
    frames: tuple[SimulatedFrame, ...]


@dataclass(frozen=True)
class Stand:
    """How the instrument stands as a scan begins.

    Parameters
    ----------
    energy_kev : float
        Beam energy.
    detectors : tuple of Detector
        Those that read.
    fov_nm : float
        Width of the field.
    stage : StagePosition
        As the stage reports it.
    shift_angstrom : tuple of float
        Shift (row, column) of the field against the stage [Å].
    defocus_angstrom : float
        Defocus.
    is_settled : bool
        Whether everything stands.
    """

    energy_kev: float
    detectors: tuple[Detector, ...]
    fov_nm: float
    stage: StagePosition
    shift_angstrom: tuple[float, float]
    defocus_angstrom: float
    is_settled: bool


class ScanMaker:
    """Makes the scans of a session.

    Parameters
    ----------
    settings : SimulatorSettings
        Of the session.
    specimen : SpecimenUnderBeam
        What is scanned.
    find_kernels : callable
        Kernels of a context.
    """

    def __init__(
        self,
        settings: SimulatorSettings,
        specimen: SpecimenUnderBeam,
        find_kernels: Callable[[Context], FieldKernels],
    ) -> None:
        self._settings = settings
        self._specimen = specimen
        self._find_kernels = find_kernels
        self._kernels: dict[Context, FieldKernels] = {}

    def require(self, detector: Detector, energy_kev: float) -> None:
        """Make sure that a context can be imaged, and be ready for it.

        Raises
        ------
        InputError
            If there are no kernels for it, or carbon is asked for where it is not known what it adds.
        """
        settings, context = self._settings, self._context(detector, energy_kev)
        if settings.contamination_nm or settings.contamination_nm_per_dose:
            scattered_per_nm(context)
        if settings.method == "kernels":
            self._kernels_of(context)

    def make(self, stand: Stand, request: ScanRequest, number: int, now_s: float) -> Scan:
        """Make the scan that begins now; its number decides its noise."""
        settings = self._settings
        path = ScanPath.of_field(
            stand.fov_nm,
            request.shape_px,
            request.window,
            dwell_us=request.dwell_us,
            flyback_us=settings.flyback_us,
            magnification=1.0 + settings.pixel_size_error,
        )
        end_s = now_s + path.duration_s
        middle = np.array([stand.stage.y_nm, stand.stage.x_nm]) * 10 + np.array(stand.shift_angstrom)
        start = middle - self._specimen.drift.at(now_s)
        scan_map = path.scan_map(start, middle - self._specimen.drift.at(end_s))
        low, high = path.box(scan_map)
        reach = REACH_ANGSTROM + (MAX_SHIFT_PX + 2) * path.true_step_angstrom
        region = self._specimen.crystal.region(low - reach, high + reach)
        scan = Scan(now_s, end_s, path, scan_map, region, stand.energy_kev, ())
        truth, count = _truth(scan), len(stand.detectors)
        frames = []
        for index, detector in enumerate(stand.detectors):
            group = None
            if count > 1:
                group = Simultaneous(group=f"scan-{number}", index=index, count=count)
            facts = self._facts(stand, request, scan, detector, group)
            frames.append(SimulatedFrame(self._expose(stand, scan, detector, number), facts, truth))
        return replace(scan, frames=tuple(frames))

    def count_dose(self, scan: Scan, rows: float) -> int:
        """Put the dose of a scan's first rows on the specimen; returns the chalcogens that it took."""
        if rows <= 0:
            return 0
        path, pixels = scan.path, scan.scan_map.to_pixels(scan.region.crystal.positions)
        is_hit = path.contains(pixels) & (pixels[:, 0] < rows - 0.5)
        low, high = box = path.box(scan.scan_map, rows)
        # By the area that the drift left the scan, so that every electron counts once.
        electrons = electrons_per_pixel(self._settings.beam_current_pa, path.dwell_us)
        dose = electrons * rows * path.shape[1] / float(np.prod(high - low))
        return self._specimen.expose(scan.region, is_hit, box, dose, scan.energy_kev)

    def _expose(self, stand: Stand, scan: Scan, detector: Detector, number: int) -> NDArray[np.float32]:
        """One detector's counts; all detectors of a scan share its shifts of rows, not its noise."""
        settings, path = self._settings, scan.path
        shifts = np.random.default_rng((settings.seed, 2, number)).normal(0.0, 1.0, path.shape[0])
        shifts = np.clip(shifts * settings.row_jitter_px, -MAX_SHIFT_PX, MAX_SHIFT_PX)
        context = self._context(detector, stand.energy_kev)
        image = self._image(scan, context, shifts, stand.defocus_angstrom).astype(np.float64)
        image += self._carbon(scan, context)
        electrons = electrons_per_pixel(settings.beam_current_pa, path.dwell_us)
        readout = Readout(settings.gain_counts_per_e, settings.offset_counts, settings.readout_sigma_counts)
        which = settings.detectors.index(detector)
        noise = np.random.default_rng((settings.seed, 3, number, which))
        return np.maximum(readout.counts(image, electrons, noise), np.float32(0))

    def _image(
        self, scan: Scan, context: Context, shifts_px: NDArray[np.float64], defocus_angstrom: float
    ) -> NDArray[np.float32]:
        """Intensity at the points of a scan."""
        settings, crystal = self._settings, scan.region.crystal
        defocus = round(defocus_angstrom / _FOCUS_STEP_ANGSTROM) * _FOCUS_STEP_ANGSTROM
        source = settings.source_sigma_angstrom
        if settings.method == "multislice":
            return multislice_image(
                crystal,
                context,
                scan.path,
                scan.scan_map,
                shifts_px,
                source_sigma_angstrom=source,
                defocus_angstrom=defocus,
            )
        # Kernels carry no aberrations in MAADF, so defocus is a blur in both detectors: half the geometric
        # radius of the beam.  Frames that settle are to be told from good ones, not to be read.
        blur = abs(defocus) * settings.convergence_mrad * 1e-3 / 2
        return kernel_image(
            crystal,
            self._kernels_of(context),
            scan.path,
            scan.scan_map,
            shifts_px,
            source_sigma_angstrom=float(np.hypot(source, blur)),
        )

    def _carbon(self, scan: Scan, context: Context) -> NDArray[np.float64] | float:
        """Intensity that carbon adds, made on every eighth point and interpolated."""
        thickness_nm = self._specimen.carbon_nm(*scan.path.box(scan.scan_map))
        if thickness_nm == 0:
            return 0.0
        axes = [np.linspace(0, edge - 1, edge // 8 + 2) for edge in scan.path.shape]
        pixels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        coarse = self._specimen.relief.at(scan.scan_map.to_specimen(pixels))
        factors = [edge / n for edge, n in zip(scan.path.shape, coarse.shape, strict=True)]
        relief = zoom(coarse, factors, order=1, mode="nearest")
        return np.asarray(relief * (thickness_nm * scattered_per_nm(context)))

    def _facts(
        self,
        stand: Stand,
        request: ScanRequest,
        scan: Scan,
        detector: Detector,
        group: Simultaneous | None,
    ) -> FrameFacts:
        """What the instrument declares of a frame."""
        settings, step = self._settings, scan.path.step_angstrom
        dopant = settings.specimen.dopant
        return FrameFacts(
            host=settings.specimen.host,
            dopants=(dopant,) if dopant else (),
            energy_kev=stand.energy_kev,
            convergence_mrad=settings.convergence_mrad,
            detector=detector,
            pixel_size_angstrom=step,
            field_of_view_nm=stand.fov_nm,
            field_shape_px=request.shape_px,
            window=request.window,
            dwell_us=request.dwell_us,
            beam_current_pa=settings.beam_current_pa,
            dose_e_per_a2=scan_dose(settings.beam_current_pa, request.dwell_us, step),
            stage=stand.stage,
            defocus_nm=stand.defocus_angstrom / 10,
            is_settled=stand.is_settled,
            simultaneous=group,
            monotonic_s=scan.end_s,
        )

    def _context(self, detector: Detector, energy_kev: float) -> Context:
        settings = self._settings
        return Context(
            specimen=settings.specimen,
            energy_kev=energy_kev,
            detector=detector,
            convergence_mrad=settings.convergence_mrad,
        )

    def _kernels_of(self, context: Context) -> FieldKernels:
        """Kernels of a context; they are kept, as the plans of images hang on them."""
        if context not in self._kernels:
            self._kernels[context] = self._find_kernels(context)
        return self._kernels[context]


def _truth(scan: Scan) -> FrameTruth:
    """Columns of a scan before it does its damage."""
    pixels = scan.scan_map.to_pixels(scan.region.crystal.positions)
    inside = scan.path.contains(pixels)
    return FrameTruth(pixels[inside], scan.region.crystal.classes[inside], scan.region.sites[inside])
