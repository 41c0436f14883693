"""How the kernels depend on the numerics that they were made with: the study behind `column_build.Settings`.

`sim_microscope.convergence_peers` compares them with other ways to the same numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from drivers.contract.context import CONVERGENCE_MRAD, DETECTORS, Detector
from sim_microscope.column_build import Settings, column_planes, displacement_quadrature
from sim_microscope.kernels import EDGES_MRAD
from sim_microscope.multislice import Multislice
from sim_microscope.scattering import rms_displacement_angstrom
from sim_microscope.wave_grid import Plane, WaveGrid

#: Beam energy of the study [keV], and distances between probe and column [Å].
ENERGY_KEV = 80
RADII = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0])


@dataclass(frozen=True)
class Row:
    """One setting against the best of its kind.

    Parameters
    ----------
    study, column, setting : str
        What was varied, on which column, and to what.
    detector : str
        Detector.
    peak : float
        Kernel on the column, as a fraction of the incident intensity.
    deviation : float
        Largest deviation from the reference over `RADII`, as a fraction of its peak.
    chosen : bool
        Whether the shipped table uses this setting.
    """

    study: str
    column: str
    setting: str
    detector: str
    peak: float
    deviation: float
    chosen: bool


def ring_sum(rings: NDArray[np.float64], detector: Detector) -> NDArray[np.float64]:
    """Ring intensities summed over a detector whose angles are ring edges."""
    inside = (EDGES_MRAD[:-1] >= detector.inner_mrad) & (EDGES_MRAD[1:] <= detector.outer_mrad)
    return np.asarray(rings[:, inside].sum(axis=1))


def engine_for(settings: Settings) -> tuple[Multislice, NDArray[np.float64], NDArray[np.float64]]:
    """Multislice of a cell, the cell's centre, and the probe positions around it."""
    cell = settings.cell_angstrom
    grid = WaveGrid.for_angle((cell, cell), ENERGY_KEV, settings.max_angle_mrad)
    center = np.full(2, cell / 2)
    positions = center + np.stack([np.zeros_like(RADII), RADII], axis=1)
    return Multislice(grid, CONVERGENCE_MRAD, EDGES_MRAD), center, positions


def kernel(species: str, settings: Settings, *, thermal: bool, scale: float = 1.0) -> NDArray[np.float64]:
    """Kernel of a column with given settings, its displacements scaled, of shape (radii, rings)."""
    engine, center, positions = engine_for(settings)
    planes = column_planes(species, center, np.zeros(2))
    if not thermal or len(planes) == 1:
        return engine.contrast(planes, positions)
    sigma = np.sqrt(2.0) * rms_displacement_angstrom(planes[0].symbols[0]) * scale
    total = np.zeros((RADII.size, EDGES_MRAD.size - 1))
    for weight, vector in displacement_quadrature(float(sigma), settings):
        total += weight * engine.contrast(column_planes(species, center, vector), positions)
    return total


def rows_of(study: str, column: str, results: list[tuple[str, NDArray[np.float64], bool]]) -> Iterator[Row]:
    """Rows of a study whose last result is the reference."""
    for detector in DETECTORS.values():
        reference = ring_sum(results[-1][1], detector)
        for setting, rings, chosen in results:
            values = ring_sum(rings, detector)
            deviation = float(np.abs(values - reference).max() / reference[0])
            yield Row(study, column, setting, detector.name, float(values[0]), deviation, chosen)


def study_cell() -> Iterator[Row]:
    """Edge of the cell around a column."""
    sizes = (16.0, 24.0, 32.0, 48.0)
    results = [
        (f"{size:g} Å", kernel("W", replace(Settings(), cell_angstrom=size), thermal=False), size == 32.0)
        for size in sizes
    ]
    yield from rows_of("cell", "W", results)


def study_sampling() -> Iterator[Row]:
    """Largest angle that the grid carries, and with it the sampling."""
    for species in ("W", "WSe2:X2"):
        angles = (280.5, 400.0, 560.0)
        results = [
            (
                f"{angle:g} mrad",
                kernel(species, replace(Settings(), max_angle_mrad=angle), thermal=False),
                angle == 400.0,
            )
            for angle in angles
        ]
        yield from rows_of("sampling", species, results)


def study_quadrature() -> Iterator[Row]:
    """Nodes of the average over the relative displacement of the two atoms of a column."""
    nodes = ((1, 4), (2, 4), (3, 4), (4, 4), (6, 12))
    results = [
        (
            f"{radial} x {angular}",
            kernel("WSe2:X2", replace(Settings(), radial_nodes=radial, angular_nodes=angular), thermal=True),
            (radial, angular) == (4, 4),
        )
        for radial, angular in nodes
    ]
    yield from rows_of("thermal quadrature", "WSe2:X2", results)


def study_spacing() -> Iterator[Row]:
    """Distance of the two chalcogens along the beam, as slicing would round it."""
    engine, center, positions = engine_for(Settings())
    results = []
    for spacing in (2.0, 3.0, 3.5, 3.32):
        planes = [Plane(("Se",), center[None], sign * spacing / 2) for sign in (-1.0, 1.0)]
        results.append((f"{spacing:g} Å", engine.contrast(planes, positions), spacing == 3.32))
    yield from rows_of("X-X distance kept by the slices", "WSe2:X2", results)


def study_rings() -> Iterator[Row]:
    """Annuli between the table's edges, by interpolation, against rings cut there."""
    engine, center, positions = engine_for(Settings())
    planes = column_planes("W", center, np.zeros(2))
    table = engine.contrast(planes, positions)
    cumulative = np.concatenate([np.zeros((RADII.size, 1)), np.cumsum(table, axis=1)], axis=1)
    at_edges = PchipInterpolator(EDGES_MRAD, cumulative, axis=1)
    for inner, outer in (
        (21.0, 120.0),
        (29.5, 120.0),
        (31.5, 120.0),
        (33.4, 95.0),
        (52.0, 210.0),
        (78.0, 240.0),
    ):
        exact_engine = Multislice(engine.grid, CONVERGENCE_MRAD, np.array([0.0, inner, outer]))
        exact = exact_engine.contrast(planes, positions)[:, 1]
        values = at_edges(outer) - at_edges(inner)
        deviation = float(np.abs(values - exact).max() / exact[0])
        yield Row(
            "angular rings", "W", "interpolated", f"{inner:g}-{outer:g}", float(values[0]), deviation, True
        )


def study_displacements() -> Iterator[Row]:
    """Displacements 15 % smaller and larger: what their uncertainty is worth."""
    results = [
        (f"{scale:g} u", kernel("WSe2:X2", Settings(), thermal=True, scale=scale), scale == 1.0)
        for scale in (0.85, 1.15, 1.0)
    ]
    yield from rows_of("rms displacement", "WSe2:X2", results)


def as_markdown(rows: list[Row]) -> str:
    """Rows as one Markdown table a study."""
    lines: list[str] = []
    for study in dict.fromkeys(row.study for row in rows):
        lines += [f"\n### {study[0].upper() + study[1:]}\n"]
        figures = "rms of the term / contrast | rms left / contrast" if study == "neighbours" else ""
        lines += [
            f"| column | setting | detector | {figures or 'on the column | largest deviation / peak'} | |"
        ]
        lines += ["| --- | --- | --- | --- | --- | --- |"]
        lines += [
            f"| {row.column} | {row.setting} | {row.detector} | {row.peak:.5f} | {row.deviation:.3%} | "
            f"{'chosen' if row.chosen else ''} |"
            for row in rows
            if row.study == study
        ]
    return "\n".join(lines) + "\n"
