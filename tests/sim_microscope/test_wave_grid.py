import numpy as np
import pytest

from sim_microscope.scattering import wavelength_angstrom
from sim_microscope.wave_grid import Plane, WaveGrid, plane_transmission


@pytest.mark.parametrize("energy_kev", [60, 80, 100])
def test_the_grid_carries_the_angle_that_it_is_made_for(energy_kev):
    grid = WaveGrid.for_angle((16.0, 20.0), energy_kev, 280.0)
    assert grid.cutoff * wavelength_angstrom(energy_kev) * 1e3 * 0.965 >= 280.0


def test_a_plane_of_atoms_only_turns_the_phase():
    grid = WaveGrid.for_angle((12.0, 12.0), 80, 281.0)
    plane = Plane(("W", "Se"), np.array([[4.0, 5.0], [8.0, 7.5]]), 0.0)
    transmission = plane_transmission(grid, plane)
    rows = np.arange(grid.gpts[0])[:, None] * grid.extent[0] / grid.gpts[0]
    columns = np.arange(grid.gpts[1]) * grid.extent[1] / grid.gpts[1]
    clear = np.ones(grid.gpts, bool)
    for row, column in plane.positions:
        clear &= np.hypot(rows - row, columns - column) > 0.5
    np.testing.assert_allclose(np.abs(transmission[clear]), 1.0, atol=0.02)
