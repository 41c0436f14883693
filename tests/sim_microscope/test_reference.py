import numpy as np
import pytest

from drivers.contract.context import HAADF, MAADF, Specimen
from drivers.contract.errors import InputError
from sim_microscope.crystal import STATES, Crystal
from sim_microscope.kernels import RADII_ANGSTROM, default_table
from sim_microscope.reference import Beam, crystal_planes, periodic_mean, scan_crystal
from sim_microscope.wave_grid import Plane, WaveGrid, plane_transmission


def test_a_lone_column_is_its_kernel_wherever_it_lies_in_a_tile():
    specimen = Specimen(host="WSe2")
    metal = np.array([STATES.index("metal")], np.uint8)
    lone = Crystal(specimen, np.array([[30.3, 25.1]]), metal, np.zeros(1, np.uint8))
    chosen = [0, 5, 10, 20]
    probes = lone.positions + np.stack([np.zeros(4), RADII_ANGSTROM[chosen]], axis=1)
    rings = scan_crystal(lone, probes, Beam(80.0, (30.0, 68.0, 120.0, 280.0)), workers=1)
    for detector, span, limit in ((HAADF, slice(1, 3), 1e-3), (MAADF, slice(0, 2), 3e-3)):
        kernel = default_table().radial("W", 80, detector, thermal=False)[:-1][chosen]
        # The mean of so few probes, all near the column, stands for the crystal beyond the window.
        values = rings[:, span].sum(1)
        values = values - 0.0051 * values.mean() / 1.0051
        np.testing.assert_allclose(values, kernel, atol=limit * kernel[0])


@pytest.mark.parametrize("detector", [HAADF, MAADF], ids=lambda d: d.name)
def test_what_scatters_beyond_the_detector_may_come_back(detector):
    """Two atoms in line on the detector's own edges against their kernel, whose grid carries 400 mrad."""
    pair = np.array([STATES.index("X2")], np.uint8)
    lone = Crystal(Specimen(host="WSe2"), np.array([[30.3, 25.1]]), pair, np.zeros(1, np.uint8))
    beam = Beam(80.0, (detector.inner_mrad, detector.outer_mrad))
    rings = scan_crystal(lone, lone.positions, beam, workers=1)[0, 0] / 1.0051
    kernel = default_table().radial("WSe2:X2", 80, detector, thermal=False)[0]
    assert rings == pytest.approx(kernel, rel=4e-3)


def test_a_beam_of_high_energy_asks_for_no_more_than_is_known_of_atoms():
    beam = Beam(300.0, (68.0, 280.0))
    assert 280.0 < beam.max_angle_mrad < 400.0
    grid = WaveGrid.for_angle((32.0, 32.0), beam.energy_kev, beam.max_angle_mrad)
    plane_transmission(grid, Plane(("W",), np.zeros((1, 2)), 0.0))
    with pytest.raises(InputError, match="atoms are known up to 20 /Å"):
        plane_transmission(WaveGrid.for_angle((32.0, 32.0), 300.0, 400.0), Plane((), np.zeros((0, 2)), 0.0))


def test_several_processes_find_what_one_does():
    metal = np.array([STATES.index("metal")], np.uint8)
    lone = Crystal(Specimen(host="MoS2"), np.array([[7.9, 3.0]]), metal, np.zeros(1, np.uint8))
    probes = np.array([[7.0, 3.0], [9.0, 3.0]])
    one, two = (scan_crystal(lone, probes, Beam(60.0, (40.0, 90.0)), workers=n) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_planes_are_met_from_the_top():
    specimen = Specimen(host="WSe2", dopant="Ti")
    states = np.array(
        [STATES.index(s) for s in ("metal", "dopant", "X2", "X1top", "X1bottom", "empty")], np.uint8
    )
    crystal = Crystal(specimen, np.arange(12.0).reshape(6, 2), states, np.zeros(6, np.uint8))
    planes = crystal_planes(crystal)
    assert [plane.height_angstrom for plane in planes] == pytest.approx([-1.66, 0.0, 1.66])
    assert [plane.symbols for plane in planes] == [("Se", "Se"), ("W", "Ti"), ("Se", "Se")]


def test_an_empty_crystal_scatters_nothing():
    nothing = Crystal(Specimen(host="WSe2"), np.zeros((0, 2)), np.zeros(0, np.uint8), np.zeros(0, np.uint8))
    rings = scan_crystal(nothing, np.array([[1.0, 1.0]]), Beam(80.0, (68.0, 120.0)), workers=1)
    np.testing.assert_allclose(rings, 0.0, atol=1e-7)


def test_the_mean_of_a_lone_column_in_a_large_period_is_its_integral():
    """Plane waves through the period against the integral of the kernel, which came from a ring of them."""
    metal = np.array([STATES.index("metal")], np.uint8)
    lone = Crystal(Specimen(host="WSe2"), np.array([[3.0, 5.0]]), metal, np.zeros(1, np.uint8))
    beam = Beam(80.0, (30.0, 68.0, 120.0, 280.0))
    rings = periodic_mean(lone, (16.0, 16.0), beam, waves=60) * 16.0**2
    for detector, span in ((HAADF, slice(1, 3)), (MAADF, slice(0, 2))):
        integral = default_table().radial("W", 80, detector, thermal=False)[-1]
        assert rings[span].sum() == pytest.approx(integral, rel=0.01)
