"""The table of column kernels: what one column adds to the image, by distance, angle and energy.

A monolayer's image is, to about a percent, the sum of its columns; a kernel is one such addend, the
intensity in every detector ring with the probe at a distance from the column, less that in vacuum.
Everything here is read from the shipped table and needs no abTEM; `sim_microscope.build` makes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.special import j0

from drivers.contract.context import CONVERGENCE_MRAD, Detector
from drivers.contract.errors import MissingKernelError
from sim_microscope.scattering import wavelength_angstrom
from sim_microscope.table_files import read_arrays, require_shapes, write_arrays

#: Where the shipped tables lie.
DATA_FOLDER = Path(__file__).parent / "data"

#: Distances between probe and column [Å]: dense where the probe is, out to where the kernel is a tail.
RADII_ANGSTROM = np.concatenate([np.arange(0, 2, 0.1), np.arange(2, 4, 0.2), np.arange(4, 8.01, 0.4)])

#: Edges of the rings in which scattering is kept [mrad]; fine at the rim of the 31 mrad direct beam.
EDGES_MRAD = np.array(
    [0, 20, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 38, 40, 43, 46, 50, 55, 60, 65, 68, 70, 75]
    + [80, 90, 100, 110, 120, 130, 140, 160, 180, 200, 225, 250, 280],
    dtype=np.float64,
)

#: Steps of a kernel's Fourier transform.
_FREQUENCIES = 1024

#: Step and length of a kernel's profile [Å].
PROFILE_STEP_ANGSTROM, PROFILE_REACH = 0.01, 16.0
PROFILE_POINTS = round(PROFILE_REACH / PROFILE_STEP_ANGSTROM) + 1

#: The annulus that kernels can be summed over [mrad]; below the inner edge rings are too coarse.
INNERMOST_MRAD, OUTERMOST_MRAD = 20.0, 280.0


@dataclass(frozen=True)
class KernelTable:
    """Column kernels and atomic amplitudes for a set of species and energies.

    Parameters
    ----------
    species : tuple of str
        Column species: ``"W"`` for a metal, ``"WSe2:X2"``, ``"WSe2:X1top"`` and ``"WSe2:X1bottom"``
        for the chalcogen columns of a host.
    energies_kev : tuple of int
        Beam energies.
    static : ndarray of shape (species, energies, radii + 1, rings)
        Kernels of columns at rest; the last radius stands for the integral over the plane [Å²].
    averaged : ndarray of shape (species, energies, radii + 1, rings)
        Kernels averaged over the relative displacement of a column's atoms (equal to `static` where
        there is one atom), not yet blurred by the motion of their centre.
    motion_angstrom : ndarray of shape (species,)
        Root-mean-square displacement per axis of the column's centre [Å].
    card : dict
        How the table was made.
    """

    species: tuple[str, ...]
    energies_kev: tuple[int, ...]
    static: NDArray[np.float32]
    averaged: NDArray[np.float32]
    motion_angstrom: NDArray[np.float64]
    card: dict[str, Any]

    def index(self, species: str, energy_kev: float) -> tuple[int, int]:
        """Position of a kernel in the table.

        Raises
        ------
        MissingKernelError
            If the species or the energy is not in the table.
        """
        if energy_kev not in self.energies_kev:
            possible = ", ".join(str(energy) for energy in self.energies_kev)
            remedy = (
                f"make a table with `columnist kernels build --energy-kev {energy_kev:.0f} --table FOLDER`, "
                "then give it with --table FOLDER"
                if float(energy_kev).is_integer()
                else "tables are made for a whole number of keV; use --method multislice for another"
            )
            raise MissingKernelError(
                f"no kernel at {energy_kev:g} keV; the table holds {possible} keV; {remedy}"
            )
        if species not in self.species:
            raise MissingKernelError(
                f"no kernel of column {species!r}; the table holds {', '.join(self.species)}; make a table "
                "of all hosts with `columnist kernels build --table FOLDER`"
            )
        return self.species.index(species), self.energies_kev.index(int(energy_kev))

    def radial(
        self, species: str, energy_kev: float, detector: Detector, *, thermal: bool = True
    ) -> NDArray[np.float64]:
        """Kernel on a detector at `RADII_ANGSTROM`, as a fraction of the incident intensity.

        The last element is the integral over the plane [Å²].  With `thermal`, the average over the
        relative motion of a column's atoms; the motion of their centre is left to `ColumnKernel`.

        Raises
        ------
        MissingKernelError
            If the species, the energy or the annulus is not in the table.
        """
        position = self.index(species, energy_kev)
        rings = (self.averaged if thermal else self.static)[position]
        return sum_rings(rings.T, EDGES_MRAD, detector)


def sum_rings(
    rings: NDArray[np.floating[Any]], edges_mrad: NDArray[np.float64], detector: Detector
) -> NDArray[np.float64]:
    """Rings, along the first axis, summed over a detector; interpolated where it cuts a ring.

    Beyond the last ring there is nothing.
    """
    check_annulus(detector)
    low, high = (min(angle, float(edges_mrad[-1])) for angle in (detector.inner_mrad, detector.outer_mrad))
    first, last = np.searchsorted(edges_mrad, (low, high))
    if edges_mrad[first] == low and edges_mrad[last] == high:
        return np.asarray(rings[first:last].sum(axis=0, dtype=np.float64))
    cumulative = np.concatenate([np.zeros_like(rings[:1]), np.cumsum(rings, axis=0, dtype=np.float64)])
    at_edges = PchipInterpolator(edges_mrad, cumulative, axis=0)
    return np.asarray(at_edges(high) - at_edges(low))


def check_annulus(detector: Detector) -> None:
    """Raise `MissingKernelError` unless the kernels reach the detector's angles."""
    if detector.inner_mrad < INNERMOST_MRAD or detector.outer_mrad > OUTERMOST_MRAD:
        raise MissingKernelError(
            f"the annulus {detector.inner_mrad:g}-{detector.outer_mrad:g} mrad lies outside the table's "
            f"{INNERMOST_MRAD:g}-{OUTERMOST_MRAD:g} mrad; choose angles within, or use --method multislice"
        )


def vacuum_intensity(detector: Detector, convergence_mrad: float = CONVERGENCE_MRAD) -> float:
    """Fraction of the direct beam that an annulus catches where there is no specimen."""
    inner = min(detector.inner_mrad, convergence_mrad)
    outer = min(detector.outer_mrad, convergence_mrad)
    return (outer**2 - inner**2) / convergence_mrad**2


@dataclass(frozen=True, eq=False)
class ColumnKernel:
    """One column on one detector, as a function of distance and of spatial frequency.

    Parameters
    ----------
    transform : ndarray of shape (`_FREQUENCIES`,)
        Fourier transform of the kernel [Å²] at equal steps from 0 to `cutoff`, its centre at rest.
    motion_angstrom : float
        Gaussian blur by the motion of the column's centre [Å]; 0 for a column at rest.
    cutoff : float
        Largest spatial frequency that an image of this probe can hold, 2α/λ [1/Å].
    """

    transform: NDArray[np.float64]
    motion_angstrom: float
    cutoff: float

    def spectrum(self, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fourier transform of the kernel [Å²] at spatial frequencies [1/Å], zero beyond `cutoff`."""
        position = frequency * ((_FREQUENCIES - 1) / self.cutoff)
        low = np.minimum(position.astype(np.int32), _FREQUENCIES - 2)
        table = np.append(self.blurred(), 0.0)
        values = table[low] + (position - low) * np.diff(table)[low]
        return np.asarray(np.where(frequency <= self.cutoff, values, 0.0))

    def at(self, radius_angstrom: NDArray[np.float64]) -> NDArray[np.float64]:
        """Kernel at distances from the column [Å], the thermal blur included; zero beyond `PROFILE_REACH`."""
        radii = np.arange(PROFILE_POINTS) * PROFILE_STEP_ANGSTROM
        return np.asarray(np.interp(radius_angstrom, radii, column_profiles([self])[0], right=0.0))

    def blurred(self) -> NDArray[np.float64]:
        """Transform with the motion of the centre."""
        frequency = np.linspace(0.0, self.cutoff, _FREQUENCIES)
        return np.asarray(self.transform * np.exp(-2.0 * (np.pi * self.motion_angstrom * frequency) ** 2))


def column_profiles(kernels: Sequence[ColumnKernel]) -> NDArray[np.float64]:
    """Kernels of one energy at steps of `PROFILE_STEP_ANGSTROM`, thermal blur included, (kernels, steps)."""
    return np.asarray(
        np.stack([kernel.blurred() for kernel in kernels]) @ _inverse_matrix(kernels[0].cutoff).T
    )


@cache
def _hankel_matrix(cutoff: float) -> NDArray[np.float64]:
    """Linear map from a kernel at `RADII_ANGSTROM`, and its integral, to its Fourier transform.

    Of shape (frequencies, radii + 1).  Splines between the radii; what the integral holds beyond them is
    a tail that falls as the probe's own.
    """
    frequency, edge = np.linspace(0.0, cutoff, _FREQUENCIES), RADII_ANGSTROM[-1]
    unit = CubicSpline(
        RADII_ANGSTROM,
        np.eye(RADII_ANGSTROM.size),
        bc_type=((1, np.zeros(RADII_ANGSTROM.size)), "not-a-knot"),
    )
    radii = np.linspace(0.0, edge, 1600)
    weights = np.full(radii.size, radii[1])
    weights[[0, -1]] /= 2
    body = (2 * np.pi * j0(2 * np.pi * frequency[:, None] * radii)) @ (
        unit(radii) * (radii * weights)[:, None]
    )
    tail = _tail_shape(frequency, edge)
    return np.concatenate([body - np.outer(tail, body[0]), tail[:, None]], axis=1)


@cache
def _inverse_matrix(cutoff: float) -> NDArray[np.float64]:
    """Linear map from a kernel's Fourier transform to its profile, (radii, frequencies)."""
    frequency = np.linspace(0.0, cutoff, _FREQUENCIES)
    weights = np.full(_FREQUENCIES, frequency[1])
    weights[-1] /= 2
    radii = np.arange(PROFILE_POINTS) * PROFILE_STEP_ANGSTROM
    return np.asarray(2 * np.pi * j0(2 * np.pi * radii[:, None] * frequency) * (frequency * weights))


def _tail_shape(frequency: NDArray[np.float64], edge_angstrom: float) -> NDArray[np.float64]:
    """Transform of a r^-3 tail beyond an edge, relative to its value at frequency 0."""
    log_r = np.linspace(np.log(edge_angstrom), np.log(edge_angstrom * 200.0), 8000)
    r = np.exp(log_r)
    low = frequency < 0.5
    shape = np.zeros_like(frequency)
    shape[low] = np.trapezoid(j0(2 * np.pi * frequency[low, None] * r) / r, log_r, axis=1) * edge_angstrom
    return shape


def column_kernel(
    table: KernelTable,
    species: str,
    energy_kev: float,
    detector: Detector,
    *,
    thermal: bool = True,
    beyond: float = 0.0,
) -> ColumnKernel:
    """Kernel of a column on a detector.

    Parameters
    ----------
    table : KernelTable
        Kernels.
    species : str
        A name of `KernelTable.species`.
    energy_kev : float
        Beam energy [keV].
    detector : Detector
        Annulus.
    thermal : bool
        Whether atoms move as at 300 K.
    beyond : float
        Integral to add to the kernel's tail, what pairs leave to it [Å²].

    Returns
    -------
    ColumnKernel

    Raises
    ------
    MissingKernelError
        If the species, the energy or the annulus is not in the table.
    """
    values = table.radial(species, energy_kev, detector, thermal=thermal)
    values[-1] += beyond
    position, _ = table.index(species, energy_kev)
    motion = float(table.motion_angstrom[position]) if thermal else 0.0
    cutoff = 2e-3 * CONVERGENCE_MRAD / wavelength_angstrom(energy_kev)
    return ColumnKernel(_hankel_matrix(cutoff) @ values, motion, cutoff)


def save_table(table: KernelTable, path: Path) -> None:
    """Write a table as `path` (npz) beside its card (`path` with the suffix .json)."""
    write_arrays(
        path,
        table.card,
        species=np.array(table.species),
        energies_kev=np.array(table.energies_kev),
        static=table.static,
        averaged=table.averaged,
        motion_angstrom=table.motion_angstrom,
    )


def load_table(path: Path) -> KernelTable:
    """Read a table that `save_table` wrote.

    Raises
    ------
    MissingKernelError
        If a file is absent or altered, or was made for other radii or rings.
    """
    names = ("species", "energies_kev", "static", "averaged", "motion_angstrom")
    card, arrays = read_arrays(path, names)
    expected = (
        len(arrays["species"]),
        len(arrays["energies_kev"]),
        RADII_ANGSTROM.size + 1,
        EDGES_MRAD.size - 1,
    )
    require_shapes(path, arrays, static=expected, averaged=expected)
    return KernelTable(
        species=tuple(str(name) for name in arrays["species"]),
        energies_kev=tuple(int(energy) for energy in arrays["energies_kev"]),
        static=arrays["static"],
        averaged=arrays["averaged"],
        motion_angstrom=arrays["motion_angstrom"],
        card=card,
    )


@cache
def default_table() -> KernelTable:
    """Return the table that ships with the package."""
    return load_table(DATA_FOLDER / "kernels.npz")
