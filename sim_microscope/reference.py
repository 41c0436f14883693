"""Full multislice of whole crystals: the reference that the kernels are checked against."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import CONVERGENCE_MRAD
from sim_microscope.crystal import STATES, Crystal
from sim_microscope.multislice import Multislice, Plane, WaveGrid, plane_transmission


@dataclass(frozen=True)
class ScanJob:
    """Probe positions over a periodic crystal at one energy.

    Parameters
    ----------
    crystal : Crystal
        Columns of one period.
    period_angstrom : tuple of float
        Period along (row, column) [Å].
    energy_kev : float
        Beam energy [keV].
    positions : ndarray of shape (n, 2)
        Probes (row, column) [Å].
    edges_mrad : ndarray of shape (rings + 1,)
        Edges of the detector rings [mrad].
    repeats : tuple of int
        Periods in the cell of the waves; two of some 17 Å leave 0.02 % of the image to the cell.
    aberration : callable, optional
        Phase [rad] of the aperture function at frequencies (row, column) [1/Å].
    displacements : ndarray of shape (atoms, 2), optional
        Displacement of every atom [Å], in the order of `crystal_planes`.
    max_angle_mrad : float
        Angle that the grid carries [mrad].
    device : {"cpu", "gpu"}
        Where abTEM works.
    """

    crystal: Crystal
    period_angstrom: tuple[float, float]
    energy_kev: float
    positions: NDArray[np.float64]
    edges_mrad: NDArray[np.float64]
    repeats: tuple[int, int] = (2, 2)
    defocus_angstrom: float = 0.0
    max_angle_mrad: float = 281.0
    device: str = "cpu"


def crystal_planes(crystal: Crystal, period_angstrom: tuple[float, float], repeats: tuple[int, int]) -> list[Plane]:
    """Planes of atoms of a periodic crystal, repeated, in the order in which the beam meets them."""
    atoms: dict[float, list[tuple[str, NDArray[np.float64]]]] = {}
    for state, position in zip(crystal.states, crystal.positions, strict=True):
        for symbol, height in crystal.atoms_of(STATES[state]):
            for i in range(repeats[0]):
                for j in range(repeats[1]):
                    moved = position + np.array([i, j]) * np.array(period_angstrom)
                    atoms.setdefault(height, []).append((symbol, moved))
    return [
        Plane(tuple(symbol for symbol, _ in layer), np.array([position for _, position in layer]), height)
        for height, layer in sorted(atoms.items())
    ]
