from itertools import pairwise

import numpy as np
import pytest
from scipy.fft import fft2, ifft2
from scipy.special import j0

from sim_microscope.interference import ACROSS_ANGSTROM, ALONG_ANGSTROM, averaged_atom
from sim_microscope.remainders import PlaneIntegral, captured, displaced_share, lattice_sum, site_remainders
from sim_microscope.wave_grid import Plane, WaveGrid, plane_transmission

EDGES_MRAD = np.array([20.0, 30.0, 31.0, 120.0])


def test_a_beam_that_is_not_displaced_falls_on_its_own_rings():
    share = displaced_share(np.zeros(1), EDGES_MRAD)[0]
    np.testing.assert_allclose(share, [(30**2 - 20**2) / 31**2, (31**2 - 30**2) / 31**2, 0.0], atol=1e-12)


def test_a_displaced_beam_keeps_its_intensity():
    share = displaced_share(np.array([3.0, 31.0, 70.0, 88.9]), np.array([1e-6, 20.0, 31.0, 120.0]))
    np.testing.assert_allclose(share.sum(axis=1), 1.0, atol=1e-9)


def test_the_share_of_a_displaced_beam_is_an_area():
    points = np.stack(np.meshgrid(*[np.linspace(-31, 31, 801)] * 2), axis=-1).reshape(-1, 2)
    angle = np.hypot(*(points[np.hypot(*points.T) < 31] + [12.0, 0.0]).T)
    counted = np.histogram(angle, EDGES_MRAD)[0] / angle.size
    np.testing.assert_allclose(displaced_share(np.array([12.0]), EDGES_MRAD)[0], counted, atol=1e-3)


def plane_wave_integral(planes: list[Plane], energy_kev: float) -> np.ndarray:
    """Integral of a few atoms' contrast in every ring from one plane wave at normal incidence [Å²]."""
    grid = WaveGrid.for_angle((48.0, 48.0), energy_kev, 200.0)
    wave = plane_transmission(grid, planes[0]).astype(complex)
    for before, after in pairwise(planes):
        distance = after.height_angstrom - before.height_angstrom
        chirp = np.exp(-1j * np.pi * grid.wavelength * distance * grid.radial_frequency**2)
        wave = ifft2(fft2(wave) * chirp) * plane_transmission(grid, after)
    intensity = np.abs(fft2(wave, norm="forward")) ** 2
    intensity[0, 0] -= 1.0
    angle = grid.radial_frequency.ravel() * grid.wavelength * 1e3
    return intensity.ravel() @ displaced_share(angle, EDGES_MRAD) * 48.0**2


@pytest.mark.parametrize("distance", [1.84, 3.68], ids=str)
def test_the_integral_of_a_pair_is_that_of_plane_waves(distance):
    """Against multislice of both atoms less each alone; what is left is of third order."""
    metal, sulphur = (
        Plane((symbol,), np.array([[24.0 + side * distance / 2, 24.0]]), height)
        for symbol, side, height in (("Mo", -1, 0.0), ("S", 1, 1.56))
    )
    both, one, two = (plane_wave_integral(planes, 60) for planes in ([metal, sulphur], [metal], [sulphur]))
    plane = PlaneIntegral(60, EDGES_MRAD)
    atoms = averaged_atom("Mo", 60, 0.0, 0.0), averaged_atom("S", 60, 1.56, 0.0)
    found = plane(*atoms, j0(2 * np.pi * plane.frequency * distance))
    exact = both - one - two
    np.testing.assert_allclose(found, exact, atol=0.06 * np.abs(exact).max())


def test_a_lattice_sum_counts_every_neighbour_at_zero_frequency():
    own, other = (lattice_sum(3.2, same, np.zeros(1))[0] for same in (True, False))
    columns_per_area = 2 / (np.sqrt(3) * 3.2**2)
    # The weight fades between 12 and 20 Å; the column itself does not count.
    area = np.pi * np.trapezoid(
        2
        * np.linspace(0, 20, 4001)
        * np.cos(np.pi / 2 * np.clip((np.linspace(0, 20, 4001) - 12) / 8, 0, 1)) ** 2,
        np.linspace(0, 20, 4001),
    )
    assert own == pytest.approx(columns_per_area * area - 1, rel=0.01)
    assert other == pytest.approx(columns_per_area * area, rel=0.01)


def test_what_a_term_captures_is_its_integral():
    across, along = ACROSS_ANGSTROM[:, None], ALONG_ANGSTROM
    term = np.exp(-(across**2 + along**2) / 2)[None].astype(np.float32)
    assert captured(term, 3.6)[0] == pytest.approx(2 * np.pi * (1 - np.exp(-(3.6**2) / 2)), rel=2e-3)


def test_halves_make_the_whole_in_a_perfect_crystal_and_around_a_defect():
    pairs = {("W", "W"): 1.0, ("W", "X2"): 2.0, ("X2", "X2"): 3.0, ("Ti", "W"): 0.5, ("Ti", "X2"): 0.7}

    def of_pair(content, neighbour, same):
        return np.array(
            [pairs[(content, neighbour) if (content, neighbour) in pairs else (neighbour, content)]]
        )

    found = site_remainders(of_pair, "W", ["Ti"])
    assert found["W"] + found["X2"] == pytest.approx(0.5 * (1 + 3) + 2)
    # A dopant and its neighbours: what its pairs leave, and the halves that they have for tungsten.
    assert found["Ti"] + 0.5 * (1 + 2) == pytest.approx(0.5 + 0.7)
