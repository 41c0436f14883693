"""The proof of the thermal average: kernels of lone columns against frozen phonons."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc

from drivers.contract.context import CONVERGENCE_MRAD, DETECTORS
from sim_microscope.column_build import Settings, column_planes
from sim_microscope.kernels import KernelTable, column_kernel
from sim_microscope.multislice import Multislice
from sim_microscope.scattering import rms_displacement_angstrom
from sim_microscope.wave_grid import WaveGrid
from sim_microscope.workers import worker_pool

#: Columns whose thermal average is checked: species, energy.
THERMAL_COLUMNS = (
    ("W", 80),
    ("Ti", 100),
    ("WSe2:X2", 80),
    ("MoS2:X2", 60),
    ("WTe2:X2", 100),
    ("TiS2:X2", 80),
)

#: Distances between probe and column at which it is checked [Å].
_THERMAL_RADII = np.array([0.0, 0.3, 0.6, 1.0, 1.5])


def frozen_phonons(species: str, energy_kev: int, configurations: int, seed: int) -> NDArray[np.float64]:
    """Mean of frozen-phonon configurations of a lone column.

    Displacements are a scrambled Sobol sequence mapped to Gaussians, drawn independently for every atom,
    which knows nothing of the kernels' quadrature.

    Returns
    -------
    ndarray of shape (detectors, radii)
        Intensity less that in vacuum, detectors in the order of `DETECTORS`.
    """
    edges = sorted({angle for d in DETECTORS.values() for angle in (d.inner_mrad, d.outer_mrad)})
    cell = Settings().cell_angstrom
    grid = WaveGrid.for_angle((cell, cell), energy_kev, Settings().max_angle_mrad)
    engine = Multislice(grid, CONVERGENCE_MRAD, np.array(edges))
    center = np.full(2, cell / 2)
    positions = center + np.stack([np.zeros_like(_THERMAL_RADII), _THERMAL_RADII], axis=1)
    planes = column_planes(species, center, np.zeros(2))
    sequence = qmc.Sobol(2 * len(planes), seed=seed).random(configurations)
    total = np.zeros((len(positions), len(edges) - 1))
    for draw in norm.ppf(np.clip(sequence, 1e-9, 1 - 1e-9)).reshape(configurations, len(planes), 2):
        moved = [
            replace(plane, positions=plane.positions + shift * rms_displacement_angstrom(plane.symbols[0]))
            for plane, shift in zip(planes, draw, strict=True)
        ]
        total += engine.contrast(moved, positions)
    mean = total / configurations
    spans = [(edges.index(d.inner_mrad), edges.index(d.outer_mrad)) for d in DETECTORS.values()]
    return np.array([mean[:, first:last].sum(axis=1) for first, last in spans])


def compare_thermal(
    table: KernelTable,
    *,
    configurations: int,
    repeats: int,
    workers: int,
    columns: tuple[tuple[str, int], ...] = THERMAL_COLUMNS,
    on_done: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Thermally averaged kernels against frozen phonons, relative to each kernel's peak.

    Returns
    -------
    list of dict
        For every column and detector the largest difference over the distances, and the standard error
        of the frozen-phonon mean, from independent repeats.
    """
    with worker_pool(workers) as pool:
        futures = {
            (species, energy): [
                pool.submit(frozen_phonons, species, energy, configurations, seed) for seed in range(repeats)
            ]
            for species, energy in columns
        }
        results = {}
        for key, runs in futures.items():
            results[key] = np.array([run.result() for run in runs])
            on_done()
    figures = []
    for (species, energy), runs_array in results.items():
        for index, detector in enumerate(DETECTORS.values()):
            kernel = column_kernel(table, species, energy, detector).at(_THERMAL_RADII)
            samples = runs_array[:, index]
            error = samples.std(axis=0, ddof=1) / np.sqrt(repeats)
            difference = np.abs(kernel - samples.mean(axis=0)) / samples.mean(axis=0)[0]
            figures.append(
                {
                    "column": species,
                    "energy_kev": energy,
                    "detector": detector.name,
                    "difference_relative_to_peak": float(difference.max()),
                    "standard_error_relative_to_peak": float(error.max() / samples.mean(axis=0)[0]),
                    "configurations": configurations * repeats,
                }
            )
    return figures
