"""How the kernels depend on the numerics that they were made with: the study behind `build.Settings`."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.special import j0

from drivers.contract.context import CONVERGENCE_MRAD, DETECTORS, Detector
from sim_microscope.build import Settings, column_planes, displacement_quadrature
from sim_microscope.interference import ACROSS_ANGSTROM, ALONG_ANGSTROM, PairIntegral, averaged_atom
from sim_microscope.kernels import EDGES_MRAD
from sim_microscope.multislice import Multislice, Plane, WaveGrid
from sim_microscope.scattering import (
    FREQUENCIES,
    radial_quadrature,
    rms_displacement_angstrom,
)

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


def _sum(rings: NDArray[np.float64], detector: Detector) -> NDArray[np.float64]:
    """Ring intensities summed over a detector whose angles are ring edges."""
    inside = (EDGES_MRAD[:-1] >= detector.inner_mrad) & (EDGES_MRAD[1:] <= detector.outer_mrad)
    return np.asarray(rings[:, inside].sum(axis=1))


def _engine(settings: Settings) -> tuple[Multislice, NDArray[np.float64], NDArray[np.float64]]:
    """Multislice of a cell, the cell's centre, and the probe positions around it."""
    cell = settings.cell_angstrom
    grid = WaveGrid.for_angle((cell, cell), ENERGY_KEV, settings.max_angle_mrad)
    center = np.full(2, cell / 2)
    positions = center + np.stack([np.zeros_like(RADII), RADII], axis=1)
    return Multislice(grid, CONVERGENCE_MRAD, EDGES_MRAD), center, positions


def kernel(species: str, settings: Settings, *, thermal: bool, scale: float = 1.0) -> NDArray[np.float64]:
    """Kernel of a column with given settings, its displacements scaled, of shape (radii, rings)."""
    engine, center, positions = _engine(settings)
    planes = column_planes(species, center, np.zeros(2))
    if not thermal or len(planes) == 1:
        return engine.contrast(planes, positions)
    sigma = np.sqrt(2.0) * rms_displacement_angstrom(planes[0].symbols[0]) * scale
    total = np.zeros((RADII.size, EDGES_MRAD.size - 1))
    for weight, vector in displacement_quadrature(float(sigma), settings):
        total += weight * engine.contrast(column_planes(species, center, vector), positions)
    return total


def _rows(study: str, column: str, results: list[tuple[str, NDArray[np.float64], bool]]) -> Iterator[Row]:
    """Rows of a study whose last result is the reference."""
    for detector in DETECTORS.values():
        reference = _sum(results[-1][1], detector)
        for setting, rings, chosen in results:
            values = _sum(rings, detector)
            deviation = float(np.abs(values - reference).max() / reference[0])
            yield Row(study, column, setting, detector.name, float(values[0]), deviation, chosen)


def study_cell() -> Iterator[Row]:
    """Edge of the cell around a column."""
    sizes = (16.0, 24.0, 32.0, 48.0)
    results = [
        (f"{size:g} Å", kernel("W", replace(Settings(), cell_angstrom=size), thermal=False), size == 32.0)
        for size in sizes
    ]
    yield from _rows("cell", "W", results)


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
        yield from _rows("sampling", species, results)


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
    yield from _rows("thermal quadrature", "WSe2:X2", results)


def study_spacing() -> Iterator[Row]:
    """Distance of the two chalcogens along the beam, as slicing would round it."""
    engine, center, positions = _engine(Settings())
    results = []
    for spacing in (2.0, 3.0, 3.5, 3.32):
        planes = [Plane(("Se",), center[None], sign * spacing / 2) for sign in (-1.0, 1.0)]
        results.append((f"{spacing:g} Å", engine.contrast(planes, positions), spacing == 3.32))
    yield from _rows("X-X distance kept by the slices", "WSe2:X2", results)


def study_slices() -> Iterator[Row]:
    """Thickness of the slices that an atom is cut into; the reference is the thinnest."""
    for angle in (400.0, 560.0):
        settings = replace(Settings(), max_angle_mrad=angle, cell_angstrom=24.0)
        results = [(f"one plane, {angle:g} mrad", kernel("W", settings, thermal=False), angle == 400.0)]
        results += [
            (f"{thickness:g} Å slices, {angle:g} mrad", _sliced_atom("W", thickness, settings), False)
            for thickness in (2.0, 1.0)
        ]
        yield from _rows("slices", "W", results)


def _sliced_atom(symbol: str, thickness: float, settings: Settings) -> NDArray[np.float64]:
    """Kernel of an atom at rest whose potential is cut into slices, the middle one centred on it."""
    from abtem.core.energy import energy2sigma
    from abtem.parametrizations import LobatoParametrization

    engine, center, positions = _engine(settings)
    radii, steps = radial_quadrature()
    potential: Any = LobatoParametrization().potential(symbol)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    count = 2 * int(np.ceil(3.0 / thickness)) + 1
    heights = (np.arange(count) - count // 2) * thickness
    grid = engine.grid
    frequency = np.minimum(grid.radial_frequency, FREQUENCIES[-1])
    band = (grid.radial_frequency < grid.cutoff) * (grid.gpts[0] * grid.gpts[1] / np.prod(grid.extent))
    vacuum = engine.detect(engine.probes(positions[:1], 0.0))
    waves = engine.probes(positions, heights[0])
    for index, height in enumerate(heights):
        z = height + thickness / 2 * nodes
        slab = potential(np.hypot(radii[:, None], z)) @ (weights * thickness / 2)
        wave = (np.exp(1j * energy2sigma(ENERGY_KEV * 1e3) * slab) - 1.0) * radii * steps * 2 * np.pi
        amplitude = j0(2 * np.pi * FREQUENCIES[:, None] * radii) @ wave
        spectrum = CubicSpline(FREQUENCIES, amplitude)(frequency) * band * grid.shift(center)
        if index:
            waves = engine.propagate(waves, thickness)
        waves = engine.transmit(waves, (1.0 + np.fft.ifft2(spectrum)).astype(np.complex64))
    return engine.detect(waves) - vacuum


def study_rings() -> Iterator[Row]:
    """Annuli between the table's edges, by interpolation, against rings cut there."""
    engine, center, positions = _engine(Settings())
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


def study_stock() -> Iterator[Row]:
    """Stock abTEM: its own potential, aperture and detector at finer and finer sampling, on the column.

    The cell is 48 Å, where the aperture's hard edge matters least.
    """
    import abtem
    from ase import Atoms

    exact = kernel("W", replace(Settings(), cell_angstrom=48.0), thermal=False)
    for detector in DETECTORS.values():
        ours = float(_sum(exact, detector)[0])
        yield Row("abTEM's own potential", "W", "these kernels", detector.name, ours, 0.0, True)
        for gpts in (960, 1920, 3840):
            atoms = Atoms("W", positions=[(24.0, 24.0, 1.0)], cell=(48.0, 48.0, 2.0))
            potential = abtem.Potential(
                atoms, gpts=gpts, slice_thickness=2.0, projection="infinite", parametrization="lobato"
            )
            probe = abtem.Probe(energy=ENERGY_KEV * 1e3, semiangle_cutoff=CONVERGENCE_MRAD)
            probe.grid.match(potential)
            annulus = abtem.AnnularDetector(detector.inner_mrad, detector.outer_mrad)
            scan = abtem.CustomScan(np.array([[24.0, 24.0], [2.0, 2.0]]))
            measured: Any = probe.scan(potential, scan=scan, detectors=annulus)
            on, off = np.asarray(measured.compute(progress_bar=False).array).ravel()
            deviation = abs(float(on - off) - ours) / ours
            yield Row(
                "abTEM's own potential",
                "W",
                f"{48 / gpts:g} Å",
                detector.name,
                float(on - off),
                deviation,
                False,
            )


def study_displacements() -> Iterator[Row]:
    """Displacements 15 % smaller and larger: what their uncertainty is worth."""
    results = [
        (f"{scale:g} u", kernel("WSe2:X2", Settings(), thermal=True, scale=scale), scale == 1.0)
        for scale in (0.85, 1.15, 1.0)
    ]
    yield from _rows("rms displacement", "WSe2:X2", results)


#: Pairs of the neighbour study: contents and heights [Å] of two columns, and their distance [Å].
_PAIRS: tuple[tuple[str, "_Content", "_Content", float], ...] = (
    ("W-Se2", ("W", (0.0,)), ("Se", (-1.66, 1.66)), 1.92),
    ("W-Se", ("W", (0.0,)), ("Se", (-1.66,)), 1.92),
    ("W-W", ("W", (0.0,)), ("W", (0.0,)), 3.32),
    ("Se2-Se2", ("Se", (-1.66, 1.66)), ("Se", (-1.66, 1.66)), 3.32),
    ("W-Se2", ("W", (0.0,)), ("Se", (-1.66, 1.66)), 3.83),
    ("W-Se2", ("W", (0.0,)), ("Se", (-1.66, 1.66)), 5.07),
)

_Content = tuple[str, tuple[float, ...]]


def study_neighbours() -> Iterator[Row]:
    """Pair terms by multislice, and what the law of interference leaves of them.

    `Row.peak` is the root mean square of the pair term over the probe positions, `Row.deviation` that of
    its difference from the law, both as fractions of the largest contrast.
    """
    edges = np.array([30.0, 68.0, 120.0])
    grid = WaveGrid.for_angle((32.0, 32.0), ENERGY_KEV, 150.0)
    engine, integral = Multislice(grid, CONVERGENCE_MRAD, edges), PairIntegral(ENERGY_KEV, edges)
    rows, columns = slice(0, 15, 4), slice(0, 31, 2)
    center = np.full(2, 16.0)
    probes = np.array([center + [r, c] for r in ACROSS_ANGSTROM[rows] for c in ALONG_ANGSTROM[columns]])

    def contrast(contents: list[tuple[_Content, float]]) -> NDArray[np.float64]:
        heights = sorted({height for (_, atoms), _ in contents for height in atoms})
        planes = [
            Plane(
                tuple(symbol for (symbol, atoms), _ in contents if height in atoms),
                np.array([center + [0.0, x] for (_, atoms), x in contents if height in atoms]),
                height,
            )
            for height in heights
        ]
        return engine.contrast(planes, probes)

    for name, first, second, distance in _PAIRS:
        ends = [(first, -distance / 2), (second, distance / 2)]
        both = contrast(ends)
        exact = both - contrast(ends[:1]) - contrast(ends[1:])
        one, two = (
            [averaged_atom(symbol, ENERGY_KEV, height, 0.0) for height in heights]
            for symbol, heights in (first, second)
        )
        law = integral.columns(one, two, distance)[:, rows, columns].reshape(2, -1).T
        for label, inside in (("30-120", slice(0, 2)), ("68-120", slice(1, 2))):
            term, left = exact[:, inside].sum(1), (exact - law)[:, inside].sum(1)
            scale = both[:, inside].sum(1).max()
            sizes = [float(np.sqrt(np.mean(values**2)) / scale) for values in (term, left)]
            setting = "left out" if distance > 4.0 else "second order"
            yield Row(
                "neighbours", f"{name}, {distance:g} Å", setting, label, sizes[0], sizes[1], distance < 4.0
            )


#: Every study, in the order of the report.
STUDIES = (
    study_cell,
    study_sampling,
    study_stock,
    study_slices,
    study_spacing,
    study_quadrature,
    study_displacements,
    study_rings,
    study_neighbours,
)


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
