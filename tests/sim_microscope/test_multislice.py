import numpy as np
import pytest

from sim_microscope.multislice import Multislice
from sim_microscope.wave_grid import Plane, WaveGrid

EDGES = np.array([0.0, 20.0, 30.0, 68.0, 120.0, 280.0])


def lone_atom(grid, symbol="W", offset=(0.0, 0.0), distances=(0.0, 0.6, 2.0), edges=EDGES):
    center = np.array(grid.extent) / 2 + offset
    positions = center + np.array([[0.0, d] for d in distances])
    return Multislice(grid, 31.0, edges).contrast([Plane((symbol,), center[None], 0.0)], positions)


def test_an_atoms_image_does_not_depend_on_where_in_a_pixel_it_sits():
    grid = WaveGrid.for_angle((20.0, 20.0), 80, 281.0)
    pixel = grid.extent[0] / grid.gpts[0]
    centred = lone_atom(grid)
    shifted = lone_atom(grid, offset=(0.37 * pixel, 0.81 * pixel))
    np.testing.assert_allclose(shifted[:, 3:].sum(1), centred[:, 3:].sum(1), rtol=2e-3, atol=1e-6)


def test_an_atoms_image_does_not_depend_on_the_sampling():
    coarse = lone_atom(WaveGrid.for_angle((20.0, 20.0), 80, 281.0))
    fine = lone_atom(WaveGrid.for_angle((20.0, 20.0), 80, 450.0))
    np.testing.assert_allclose(fine[:, 3:].sum(1), coarse[:, 3:].sum(1), rtol=2e-3, atol=1e-6)


def test_scattered_intensity_leaves_the_beam_and_arrives_elsewhere():
    grid = WaveGrid.for_angle((20.0, 20.0), 80, 400.0)
    contrast = lone_atom(grid, "Ti", edges=np.array([0.0, 120.0, 200.0, 300.0, 400.0]))
    assert (contrast[:, 1:] > 0).all()
    # What lies beyond the grid falls as Rutherford scattering, as the inverse square of the angle.
    beyond = contrast[:, 3] * 400.0**-2 / (300.0**-2 - 400.0**-2)
    np.testing.assert_allclose(contrast.sum(axis=1) + beyond, 0.0, atol=2e-4)


def test_a_vacuum_adds_nothing():
    grid = WaveGrid.for_angle((20.0, 20.0), 80, 281.0)
    empty = Plane((), np.zeros((0, 2)), 0.0)
    contrast = Multislice(grid, 31.0, EDGES).contrast([empty], np.array([[10.0, 10.0], [9.3, 11.1]]))
    np.testing.assert_allclose(contrast, 0.0, atol=2e-7)


def test_two_atoms_in_line_focus_more_than_one():
    grid = WaveGrid.for_angle((20.0, 20.0), 80, 281.0)
    center = np.array([[10.0, 10.0]])
    engine = Multislice(grid, 31.0, EDGES)
    one = engine.contrast([Plane(("Se",), center, -1.66)], center)
    two = engine.contrast([Plane(("Se",), center, -1.66), Plane(("Se",), center, 1.66)], center)
    # PHYSICS.md, section 2: 1.05 at the true distance (in another cell and on another grid).
    assert two[0, 3:].sum() / (2 * one[0, 3:].sum()) == pytest.approx(1.05, abs=0.02)
