"""Series of simulated frames of one specimen: what the combination of evidence is calibrated on.

What persists over a session persists here: the specimen with its contamination, source size, scan
distortion and drift; and, as long as the energy stays, focus and camera length.  What a frame brings of its
own is its place, row jitter and noise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from drivers.contract.context import DETECTORS, HAADF, Context, Specimen
from models.contrasts import brightest_contrast
from models.training.conditions import Ranges, draw_acquisition, draw_plan, draw_true_context
from sim_microscope.aberrations import Aberrations, ProbeTransfer, is_incoherent
from sim_microscope.contamination import draw_grain, scattered_by_atom_a2, with_grain
from sim_microscope.crystal import Crystal, build_crystal
from sim_microscope.field import REACH_ANGSTROM, Raster, render
from sim_microscope.imaging import Acquisition, Renderer, ScanMap, detect, scan
from sim_microscope.simulate import Frame, SpecimenPlan, load_kernels

#: Largest shift of the field between frames of a series, in parts of the field, either sign.
_SHIFT = 0.15

#: Room around the field that distortion and drift within a frame may take, in parts of the field.
_ROOM = 0.2

#: Distance between the points that contamination is drawn on, over the length it varies on.
_RELIEF_STEP = 0.25

#: Distance between the points that its grain is drawn on.
_GRAIN_STEP_ANGSTROM = 0.3


@dataclass(frozen=True)
class SeriesFrame:
    """One image of a series.

    Parameters
    ----------
    frame : Frame
        With the nominal context, and the truth of the whole specimen's columns in view.
    scan : int
        Images of one scan were acquired at once.
    column : ndarray of shape (n,)
        Place in the specimen of each column of the frame's truth.
    """

    frame: Frame
    scan: int
    column: NDArray[np.int64]


@dataclass(frozen=True)
class Relief:
    """What a specimen's contamination is where: its mean, as a fraction of the largest, or its grain.

    Parameters
    ----------
    height : ndarray of shape (M, N)
        The mean from 0 to 1, the grain in 1/Å, at every `step_angstrom` from `origin_angstrom` on, along rows
        and columns.
    """

    height: NDArray[np.float64]
    step_angstrom: float
    origin_angstrom: float

    def sample(self, raster: Raster) -> NDArray[np.float64]:
        """Heights at the points of a raster."""
        axes = [
            (start + np.arange(n) * raster.step_angstrom - self.origin_angstrom) / self.step_angstrom
            for start, n in zip(raster.origin_angstrom, raster.shape, strict=True)
        ]
        points = np.stack(np.meshgrid(*axes, indexing="ij"))
        return np.asarray(map_coordinates(self.height, points, order=1, mode="nearest"))


def draw_relief(size_angstrom: float, length_angstrom: float, rng: np.random.Generator) -> Relief:
    """Smooth patches over a square specimen, zero over about half of it."""
    step = length_angstrom * _RELIEF_STEP
    count = int(np.ceil(2 * size_angstrom / step)) + 2
    relief = gaussian_filter(rng.normal(size=(count, count)), length_angstrom / step, mode="wrap")
    return Relief(np.clip(relief / max(float(relief.max()), 1e-12), 0.0, None), step, -size_angstrom / 2)


def draw_grain_map(size_angstrom: float, source_sigma_angstrom: float, rng: np.random.Generator) -> Relief:
    """Grain of a square specimen's contamination, the same in all its frames."""
    count = int(np.ceil(2 * size_angstrom / _GRAIN_STEP_ANGSTROM)) + 2
    grain = draw_grain((count, count), _GRAIN_STEP_ANGSTROM, source_sigma_angstrom, rng)
    return Relief(grain.astype(np.float64), _GRAIN_STEP_ANGSTROM, -size_angstrom / 2)


@dataclass(frozen=True)
class Sample:
    """A specimen on a microscope; frames of it are taken with `take_scan`."""

    crystal: Crystal
    relief: Relief
    grain: Relief
    size_angstrom: float


def draw_specimen(
    context: Context,
    acquisition: Acquisition,
    ranges: Ranges,
    rng: np.random.Generator,
    *,
    room: float = _SHIFT + _ROOM,
) -> Sample:
    """Draw a specimen that fills a field and this part of it on every side."""
    size = acquisition.fov_nm * 10
    plan = draw_plan(ranges, rng)
    crystal = build_crystal(
        context.specimen,
        (size, size),
        rotation_deg=float(rng.uniform(0, 360)),
        concentrations=plan.concentrations,
        margin_angstrom=REACH_ANGSTROM + room * size,
        rng=rng,
    )
    relief = draw_relief(size, acquisition.contamination_length_nm * 10, rng)
    return Sample(crystal, relief, draw_grain_map(size, acquisition.source_sigma_angstrom, rng), size)


def take_scan(
    sample: Sample,
    context: Context,
    made_with: dict[str, Context],
    acquisition: Acquisition,
    scan_number: int,
    shift_angstrom: NDArray[np.float64],
    rng: np.random.Generator,
) -> list[SeriesFrame]:
    """Scan a specimen once and read all detectors at once.

    Parameters
    ----------
    sample : Sample
    context : Context
        As a header would say it; its detector is replaced.
    made_with : dict of str to Context
        By detector's name: the annulus that the image is really made with.
    acquisition : Acquisition
        Shared by the detectors; contamination is over each detector's brighter whole column.
    scan_number : int
    shift_angstrom : ndarray of shape (2,)
        Place of the field on the specimen, (row, column).
    rng : numpy.random.Generator
        Draws the row jitter, which the detectors share, and the noise, which they do not.
    """
    shift = shift_angstrom
    jitter_seed = int(rng.integers(2**31))
    pixels = ScanMap.of(acquisition).to_pixels(sample.crystal.positions - shift)
    inside = np.all((pixels >= -0.5) & (pixels < acquisition.pixels - 0.5), axis=1)
    truth = sample.crystal.take(inside)
    frames = []
    for name, true_context in made_with.items():
        nominal = Context(specimen=context.specimen, energy_kev=context.energy_kev, detector=DETECTORS[name])
        renderer = _renderer(sample, true_context, nominal, acquisition, shift)
        intensity = scan(acquisition, renderer, np.random.default_rng(jitter_seed)).astype(np.float64)
        image = detect(intensity, acquisition, rng)
        frame = Frame(
            image, nominal, acquisition, SpecimenPlan(), jitter_seed, "series", truth, pixels[inside]
        )
        frames.append(SeriesFrame(frame, scan_number, np.flatnonzero(inside)))
    return frames


def _renderer(
    sample: Sample,
    made_with: Context,
    nominal: Context,
    acquisition: Acquisition,
    shift: NDArray[np.float64],
) -> Renderer:
    """Intensity of a sample seen from a shifted field."""
    kernels = load_kernels(made_with)
    transfer = None
    if is_incoherent(made_with) and acquisition.defocus_angstrom:
        transfer = ProbeTransfer(Aberrations(acquisition.defocus_angstrom), made_with.energy_kev)
    level = acquisition.contamination * brightest_contrast(nominal)
    source, atom_a2 = acquisition.source_sigma_angstrom, scattered_by_atom_a2(made_with)

    def renderer(raster: Raster) -> NDArray[np.float32]:
        origin = (raster.origin_angstrom[0] + shift[0], raster.origin_angstrom[1] + shift[1])
        moved = Raster(raster.shape, raster.step_angstrom, origin)
        image = render(sample.crystal, kernels, moved, source_sigma_angstrom=source, transfer=transfer)
        if level == 0:
            return image
        carbon = with_grain(level * sample.relief.sample(moved), sample.grain.sample(moved), atom_a2)
        return np.asarray(image + carbon, np.float32)

    return renderer


def draw_series(pair: tuple[Specimen, float, float], ranges: Ranges, seed: list[int]) -> list[SeriesFrame]:
    """Make a series: four scans at one energy, the last at three times the dose, and one at another.

    Parameters
    ----------
    pair : tuple
        Specimen, the energy of the four and that of the last scan [keV].
    ranges : Ranges
        The dose of the other scans is drawn from `log10_dose`.
    seed : list of int
        The same seed gives the same series.
    """
    specimen, *energies = pair
    rng = np.random.default_rng(seed)
    first = Context(specimen=specimen, energy_kev=energies[0], detector=HAADF)
    acquisition = draw_acquisition(first, ranges, rng)
    if acquisition.contamination:  # over the brighter column, as `Ranges` has it
        acquisition = acquisition.rebuilt(contamination=min(1.0, rng.uniform(*ranges.contamination)))
    sample = draw_specimen(first, acquisition, ranges, rng)
    frames: list[SeriesFrame] = []
    for energy_kev, scans in ((energies[0], (1.0, 1.0, 1.0, 3.0)), (energies[1], (1.0,))):
        context = Context(specimen=specimen, energy_kev=energy_kev, detector=HAADF)
        focused = acquisition.rebuilt(defocus_angstrom=rng.normal(0, ranges.defocus_angstrom))
        made_with = {
            name: draw_true_context(context.rebuilt(detector=d), ranges, rng) for name, d in DETECTORS.items()
        }
        for factor in scans:
            dose = factor * float(acquisition.dose_e_per_a2 or 0.0)
            number = len({frame.scan for frame in frames})
            shift = rng.uniform(-_SHIFT, _SHIFT, 2) * sample.size_angstrom
            frames += take_scan(
                sample, context, made_with, focused.rebuilt(dose_e_per_a2=dose), number, shift, rng
            )
    return frames
