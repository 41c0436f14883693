from contextlib import suppress

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from drivers.contract.errors import InputError
from models.frames import standardise
from models.maxima import refine_maxima
from models.reading import read_columns
from models.scale import lattice_constant_px, lattice_vectors


@pytest.mark.parametrize("lattice_px", [4.5, 6.0, 8.5, 12.3, 24.0, 40.0])
def test_the_lattice_constant_is_right_to_one_percent(make_honeycomb, draw, rng, lattice_px):
    shape = (300, 280)
    image = draw(make_honeycomb(shape, lattice_px=lattice_px), shape, sigma_px=0.14 * lattice_px)
    vectors = lattice_vectors(standardise(image + rng.normal(0, 0.1, shape)))
    assert lattice_constant_px(vectors) == pytest.approx(lattice_px, rel=0.01)


@pytest.mark.parametrize("lattice_px", [2.8, 3.0, 3.3, 3.7])
def test_of_a_lattice_fine_for_the_pixels_no_multiple_is_taken(make_honeycomb, draw, rng, lattice_px):
    """It is refused or found; a map of a third or a quarter of the columns would be of no use."""
    shape = (300, 280)
    truth = make_honeycomb(shape, lattice_px=lattice_px, angle_deg=7.0)
    image = draw(truth, shape, sigma_px=0.2 * lattice_px) + rng.normal(0, 0.1, shape)
    with suppress(InputError):
        assert read_columns(image).lattice.lattice_px == pytest.approx(lattice_px, rel=0.01)


@pytest.mark.parametrize("edge", [32, 40, 48, 64])
@pytest.mark.parametrize("lattice_px", [4.5, 5.5, 6.5, 7.5])
def test_small_frames_of_fine_lattices_are_read(make_honeycomb, draw, rng, edge, lattice_px):
    shape = (edge, edge)
    image = draw(make_honeycomb(shape, lattice_px=lattice_px), shape, sigma_px=0.14 * lattice_px)
    vectors = lattice_vectors(standardise(image + rng.normal(0, 0.1, shape)))
    assert lattice_constant_px(vectors) == pytest.approx(lattice_px, rel=0.03)


def test_neighbours_of_equal_brightness_are_not_taken_for_lattice_points(make_honeycomb, draw):
    shape = (256, 256)
    truth = make_honeycomb(shape, lattice_px=16.0, heights=(1.0, 1.0))
    vectors = lattice_vectors(standardise(draw(truth, shape, sigma_px=1.5)))
    assert lattice_constant_px(vectors) == pytest.approx(16.0, rel=0.01)


@pytest.mark.parametrize("height", [3.0, 5.0, 8.0])
def test_bright_dopants_that_keep_apart_leave_the_host_s_own_cell(make_honeycomb, draw, rng, height):
    """Columns a lattice constant apart are less alike then than those further away."""
    shape, lattice_px = (300, 280), 11.0
    truth = make_honeycomb(shape, lattice_px=lattice_px, heights=(1.0, 1.0))
    doped: list[int] = []
    for one in rng.permutation(np.flatnonzero(truth.sublattice == 1)):
        aside = truth.positions[doped] - truth.positions[one]
        if not (np.hypot(aside[:, 0], aside[:, 1]) < 1.1 * lattice_px).any():
            doped.append(one)
    image = draw(truth.dimmed(np.array(doped), height), shape, sigma_px=0.2 * lattice_px)
    vectors = lattice_vectors(standardise(image + rng.normal(0, 0.1, shape)))
    assert lattice_constant_px(vectors) == pytest.approx(lattice_px, rel=0.01)


def test_dopants_in_order_leave_the_host_s_own_cell(make_honeycomb, draw, rng):
    """Every fourth metal, at twice the lattice constant along both vectors."""
    shape, lattice_px = (300, 280), 11.0
    truth = make_honeycomb(shape, lattice_px=lattice_px, heights=(1.0, 1.0))
    metal = np.flatnonzero(truth.sublattice == 1)
    angle = np.deg2rad([7.0, 67.0])  # as `make_honeycomb` turns them
    vectors = lattice_px * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    index = np.rint((truth.positions[metal] - truth.positions[metal[0]]) @ np.linalg.inv(vectors))
    image = draw(truth.dimmed(metal[(index % 2 == 0).all(axis=1)], 2.5), shape, sigma_px=0.2 * lattice_px)
    found = lattice_vectors(standardise(image + rng.normal(0, 0.1, shape)))
    assert lattice_constant_px(found) == pytest.approx(lattice_px, rel=0.01)


@pytest.mark.parametrize("wide_px", [10, 20])
def test_carbon_makes_no_finer_lattice(make_honeycomb, draw, rng, wide_px):
    """It adds to the correlation of all columns near each other, those of neighbours a bond apart, too."""
    shape = (256, 256)
    truth = make_honeycomb(shape, lattice_px=24.0, heights=(1.0, 1.0))
    carbon = gaussian_filter(rng.normal(size=shape), wide_px)
    image = draw(truth, shape, sigma_px=3.0) + 0.8 * carbon / carbon.std()
    found = lattice_vectors(standardise(image + rng.normal(0, 0.1, shape)))
    assert lattice_constant_px(found) == pytest.approx(24.0, rel=0.02)


def test_a_sheared_scan_gives_sheared_vectors(make_honeycomb, draw):
    shape = (256, 256)
    affine = ((1.08, 0.1), (0.0, 0.93))
    truth = make_honeycomb(shape, lattice_px=12.0, affine=affine)
    vectors = lattice_vectors(standardise(draw(truth, shape, sigma_px=1.7)))
    assert lattice_constant_px(vectors) == pytest.approx(12 * np.sqrt(np.linalg.det(affine)), rel=0.01)
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    assert float(lengths.max() / lengths.min()) > 1.05


def test_slow_background_does_not_hide_the_lattice(make_honeycomb, draw):
    shape = (256, 256)
    image = draw(make_honeycomb(shape, lattice_px=9.0), shape, sigma_px=1.3)
    row, column = np.indices(shape)
    blob = 20 * np.exp(-((row - 60) ** 2 + (column - 90) ** 2) / 2 / 50**2) + 0.05 * row
    assert lattice_constant_px(lattice_vectors(standardise(image + blob))) == pytest.approx(9, rel=0.01)


@pytest.mark.parametrize("lattice_px", [64.0, 80.0])
def test_columns_many_pixels_wide_are_seen_through_the_noise_of_single_ones(
    make_honeycomb, draw, rng, lattice_px
):
    shape = (512, 512)
    image = draw(make_honeycomb(shape, lattice_px=lattice_px), shape, sigma_px=0.14 * lattice_px)
    vectors = lattice_vectors(standardise(image + rng.normal(0, 1.2, shape)))
    assert lattice_constant_px(vectors) == pytest.approx(lattice_px, rel=0.02)


@pytest.mark.parametrize(("lattice_px", "noise"), [(32.0, 1.5), (32.0, 2.0), (40.0, 1.5)])
def test_where_joined_pixels_tell_no_evidence_but_show_the_cell_it_is_believed(
    make_honeycomb, draw, rng, lattice_px, noise
):
    shape = (round(16 * lattice_px),) * 2
    image = draw(make_honeycomb(shape, lattice_px=lattice_px), shape, sigma_px=0.16 * lattice_px)
    vectors = lattice_vectors(standardise(image + rng.normal(0, noise, shape)))
    assert lattice_constant_px(vectors) == pytest.approx(lattice_px, rel=0.03)


def test_noise_has_no_lattice(rng):
    with pytest.raises(InputError, match="no such period between 4 px and a third of the frame"):
        lattice_vectors(standardise(rng.normal(size=(256, 256))))


@pytest.mark.parametrize("electrons", [0.3, 0.6])
def test_pixels_without_an_electron_may_be_more_than_half(make_honeycomb, draw, rng, electrons):
    shape = (256, 256)
    image = draw(make_honeycomb(shape, lattice_px=10.0), shape, sigma_px=1.5)
    counts = rng.poisson(image * electrons / image.mean())
    assert (counts == 0).mean() > 0.5
    counts[*rng.integers(0, 256, (2, 20))] = 1000  # hot pixels
    assert lattice_constant_px(lattice_vectors(standardise(counts))) == pytest.approx(10.0, rel=0.01)


@pytest.mark.parametrize("electrons", [0.03, 0.6])
def test_scattered_electrons_have_no_lattice(rng, electrons):
    with pytest.raises(InputError, match="no such period"):
        lattice_vectors(standardise(rng.poisson(electrons, (256, 256))))


def test_a_blot_does_not_outweigh_the_lattice(make_honeycomb, draw, rng):
    shape = (256, 256)
    image = draw(make_honeycomb(shape, lattice_px=9.0), shape, sigma_px=1.3) + rng.normal(0, 0.1, shape)
    row, column = np.indices(shape)
    image[np.hypot(row - 128, column - 128) < 30] = 10
    assert lattice_constant_px(lattice_vectors(standardise(image))) == pytest.approx(9, rel=0.02)


def test_maxima_are_refined_to_the_vertex_of_a_paraboloid():
    row, column = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    image = 5 - (row - 4.3) ** 2 - 2 * (column - 3.8) ** 2 - 0.5 * (row - 4.3) * (column - 3.8)
    positions, heights = refine_maxima(image, torch.tensor([[4, 4]]))
    assert torch.allclose(positions, torch.tensor([[4.3, 3.8]]), atol=1e-3)
    assert float(heights[0]) == float(image[4, 4])
