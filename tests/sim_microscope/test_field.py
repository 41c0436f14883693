from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from drivers.contract.context import HAADF, MAADF, Context
from drivers.contract.errors import InputError
from sim_microscope.crystal import STATES, Crystal
from sim_microscope.field import Raster, field_kernels, render
from sim_microscope.kernels import default_table, vacuum_intensity
from sim_microscope.simulate import load_kernels


@pytest.mark.parametrize("step", [0.12, 0.3, 0.45], ids=["fine", "at the limit", "subdivided"])
def test_the_grid_gives_what_adding_columns_one_by_one_gives(step, make_context, make_doped):
    kernels = field_kernels(make_context(), default_table(), None)
    crystal = make_doped()
    image = render(crystal, kernels, Raster((20, 24), step, (3.0, 4.0)))
    rows, columns = np.meshgrid(3 + step * np.arange(20), 4 + step * np.arange(24), indexing="ij")
    expected = np.zeros(image.shape)
    for state, position in zip(crystal.states, crystal.positions, strict=True):
        if STATES[state] != "empty":
            expected += kernels.columns[int(state)].at(np.hypot(rows - position[0], columns - position[1]))
    difference = image - expected
    assert difference.std() < 2e-3 * expected.std()
    assert abs(difference.mean()) < 0.02 * expected.std()  # the tails of columns beyond 12 Å


@pytest.mark.parametrize("detector", [HAADF, MAADF], ids=lambda d: d.name)
def test_moving_crystal_and_raster_together_changes_nothing(detector, make_context, make_doped):
    kernels = load_kernels(make_context(detector))
    crystal, shift = make_doped(), np.array([0.13, -0.21])
    raster = Raster((40, 40), 0.25, (10.0, 10.0))
    plain = render(crystal, kernels, raster, source_sigma_angstrom=0.3)
    moved = replace(crystal, positions=crystal.positions + shift)
    origin = (10.0 + shift[0], 10.0 + shift[1])
    again = render(moved, kernels, replace(raster, origin_angstrom=origin), source_sigma_angstrom=0.3)
    assert (again - plain).std() < 1e-3 * plain.std()


def test_turning_crystal_and_raster_together_changes_nothing(make_context, make_doped):
    kernels = load_kernels(make_context(MAADF))
    crystal = make_doped()
    raster = Raster((40, 40), 0.25, (15.0, 15.0))
    plain = render(crystal, kernels, raster, source_sigma_angstrom=0.3)
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    middle = 15.0 + 0.25 * 39 / 2
    turned = replace(crystal, positions=(crystal.positions - middle) @ quarter.T + middle)
    again = render(turned, kernels, raster, source_sigma_angstrom=0.3)
    assert (np.rot90(again, 1) - plain).std() < 3e-3 * plain.std()


@pytest.mark.parametrize("angle_deg", [7.3, 61.26, 140.9])
def test_columns_are_as_bright_whichever_way_the_crystal_is_turned(angle_deg, make_context, make_doped):
    kernels, crystal, middle = load_kernels(make_context(MAADF)), make_doped(), 20.0
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = replace(crystal, positions=(crystal.positions - middle) @ turn.T + middle)
    near = np.linalg.norm(crystal.positions - middle, axis=1) < 12
    values = []
    for each in (crystal, turned):
        image = render(each, kernels, Raster((200, 200), 0.2), source_sigma_angstrom=0.35)
        values.append(map_coordinates(image, each.positions[near].T / 0.2, order=5))
    assert np.abs(values[1] - values[0]).max() < 1e-2 * values[0].std()


def test_an_empty_field_shows_the_vacuum(make_context):
    nothing = Crystal(make_context().specimen, np.zeros((0, 2)), np.zeros(0, np.uint8), np.zeros(0, np.uint8))
    image = render(nothing, load_kernels(make_context(MAADF)), Raster((16, 16), 0.2))
    np.testing.assert_allclose(image, vacuum_intensity(MAADF), rtol=1e-6)


def test_a_double_vacancy_is_a_hole(make_context, make_doped):
    crystal = make_doped()
    kernels = load_kernels(make_context())
    image = render(crystal, kernels, Raster((320, 320), 0.125), source_sigma_angstrom=0.3)
    inside = np.all((crystal.positions > 3) & (crystal.positions < 37), axis=1)
    values = map_coordinates(image, crystal.positions[inside].T / 0.125, order=3)
    classes = crystal.classes[inside]
    means = [values[classes == kind].mean() for kind in range(5)]
    # WSe2 in HAADF: W > Se2 > one Se > Ti > nothing.
    assert means[3] > means[0] > means[1] > means[4] > means[2]


def test_memory_is_asked_for_before_it_is_taken(make_context, make_doped):
    with pytest.raises(InputError, match=r"GiB.*smaller field or larger pixels"):
        render(make_doped(), load_kernels(make_context()), Raster((10**6, 10**6), 0.2))


def test_convergence_that_the_kernels_were_not_made_for_is_refused(make_context):
    specimen = make_context().specimen
    other = Context(specimen=specimen, energy_kev=80.0, detector=HAADF, convergence_mrad=25.0)
    with pytest.raises(InputError, match="31 mrad; use --method multislice"):
        load_kernels(other)
