import numpy as np
import pytest

from sim_microscope.interference import ACROSS_ANGSTROM, ALONG_ANGSTROM, PairIntegral, averaged_atom
from sim_microscope.multislice import Multislice
from sim_microscope.wave_grid import Plane, WaveGrid

DISTANCE_ANGSTROM = 1.92
ROWS, COLUMNS = slice(0, 9, 4), slice(3, 28, 3)


def exact_term(edges: np.ndarray, heights: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Multislice of V and S at rest less that of each alone, and the largest contrast of the two."""
    grid, center = WaveGrid.for_angle((32.0, 32.0), 80, 200.0), np.full(2, 16.0)
    where = [center + [0.0, side * DISTANCE_ANGSTROM / 2] for side in (-1, 1)]
    probes = np.array([center + [r, c] for r in ACROSS_ANGSTROM[ROWS] for c in ALONG_ANGSTROM[COLUMNS]])
    engine = Multislice(grid, 31.0, edges)
    planes = [Plane((s,), p[None], height) for s, p, height in zip("VS", where, heights, strict=True)]
    one, two = (engine.contrast([plane], probes) for plane in planes)
    if heights[0] == heights[1]:
        planes = [Plane(("V", "S"), np.array(where), heights[0])]
    both = engine.contrast(sorted(planes, key=lambda plane: plane.height_angstrom), probes)
    shape = (ACROSS_ANGSTROM[ROWS].size, ALONG_ANGSTROM[COLUMNS].size, edges.size - 1)
    return np.moveaxis((both - one - two).reshape(shape), -1, 0), float(both.max())


@pytest.mark.parametrize(
    "heights", [(0.0, 0.0), (0.0, -1.5), (0.0, 1.5)], ids=["level", "second first", "first first"]
)
def test_two_atoms_add_what_multislice_of_them_adds(heights):
    """Second order against full multislice, inside and outside of the direct beam."""
    edges = np.array([28.0, 31.0, 120.0])
    exact, contrast = exact_term(edges, heights)
    integral = PairIntegral(80, edges)
    vanadium, sulphur = (averaged_atom(s, 80, h, 0.0) for s, h in zip("VS", heights, strict=True))
    law = integral.columns([vanadium], [sulphur], DISTANCE_ANGSTROM)[:, ROWS, COLUMNS]
    assert np.abs(exact).max() > 0.003 * contrast
    for ring in range(2):
        assert np.sqrt(np.mean((law - exact)[ring] ** 2)) < 0.06 * np.sqrt(np.mean(exact[ring] ** 2))


def test_a_term_seen_from_the_other_end_is_its_mirror_image():
    integral = PairIntegral(100, np.array([30.0, 31.0, 68.0]))
    top, bottom = (averaged_atom(s, 100, h, 0.07) for s, h in (("Ti", 0.0), ("S", 1.5)))
    there, back = integral.columns([top], [bottom], 1.9), integral.columns([bottom], [top], 1.9)
    np.testing.assert_allclose(there, back[..., ::-1], atol=1e-3 * np.abs(there).max())


def test_moving_atoms_interfere_less():
    integral = PairIntegral(60, np.array([45.0, 120.0]))
    sizes = [
        np.abs(
            integral.columns([averaged_atom("W", 60, 0.0, u)], [averaged_atom("Te", 60, 1.8, u)], 2.05)
        ).max()
        for u in (0.0, 0.1)
    ]
    assert sizes[1] < 0.95 * sizes[0]
