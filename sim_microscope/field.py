"""Images of whole fields: columns by convolution, neighbours by adding their pair terms.

The image is I(r) = vacuum + Σ kernel(r - column) + Σ pair term.  Columns are spread onto a grid with a
Kaiser-Bessel window, so that the sum is right between pixels too, and multiplied by the kernels'
spectra, which end at 2α/λ; pair terms are added in real space along each pair's own direction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from drivers.contract.context import Context
from drivers.contract.errors import InputError
from sim_microscope.crystal import STATES, Crystal
from sim_microscope.kernels import ColumnKernel, KernelTable, column_kernel, vacuum_intensity
from sim_microscope.memory import require_memory
from sim_microscope.pairs import (
    TERM_STEP_ANGSTROM,
    PairTable,
    Shell,
    pair_kinds,
    shell_distance_angstrom,
)
from sim_microscope.splat import WINDOW, add_pairs, spread, window_spectrum

#: Beyond the field, columns within this distance still count [Å].
REACH_ANGSTROM = 12.0

#: Memory that a render takes for each pixel of its internal grid [bytes].
_BYTES_PER_PIXEL = 80


@dataclass(frozen=True, eq=False)
class FieldKernels:
    """Everything that a context's images are made of.

    Parameters
    ----------
    context : Context
        Specimen, energy, detector and convergence.
    columns : dict of int to ColumnKernel
        Kernel of every state, by its index in `STATES`; an empty column has none.
    terms : ndarray of shape (kinds, across, along), float32
        Pair terms, on a grid of `TERM_STEP_ANGSTROM`.
    kinds : ndarray of shape (shells, states, states), int
        Index into `terms`, or -1 where a pair adds nothing.
    shells_angstrom : tuple of float
        Distances of the shells [Å].
    tables : str
        Digests of the tables that they come from.
    """

    context: Context
    columns: dict[int, ColumnKernel]
    terms: NDArray[np.float32]
    kinds: NDArray[np.int64]
    shells_angstrom: tuple[float, ...]
    tables: str


def field_kernels(
    context: Context, table: KernelTable, pairs: PairTable | None, *, thermal: bool = True
) -> FieldKernels:
    """Gather a context's kernels.

    Parameters
    ----------
    context : Context
        Specimen, energy, detector.
    table : KernelTable
        Column kernels.
    pairs : PairTable or None
        Pair terms, at rest or moving as the table was made; None leaves the sum of the columns.
    thermal : bool
        Whether the atoms of the columns move as at 300 K.

    Returns
    -------
    FieldKernels

    Raises
    ------
    MissingKernelError
        If the tables lack a species, the energy or the annulus.
    InputError
        If the convergence is not the table's.
    """
    if context.convergence_mrad != table.card["convergence_mrad"]:
        raise InputError(
            f"convergence {context.convergence_mrad:g} mrad: the kernels were made for "
            f"{table.card['convergence_mrad']:g} mrad; use --method multislice for another"
        )
    crystal = Crystal(context.specimen, np.zeros((0, 2)), np.zeros(0, np.uint8), np.zeros(0, np.uint8))
    columns = {}
    for index, state in enumerate(STATES):
        species = crystal.species(state)
        if species is None:
            continue
        table.index(species, context.energy_kev)
        beyond = 0.0
        if pairs is not None:
            content = species.split(":")[-1]
            beyond = pairs.remainder(crystal.host.name, content, context.energy_kev, context.detector)
        columns[index] = column_kernel(
            table, species, context.energy_kev, context.detector, thermal=thermal, beyond=beyond
        )
    terms, kinds = _pair_terms(context, crystal, pairs)
    distances = tuple(shell_distance_angstrom(crystal.host, shell) for shell in Shell)
    tables = " ".join(str(t.card.get("digest", "?")) for t in (table, pairs) if t is not None)
    return FieldKernels(context, columns, terms, kinds, distances, tables)


def _pair_terms(
    context: Context, crystal: Crystal, pairs: PairTable | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pair terms of a context, and which of them two columns' states select."""
    indices = np.full((len(Shell), len(STATES), len(STATES)), -1, np.int64)
    if pairs is None:
        return np.zeros((0, 1, 1), np.float32), indices
    dopants = () if context.specimen.dopant is None else (context.specimen.dopant,)
    index_of = {crystal.host.metal: STATES.index("metal")}
    index_of |= {dopant: STATES.index("dopant") for dopant in dopants}
    index_of |= {state: STATES.index(state) for state in ("X2", "X1top", "X1bottom")}
    kinds = pair_kinds(crystal.host, dopants)
    for index, (shell, first, second) in enumerate(kinds):
        indices[shell, index_of[first], index_of[second]] = index
    return pairs.terms(crystal.host.name, kinds, context.energy_kev, context.detector), indices


@dataclass(frozen=True)
class Raster:
    """The regular grid of points at which an image is wanted.

    Parameters
    ----------
    shape : tuple of int
        Points along (row, column).
    step_angstrom : float
        Distance between neighbouring points [Å].
    origin_angstrom : tuple of float
        Position of the first point along (row, column) [Å].
    """

    shape: tuple[int, int]
    step_angstrom: float
    origin_angstrom: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Plan:
    """The internal grid of a render, and what its spectrum is multiplied with.

    Parameters
    ----------
    subdivision : int
        Internal points in a step of the raster.
    step : float
        Distance between internal points [Å].
    used : tuple of int
        Internal points of the raster itself.
    reach : int
        Points around it for columns beyond.
    shape : tuple of int
        Whole internal grid.
    spectra : dict of int to ndarray
        Factor of every state's spread columns, on the `rfft2` grid.
    blur : ndarray
        Factor of the pair terms.
    """

    subdivision: int
    step: float
    used: tuple[int, int]
    reach: int
    shape: tuple[int, int]
    spectra: dict[int, NDArray[np.float32]]
    blur: NDArray[np.float32]


#: Transfer function of the probe's aberrations: frequencies along rows and columns [1/Å] to a factor.
Transfer = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


# Two detectors on a whole field and on a window or two, and one that is out of focus.
@lru_cache(maxsize=6)
def make_plan(
    kernels: FieldKernels, raster: Raster, source_sigma_angstrom: float, transfer: Transfer | None
) -> Plan:
    """Choose the internal grid and evaluate the spectra on it."""
    cutoff = next(iter(kernels.columns.values())).cutoff
    # Where a Gaussian source has damped the spectrum to 0.5 % there is next to nothing left to alias: at the
    # coarsest step that this allows, images differ by 0.03 % (HAADF) to 0.14 % (MAADF) rms of their spread.
    carried = cutoff
    if source_sigma_angstrom > 0:
        carried = min(cutoff, 0.52 / source_sigma_angstrom)
    subdivision = max(1, int(np.ceil(2 * carried * raster.step_angstrom * 0.999)))
    step = raster.step_angstrom / subdivision
    used = (raster.shape[0] * subdivision, raster.shape[1] * subdivision)
    reach = int(np.ceil(REACH_ANGSTROM / step)) + WINDOW
    shape = (next_fast_len(used[0] + 2 * reach), next_fast_len(used[1] + 2 * reach, real=True))
    require_memory(shape[0] * shape[1] * _BYTES_PER_PIXEL, f"a field of {shape[0]} x {shape[1]} pixels")
    rows = np.asarray(np.fft.fftfreq(shape[0]) / step, np.float64)
    columns = np.asarray(np.fft.rfftfreq(shape[1]) / step, np.float64)
    frequency = np.hypot(rows[:, None], columns)
    blur = np.exp(-2.0 * (np.pi * source_sigma_angstrom * frequency) ** 2) * (frequency <= cutoff)
    if transfer is not None:
        blur = blur * transfer(rows, columns)
    per_pixel = blur / (
        window_spectrum(shape[0], shape[0])[:, None] * window_spectrum(shape[1], columns.size)
    )
    spectra = {
        state: (kernel.spectrum(frequency) * per_pixel / step**2).astype(np.float32)
        for state, kernel in kernels.columns.items()
    }
    return Plan(subdivision, step, used, reach, shape, spectra, blur.astype(np.float32))


def place(crystal: Crystal, raster: Raster, plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Columns within reach of a raster: positions on the internal grid [pixels], and states."""
    points = (crystal.positions - np.asarray(raster.origin_angstrom)) / plan.step + plan.reach
    limit = np.array(plan.used) + 2 * plan.reach - WINDOW
    inside = np.all((points >= WINDOW) & (points <= limit), axis=1)
    return points[inside], crystal.states[inside]


def render(
    crystal: Crystal,
    kernels: FieldKernels,
    raster: Raster,
    *,
    source_sigma_angstrom: float = 0.0,
    transfer: Transfer | None = None,
) -> NDArray[np.float32]:
    """Image of a crystal without noise, as a fraction of the incident intensity.

    Parameters
    ----------
    crystal : Crystal
        Columns; those up to `REACH_ANGSTROM` beyond the raster count.
    kernels : FieldKernels
        Of the crystal's specimen.
    raster : Raster
        Where to evaluate; a step too coarse for the image's spatial frequencies is subdivided.
    source_sigma_angstrom : float
        Standard deviation of the Gaussian source [Å].
    transfer : callable, optional
        Damping of spatial frequencies by the probe's aberrations, see `sim_microscope.aberrations`.

    Returns
    -------
    ndarray of shape `raster.shape`, float32

    Raises
    ------
    InputError
        If the internal grid would not fit into memory.
    """
    plan = make_plan(kernels, raster, float(source_sigma_angstrom), transfer)
    points, states = place(crystal, raster, plan)
    spectrum = np.zeros(plan.blur.shape, np.complex64)
    if len(kernels.terms):
        image = add_pairs(
            plan.shape,
            points,
            states,
            kernels.terms,
            kernels.kinds,
            kernels.shells_angstrom,
            step_angstrom=plan.step,
            term_step_angstrom=TERM_STEP_ANGSTROM,
        )
        spectrum += rfft2(image, workers=-1) * plan.blur
    for state, column_spectrum in plan.spectra.items():
        chosen = points[states == state]
        if len(chosen):
            spectrum += rfft2(spread(chosen, plan.shape), workers=-1) * column_spectrum
    image = irfft2(spectrum, s=plan.shape, workers=-1)
    corner = image[plan.reach : plan.reach + plan.used[0], plan.reach : plan.reach + plan.used[1]]
    vacuum = vacuum_intensity(kernels.context.detector, kernels.context.convergence_mrad)
    return np.ascontiguousarray(corner[:: plan.subdivision, :: plan.subdivision]) + np.float32(vacuum)
