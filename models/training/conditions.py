"""What varies between the simulated frames that models learn from, and how far."""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import Context, Detector
from drivers.contract.materials import find_host
from models.contrasts import brightest_contrast
from sim_microscope.aberrations import is_incoherent
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.field import FieldKernels
from sim_microscope.imaging import Acquisition
from sim_microscope.kernels import INNERMOST_MRAD, OUTERMOST_MRAD
from sim_microscope.simulate import Frame, SpecimenPlan, load_kernels, simulate_frame

Range = tuple[float, float]

#: Frames of a context in a row that are made with one annulus.
FRAMES_AN_ANNULUS = 4


@dataclass(frozen=True)
class Ranges:
    """Ranges that frames are drawn from, uniformly, where not said otherwise.

    The rotation of the lattice and its offset against the scan are drawn over everything.

    Parameters
    ----------
    pixels : int
        Edge of a frame.
    lattice_px : tuple of float
        Pixels a lattice constant, drawn uniformly in the logarithm.
    source_sigma_angstrom : tuple of float
        Standard deviation of the source.
    log10_dose : tuple of float
        Decimal logarithm of the electrons a square ångström.
    annulus : float
        Standard deviation of the relative error of the detector's angles (of the camera length): the frame is
        made with the wrong ones, the context names the nominal.
    defocus_angstrom : float
        Standard deviation of the residual defocus.
    row_jitter_px : tuple of float
        Standard deviation of the shift of rows.
    distortion : float
        Largest component of the scan's displacement gradient, either sign.
    drift_angstrom_per_s : float
        Largest drift along each axis, either sign.
    contamination : tuple of float
        Largest contamination over the contrast of the brighter column ...
    contaminated : float
        ... in this part of the frames.
    ramp : float
        Change of a linear background over the frame along each axis, over the same contrast, either sign.
    dilute : float
        Part of the frames whose defects are about as rare as in real specimens; the others are dense.
    vacancy1, vacancy2, dopant : tuple of float
        Fractions of a sublattice in dilute frames, drawn uniformly in the logarithm.
    dense_vacancy1, dense_vacancy2, dense_dopant : tuple of float
        Fractions in dense frames, which hold all motifs.
    """

    pixels: int = 512
    lattice_px: Range = (8.0, 16.0)
    source_sigma_angstrom: Range = (0.35, 0.75)
    log10_dose: Range = (3.5, 5.5)
    annulus: float = 0.02
    defocus_angstrom: float = 15.0
    row_jitter_px: Range = (0.0, 0.25)
    distortion: float = 0.05
    drift_angstrom_per_s: float = 2.0
    contamination: Range = (0.0, 0.8)
    contaminated: float = 0.25
    ramp: float = 0.5
    dilute: float = 0.4
    vacancy1: Range = (0.01, 0.10)
    vacancy2: Range = (0.005, 0.05)
    dopant: Range = (0.005, 0.10)
    dense_vacancy1: Range = (0.05, 0.25)
    dense_vacancy2: Range = (0.05, 0.20)
    dense_dopant: Range = (0.05, 0.30)

    def as_card(self) -> dict[str, Any]:
        """Ranges as plain data for a JSON card (tuples become lists there)."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def draw_acquisition(context: Context, ranges: Ranges, rng: np.random.Generator) -> Acquisition:
    """Draw how a frame of a context is taken."""
    a_angstrom = find_host(context.specimen.host).lattice_constant_angstrom
    pixel_angstrom = a_angstrom / log_uniform(ranges.lattice_px, rng)
    distortion = rng.uniform(-ranges.distortion, ranges.distortion, (2, 2)).tolist()
    drift = rng.uniform(-ranges.drift_angstrom_per_s, ranges.drift_angstrom_per_s, 2).tolist()
    contamination = rng.uniform(*ranges.contamination) * brightest_contrast(context)
    return Acquisition(
        pixels=ranges.pixels,
        fov_nm=ranges.pixels * pixel_angstrom / 10,
        dose_e_per_a2=float(10 ** rng.uniform(*ranges.log10_dose)),
        source_sigma_angstrom=rng.uniform(*ranges.source_sigma_angstrom),
        defocus_angstrom=rng.normal(0, ranges.defocus_angstrom),
        drift_row_angstrom_per_s=drift[0],
        drift_column_angstrom_per_s=drift[1],
        row_jitter_px=rng.uniform(*ranges.row_jitter_px),
        distortion=(tuple(distortion[0]), tuple(distortion[1])),
        contamination=contamination if rng.random() < ranges.contaminated else 0.0,
    )


def draw_true_context(context: Context, ranges: Ranges, rng: np.random.Generator) -> Context:
    """The context with the annulus that a frame is really made with, kept within the kernels' angles."""
    factor = float(np.exp(rng.normal(0, ranges.annulus)))
    nominal = context.detector
    detector = Detector(
        name=nominal.name,
        inner_mrad=max(INNERMOST_MRAD, nominal.inner_mrad * factor),
        outer_mrad=min(OUTERMOST_MRAD, nominal.outer_mrad * factor),
    )
    return Context(
        specimen=context.specimen,
        energy_kev=context.energy_kev,
        detector=detector,
        convergence_mrad=context.convergence_mrad,
    )


def draw_plan(ranges: Ranges, rng: np.random.Generator) -> SpecimenPlan:
    """Draw the defects of a frame."""
    if rng.random() < ranges.dilute:
        rare = (ranges.vacancy1, ranges.vacancy2, ranges.dopant)
        fractions = [log_uniform(fraction, rng) for fraction in rare]
    else:
        dense = (ranges.dense_vacancy1, ranges.dense_vacancy2, ranges.dense_dopant)
        fractions = [float(rng.uniform(*fraction)) for fraction in dense]
    return SpecimenPlan(concentrations=DefectConcentrations(*fractions))


def log_uniform(between: Range, rng: np.random.Generator) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(*np.log(between))))


@lru_cache(maxsize=2)
def _kernels(context: Context) -> FieldKernels:
    """Kernels of a context, kept for the frames that share it."""
    return load_kernels(context)


def draw_frame(context: Context, ranges: Ranges, seed: NDArray[np.uint32] | list[int]) -> Frame:
    """Make one frame of a context; the same seed gives the same frame.

    Frames whose seeds differ in the last number alone share, in groups of `FRAMES_AN_ANNULUS`, the error of
    the detector's angles: the kernels of an annulus cost more than a frame.  A frame's own
    context holds the annulus that it was really made with.  The image's counts include the linear
    background, which carries no noise of its own.

    Raises
    ------
    InputError
        If the defocus drawn is more than kernels carry.
    """
    rng = np.random.default_rng(seed)
    acquisition = draw_acquisition(context, ranges, rng)
    plan = draw_plan(ranges, rng)
    *which, index = (int(part) for part in seed)
    shared = np.random.default_rng([*which, index // FRAMES_AN_ANNULUS, 1])
    made_with = draw_true_context(context, ranges, shared)
    if not is_incoherent(made_with):
        # Kernels carry no defocus there; the draw was made all the same, so that seeds stay in step.
        acquisition = acquisition.rebuilt(defocus_angstrom=0.0)
    number = int(rng.integers(2**31))
    frame = simulate_frame(made_with, acquisition, plan, seed=number, kernels=_kernels(made_with))
    slope = rng.uniform(-ranges.ramp, ranges.ramp, 2) * brightest_contrast(context)
    edge = np.linspace(-0.5, 0.5, ranges.pixels)
    ramp = (slope[0] * edge[:, None] + slope[1] * edge) * acquisition.electrons_per_pixel
    frame.image[...] += ramp.astype(np.float32)
    return frame
