import numpy as np
import pytest
from scipy.ndimage import shift

from models.jumps import jump_along
from models.reading import read_columns

SHAPE, LATTICE_PX = (300, 320), 11.0


@pytest.fixture
def image(make_honeycomb, draw):
    return 1.0 + draw(make_honeycomb(SHAPE, lattice_px=LATTICE_PX, angle_deg=3.0), SHAPE, sigma_px=1.8)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_gain_that_changes_from_one_line_to_the_next_is_told(image, rng, axis, factor):
    after = np.indices(SHAPE)[axis] >= 130
    jumps = read_columns(np.where(after, factor, 1.0) * image + rng.normal(0, 0.1, SHAPE)).jumps
    along, other = (jumps.rows, jumps.columns)[:: 1 - 2 * axis]
    assert along[0] == pytest.approx(130, abs=LATTICE_PX)
    assert along[1] * np.log(factor) > 0
    assert other[1] == 0


def test_what_changes_slowly_or_in_one_place_is_no_jump(image, rng):
    row, column = np.indices(SHAPE)
    noise = rng.normal(0, 0.1, SHAPE)
    blot = np.exp(-((row - 150) ** 2 + (column - 100) ** 2) / 2 / 15**2)
    for changed in (image, image * (1 - row / 600), image + blot, image * (1 - 0.4 * blot)):
        jumps = read_columns(changed + noise).jumps
        assert (jumps.rows[1], jumps.columns[1], jumps.layers) == (0, 0, ())


def test_few_columns_tell_no_jump():
    place = np.arange(20.0)
    assert jump_along(place, place, np.where(place < 10, 1.0, 2.0), 5.0) == (0.0, 0.0)
    assert jump_along(place[:0], place[:0], place[:0], 5.0) == (0.0, 0.0)


def test_a_second_layer_is_told_and_another_grain_of_the_first_is_not(make_honeycomb, draw, rng):
    shape = (360, 360)
    first = draw(make_honeycomb(shape, lattice_px=LATTICE_PX, angle_deg=3.0), shape, sigma_px=1.8)
    turned = draw(make_honeycomb(shape, lattice_px=LATTICE_PX, angle_deg=25.0), shape, sigma_px=1.8)
    right = np.arange(360) > 220
    noise = rng.normal(0, 0.1, shape)
    beside = read_columns(np.where(right, turned, first) + noise)
    assert len(beside.lattice.vectors) == 2
    assert not beside.jumps.layers
    # Its metal stands on the first layer's chalcogen (3R): columns of both are there again, exchanged.
    above = shift(first, np.array([np.cos(a := np.deg2rad(33.0)), np.sin(a)]) * LATTICE_PX / np.sqrt(3))
    bilayer = read_columns(first + np.where(right, above, 0.0) + noise)
    assert [pair[:2] for pair in bilayer.jumps.layers] == [(0, 1)]


def test_a_gain_that_changes_over_half_a_line_is_no_jump(image, rng):
    row, column = np.indices(SHAPE)
    there = (row >= 130) & (column >= 160)
    jumps = read_columns(np.where(there, 0.6, 1.0) * image + rng.normal(0, 0.1, SHAPE)).jumps
    assert jumps.rows[1] == jumps.columns[1] == 0


def test_noise_alone_makes_no_jump(rng):
    for _ in range(20):
        line, across = rng.uniform(0, 100, (2, 700))
        assert jump_along(line, across, np.exp(rng.normal(0, 1.2, 700)), 10.0)[1] == 0


def test_where_lines_at_the_edges_were_left_out_a_jump_stays_where_it_is(image, rng):
    noisy = np.where(np.indices(SHAPE) >= 130, 0.7, 1.0).prod(axis=0) * image + rng.normal(0, 0.1, SHAPE)
    plain, padded = (read_columns(one).jumps for one in (noisy, np.pad(noisy, ((9, 0), (4, 0)))))
    assert plain.rows[1] * plain.columns[1] > 0
    assert padded.rows == pytest.approx((plain.rows[0] + 9, plain.rows[1]), abs=1e-3)
    assert padded.columns == pytest.approx((plain.columns[0] + 4, plain.columns[1]), abs=1e-3)


def test_a_gradient_over_two_grains_makes_no_second_layer(make_honeycomb, draw, rng):
    shape = (360, 360)
    grains = [
        draw(make_honeycomb(shape, lattice_px=LATTICE_PX, angle_deg=angle), shape, sigma_px=1.8)
        for angle in (3.0, 25.0)
    ]
    column = np.arange(360)
    beside = np.where(column > 180, grains[1], grains[0]) + 0.5
    for slope in (-0.6, 0.6):
        sloping = beside * (1 + slope * (column / 359 - 0.5)) + rng.normal(0, 0.1, shape)
        assert not read_columns(sloping).jumps.layers
