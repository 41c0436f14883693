"""Make the kernel of one column: multislice of it alone, averaged over the relative motion of its atoms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import CONVERGENCE_MRAD
from sim_microscope.crystal import column_atoms
from sim_microscope.kernels import EDGES_MRAD, RADII_ANGSTROM
from sim_microscope.multislice import Multislice
from sim_microscope.scattering import rms_displacement_angstrom
from sim_microscope.wave_grid import Plane, WaveGrid


@dataclass(frozen=True)
class Settings:
    """Numerical settings of a kernel; the defaults are what `columnist kernels study` argues for.

    Parameters
    ----------
    cell_angstrom : float
        Edge of the square cell around the column [Å].
    max_angle_mrad : float
        Angle that the grid carries without aliasing [mrad].
    radial_nodes, angular_nodes : int
        Quadrature over the relative displacement of the two atoms of a column; `angular_nodes` is even.
    """

    cell_angstrom: float = 32.0
    max_angle_mrad: float = 400.0
    radial_nodes: int = 4
    angular_nodes: int = 4


def column_planes(
    species: str, center: NDArray[np.float64], displacement: NDArray[np.float64]
) -> list[Plane]:
    """Planes of a column whose two atoms, if it has two, are displaced by half a vector each [Å]."""
    atoms = column_atoms(species)
    signs = (1.0, -1.0) if len(atoms) == 2 else (0.0,)
    return [
        Plane((symbol,), (center + sign * displacement / 2)[None], height)
        for (symbol, height), sign in zip(atoms, signs, strict=True)
    ]


def displacement_quadrature(
    sigma_angstrom: float, settings: Settings
) -> list[tuple[float, NDArray[np.float64]]]:
    """Weights and vectors [Å] that average over an isotropic Gaussian displacement.

    Gauss-Laguerre in the squared length and equal angles; the mirror symmetry about the line of probe
    positions (along columns) leaves half the angles.
    """
    nodes, weights = np.polynomial.laguerre.laggauss(settings.radial_nodes)
    half = settings.angular_nodes // 2
    points = []
    for node, weight in zip(nodes, weights, strict=True):
        length = sigma_angstrom * np.sqrt(2 * node)
        for step in range(half):
            angle = (step + 0.5) * np.pi / half
            points.append((float(weight / half), length * np.array([np.sin(angle), np.cos(angle)])))
    return points


def compute_column(
    species: str, energy_kev: int, settings: Settings, device: str = "cpu"
) -> dict[str, NDArray[np.float32]]:
    """Kernels of one column: `static`, and `averaged` over the relative motion of its atoms.

    Returns
    -------
    dict of ndarray of shape (radii + 1, rings)
        Ring intensity less that in vacuum, for an incident intensity of 1; the last row is its integral
        over the plane [Å²].
    """
    cell = (settings.cell_angstrom, settings.cell_angstrom)
    grid = WaveGrid.for_angle(cell, energy_kev, settings.max_angle_mrad)
    engine = Multislice(grid, CONVERGENCE_MRAD, EDGES_MRAD, device=device)
    center = np.array(cell) / 2
    positions = center + np.stack([np.zeros_like(RADII_ANGSTROM), RADII_ANGSTROM], axis=1)

    atoms = column_atoms(species)
    points = [(0.0, np.zeros(2))]
    if len(atoms) == 2:
        points += displacement_quadrature(np.sqrt(2.0) * rms_displacement_angstrom(atoms[0][0]), settings)
    specimens = [column_planes(species, center, vector) for _, vector in points]
    integrals = np.array([engine.integral(planes) for planes in specimens])
    kernels = np.concatenate([engine.contrasts(specimens, positions), integrals[:, None]], axis=1)
    static, averaged = kernels[0], kernels[0]
    if len(atoms) == 2:
        averaged = np.tensordot([weight for weight, _ in points], kernels, axes=1)
    return {"static": static.astype(np.float32), "averaged": averaged.astype(np.float32)}
