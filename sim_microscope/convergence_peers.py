"""Kernels and neighbours against other ways to the same numbers: thin slices, stock abTEM, multislice."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import j0

from drivers.contract.context import CONVERGENCE_MRAD, DETECTORS, Detector
from sim_microscope.column_build import Settings
from sim_microscope.convergence import (
    ENERGY_KEV,
    Row,
    engine_for,
    kernel,
    ring_sum,
    rows_of,
    study_cell,
    study_displacements,
    study_quadrature,
    study_rings,
    study_sampling,
    study_spacing,
)
from sim_microscope.interference import ACROSS_ANGSTROM, ALONG_ANGSTROM, PairIntegral, averaged_atom
from sim_microscope.multislice import Multislice
from sim_microscope.scattering import FREQUENCIES, radial_quadrature
from sim_microscope.wave_grid import Plane, WaveGrid


def study_slices() -> Iterator[Row]:
    """Thickness of the slices that an atom is cut into; the reference is the thinnest."""
    for angle in (400.0, 560.0):
        settings = replace(Settings(), max_angle_mrad=angle, cell_angstrom=24.0)
        results = [(f"one plane, {angle:g} mrad", kernel("W", settings, thermal=False), angle == 400.0)]
        results += [
            (f"{thickness:g} Å slices, {angle:g} mrad", _sliced_atom("W", thickness, settings), False)
            for thickness in (2.0, 1.0)
        ]
        yield from rows_of("slices", "W", results)


def _sliced_atom(symbol: str, thickness: float, settings: Settings) -> NDArray[np.float64]:
    """Kernel of an atom at rest whose potential is cut into slices, the middle one centred on it."""
    from abtem.core.energy import energy2sigma
    from abtem.parametrizations import LobatoParametrization

    engine, center, positions = engine_for(settings)
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


#: Sampling [Å] and cell [Å] of stock abTEM: larger cells, finer sampling, and in a small one the finest.
_STOCK = (
    (0.05, 48),
    (0.05, 96),
    (0.05, 192),
    (0.025, 48),
    (0.025, 96),
    (0.0125, 48),
    (0.0125, 12),
    (0.00625, 12),
)


def study_stock() -> Iterator[Row]:
    """Stock abTEM: its own potential, aperture and detector, on the column.

    Its image falls with the cell, as the aperture's hard edge matters less, and rises with the sampling.
    """
    study, exact = (
        "abTEM's own potential",
        kernel("W", replace(Settings(), cell_angstrom=48.0), thermal=False),
    )
    for detector in DETECTORS.values():
        ours = float(ring_sum(exact, detector)[0])
        yield Row(study, "W", "these kernels", detector.name, ours, 0.0, True)
        for sampling, cell in _STOCK:
            stock = _stock_atom("W", float(cell), sampling, detector)
            setting = f"{sampling:g} Å, cell of {cell} Å"
            yield Row(study, "W", setting, detector.name, stock, abs(stock - ours) / ours, False)


def _stock_atom(symbol: str, cell: float, sampling: float, detector: Detector) -> float:
    """Intensity of a probe on an atom, less that far from it, by abTEM as it comes."""
    import abtem
    from ase import Atoms

    atoms = Atoms(symbol, positions=[(cell / 2, cell / 2, 1.0)], cell=(cell, cell, 2.0))
    potential = abtem.Potential(
        atoms,
        gpts=round(cell / sampling),
        slice_thickness=2.0,
        projection="infinite",
        parametrization="lobato",
    )
    probe = abtem.Probe(energy=ENERGY_KEV * 1e3, semiangle_cutoff=CONVERGENCE_MRAD)
    probe.grid.match(potential)
    annulus = abtem.AnnularDetector(detector.inner_mrad, detector.outer_mrad)
    scan = abtem.CustomScan(np.array([[cell / 2, cell / 2], [2.0, 2.0]]))
    measured: Any = probe.scan(potential, scan=scan, detectors=annulus)
    on, off = np.asarray(measured.compute(progress_bar=False).array).ravel()
    return float(on - off)


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
