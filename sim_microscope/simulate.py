"""Simulated frames: one call from a context and an acquisition to an image with its truth."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import Context
from drivers.contract.errors import InputError
from sim_microscope.aberrations import Aberrations, ProbeTransfer, is_incoherent
from sim_microscope.contamination import scattered_by_atom_a2
from sim_microscope.crystal import Crystal, Defect, DefectConcentrations, GrainBoundary, build_crystal
from sim_microscope.field import REACH_ANGSTROM, FieldKernels, Raster, field_kernels, render
from sim_microscope.imaging import Acquisition, ScanMap, expose
from sim_microscope.kernels import KernelTable, default_table, vacuum_intensity
from sim_microscope.memory import require_memory
from sim_microscope.pairs import PairTable, default_pairs
from sim_microscope.reference import Beam, scan_crystal


@dataclass(frozen=True)
class SpecimenPlan:
    """What the crystal in the field of view looks like.

    Parameters
    ----------
    rotation_deg : float or None
        Rotation of the lattice; None draws it.
    concentrations : DefectConcentrations
        Defects at random sites.
    defects : tuple of Defect
        Defects at given sites.
    strain : tuple of tuple of float, optional
        Displacement gradient, (row, column) by (row, column).
    boundary : GrainBoundary, optional
        A second grain.
    """

    rotation_deg: float | None = None
    concentrations: DefectConcentrations = field(default_factory=DefectConcentrations)
    defects: tuple[Defect, ...] = ()
    strain: tuple[tuple[float, float], tuple[float, float]] | None = None
    boundary: GrainBoundary | None = None


@dataclass(frozen=True)
class Frame:
    """An image with everything that is known about it.

    Parameters
    ----------
    image : ndarray of shape (pixels, pixels), float32
        Detector counts.
    context : Context
        Specimen, energy, detector.
    acquisition : Acquisition
        How it was taken.
    plan : SpecimenPlan
        What the crystal was asked to be.
    seed : int
        Seed of everything random; context, acquisition, plan, seed and method make the frame again.
    method : str
        "kernels" with the digests of its tables, thermally moving, or "multislice", at rest.
    crystal : Crystal
        The truth in the field of view, in specimen coordinates [Å].
    pixel_positions : ndarray of shape (n, 2)
        The truth's columns in pixel coordinates (row, column), after drift and distortion; the random
        row jitter is not in them.
    """

    image: NDArray[np.float32]
    context: Context
    acquisition: Acquisition
    plan: SpecimenPlan
    seed: int
    method: str
    crystal: Crystal
    pixel_positions: NDArray[np.float64]


def simulate_frame(
    context: Context,
    acquisition: Acquisition,
    plan: SpecimenPlan,
    *,
    seed: int,
    kernels: FieldKernels | None = None,
    device: str = "cpu",
) -> Frame:
    """Make a frame from column kernels.

    Parameters
    ----------
    context : Context
        Specimen, energy, detector.
    acquisition : Acquisition
        Scan, dose, optics, detector.
    plan : SpecimenPlan
        Crystal.
    seed : int
        Seed of everything random; the same seed gives the same frame to the bit.
    kernels : FieldKernels, optional
        Of the context, by default from the shipped tables.
    device : str
        "cpu" for NumPy, or a torch device such as "cuda".

    Returns
    -------
    Frame

    Raises
    ------
    InputError
        If the context lies outside the kernel table, the field outside the memory, or the crystal
        cannot be built.
    """
    if kernels is None:
        kernels = load_kernels(context)
    rng = np.random.default_rng(seed)
    require_memory(
        acquisition.pixels**2 * 80.0, f"a frame of {acquisition.pixels} x {acquisition.pixels} pixels"
    )
    crystal = _crystal_in_view(context, acquisition, plan, rng)
    transfer = _transfer(acquisition, context)
    source = acquisition.source_sigma_angstrom

    def renderer(raster: Raster) -> NDArray[np.float32]:
        if device != "cpu":
            return _render_on(device, crystal, kernels, raster, source, transfer)
        return render(crystal, kernels, raster, source_sigma_angstrom=source, transfer=transfer)

    image = expose(acquisition, renderer, rng, atom_a2=_carbon_atom_a2(acquisition, context))
    return _frame(image, context, acquisition, plan, seed, f"kernels {kernels.tables}", crystal)


def _render_on(
    device: str,
    crystal: Crystal,
    kernels: FieldKernels,
    raster: Raster,
    source_sigma_angstrom: float,
    transfer: ProbeTransfer | None,
) -> NDArray[np.float32]:
    """Image of a crystal, made on a torch device."""
    import torch

    from sim_microscope.field_torch import render_torch

    try:
        chosen = torch.device(device)
        image = render_torch(
            crystal, kernels, raster, chosen, source_sigma_angstrom=source_sigma_angstrom, transfer=transfer
        )
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot make the field ({error}); use the CPU") from error
    return np.asarray(image.cpu().numpy())


def simulate_multislice(
    context: Context,
    acquisition: Acquisition,
    plan: SpecimenPlan,
    *,
    seed: int,
    workers: int = os.cpu_count() or 1,
    device: str = "cpu",
    on_start: Callable[[int], None] = lambda probes: None,
    on_done: Callable[[int], None] = lambda probes: None,
) -> Frame:
    """Make the same frame by full multislice of the crystal at rest, a probe at every point.

    The columns do not move thermally, and any convergence, energy and aberration is possible.  Takes some
    0.15 s a point and core in HAADF, 0.07 s in MAADF.  Parameters as `simulate_frame`;
    `on_start` is told the number of points, `on_done` how many more are finished.
    """
    rng = np.random.default_rng(seed)
    crystal = _crystal_in_view(context, acquisition, plan, rng)
    aberrations = _aberrations(acquisition)
    edges = (context.detector.inner_mrad, context.detector.outer_mrad)
    beam = Beam(
        context.energy_kev,
        edges,
        context.convergence_mrad,
        aberrations,
        device=device,
    )

    def renderer(raster: Raster) -> NDArray[np.float32]:
        rows, columns = (np.arange(n) * raster.step_angstrom for n in raster.shape)
        points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        on_start(len(points))
        points = points + np.asarray(raster.origin_angstrom)
        contrast = scan_crystal(crystal, points, beam, workers=workers, on_done=on_done)
        image = contrast.reshape(raster.shape) + vacuum_intensity(context.detector, context.convergence_mrad)
        return blur_source(image, acquisition.source_sigma_angstrom / raster.step_angstrom).astype(np.float32)

    image = expose(acquisition, renderer, rng, atom_a2=_carbon_atom_a2(acquisition, context))
    return _frame(image, context, acquisition, plan, seed, "multislice", crystal)


def _carbon_atom_a2(acquisition: Acquisition, context: Context) -> float:
    """Cross section of an atom of the contamination [Å²], 0 where there is none."""
    return scattered_by_atom_a2(context) if acquisition.contamination > 0 else 0.0


def blur_source(image: NDArray[np.float64], sigma_px: float) -> NDArray[np.float64]:
    """Blur an image by a Gaussian source, mirrored at its edges."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image, sigma_px)) if sigma_px > 0 else image


def load_kernels(
    context: Context, table: KernelTable | None = None, pairs: PairTable | None = None
) -> FieldKernels:
    """Kernels of a context from tables, by default the shipped ones."""
    return field_kernels(context, table or default_table(), pairs or default_pairs())


def _crystal_in_view(
    context: Context, acquisition: Acquisition, plan: SpecimenPlan, rng: np.random.Generator
) -> Crystal:
    """Crystal that fills the scan, wherever drift and distortion take it, and what reaches into it."""
    low, high = ScanMap.of(acquisition).bounds(acquisition.pixels)
    size = acquisition.fov_nm * 10
    jitter = 6 * acquisition.row_jitter_px * acquisition.pixel_size_angstrom
    beyond = max(0.0, float(-low.min()), float(high.max() - size)) + jitter
    rotation = float(rng.uniform(0.0, 360.0)) if plan.rotation_deg is None else plan.rotation_deg
    return build_crystal(
        context.specimen,
        (size, size),
        rotation_deg=rotation,
        concentrations=plan.concentrations,
        defects=plan.defects,
        strain=None if plan.strain is None else np.array(plan.strain),
        boundary=plan.boundary,
        margin_angstrom=REACH_ANGSTROM + beyond,
        rng=rng,
    )


def _aberrations(acquisition: Acquisition) -> Aberrations:
    """Aberrations of an acquisition's probe."""
    return Aberrations(
        acquisition.defocus_angstrom,
        acquisition.astigmatism_angstrom,
        acquisition.astigmatism_deg,
        acquisition.spherical_um,
    )


def _transfer(acquisition: Acquisition, context: Context) -> ProbeTransfer | None:
    """Transfer ratio of an acquisition's aberrations, None for a perfect probe.

    Raises
    ------
    InputError
        If the annulus begins so near the direct beam that its image is not incoherent.
    """
    aberrations = _aberrations(acquisition)
    if aberrations == Aberrations():
        return None
    if not is_incoherent(context):
        raise InputError(
            f"aberrations on an annulus from {context.detector.inner_mrad:g} mrad: kernels carry them where "
            f"the image is incoherent, from {2 * context.convergence_mrad:g} mrad; use --method multislice"
        )
    return ProbeTransfer(aberrations, context.energy_kev)


def _frame(
    image: NDArray[np.float32],
    context: Context,
    acquisition: Acquisition,
    plan: SpecimenPlan,
    seed: int,
    method: str,
    crystal: Crystal,
) -> Frame:
    """Frame whose truth is what lies in the field of view."""
    pixels = ScanMap.of(acquisition).to_pixels(crystal.positions)
    inside = np.all((pixels >= -0.5) & (pixels < acquisition.pixels - 0.5), axis=1)
    if not inside.any():
        raise InputError(
            f"no column lies in the field of view of {acquisition.fov_nm:g} nm; take a larger one"
        )
    return Frame(image, context, acquisition, plan, seed, method, crystal.take(inside), pixels[inside])
