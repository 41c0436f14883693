import numpy as np
import pytest
import torch

from models.indexing import _bend, index_maxima, site_basis
from models.unwrapping import _merge_in_phase


def sites(basis: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """All points of a site lattice inside a frame, and their indices."""
    index = np.stack(np.meshgrid(*[np.arange(-80, 80)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    points = index @ basis + np.array(shape) / 2
    inside = ((points > 1) & (points < np.array(shape) - 2)).all(axis=1)
    return points[inside], index[inside]


BASIS = np.array([[5.0, 0.4], [2.2, 4.6]])
VECTORS = torch.tensor(np.stack([BASIS[0] + BASIS[1], 2 * BASIS[1] - BASIS[0]]))


def test_the_site_lattice_holds_both_sublattices_and_the_hexagon_centres():
    vectors = torch.tensor([[10.0, 0.0], [5.0, 75**0.5]])
    basis = site_basis(vectors)
    assert torch.allclose(torch.linalg.vector_norm(basis, dim=1), torch.tensor(10 / 3**0.5).expand(2))
    assert torch.allclose(torch.stack([basis[0] + basis[1], 2 * basis[1] - basis[0]]), vectors)


@pytest.mark.parametrize("missing", [0.0, 1 / 3], ids=["full", "a third missing"])
def test_scattered_points_get_their_indices_up_to_one_shift(rng, missing):
    shape = (200, 240)
    points, index = sites(BASIS, shape)
    kept = rng.random(len(points)) > missing
    points, index = points[kept] + rng.normal(0, 0.3, (kept.sum(), 2)), index[kept]
    (region,) = index_maxima(torch.tensor(points).float(), VECTORS, shape)
    assert len(region.member) == len(points)
    shift = region.index.numpy() - index
    assert (shift == shift[0]).all()


def test_a_distortion_of_many_periods_is_carried_along():
    shape = (400, 400)
    points, index = sites(BASIS, shape)
    bent = points + np.stack([0 * points[:, 0], 1.5e-4 * (points[:, 0] - 200) ** 2], axis=1)
    inside = ((bent > 1) & (bent < 398)).all(axis=1)
    (region,) = index_maxima(torch.tensor(bent[inside]).float(), VECTORS, shape)
    shift = region.index.numpy() - index[inside]
    assert len(region.member) > 0.99 * inside.sum()
    assert (shift == shift[0]).all()


def test_two_islands_are_two_regions_and_the_larger_comes_first():
    shape = (200, 400)
    points, _ = sites(BASIS, shape)
    first, second = points[:, 1] < 150, points[:, 1] > 300
    both = np.concatenate([points[second], points[first]])
    regions = index_maxima(torch.tensor(both).float(), VECTORS, shape)
    assert [len(region.member) for region in regions] == [first.sum(), second.sum()]


def test_random_points_belong_to_no_region(rng):
    points = torch.tensor(rng.uniform(1, 299, (3000, 2))).float()
    regions = index_maxima(points, VECTORS, (300, 300))
    assert sum(len(region.member) for region in regions) < 150


@pytest.mark.parametrize("grid", [(2, 2), (2, 5), (30, 20), (150, 130)], ids=str)
def test_a_slope_goes_on_beyond_the_tiles_that_are_known(grid):
    slope = np.stack(np.indices(grid), axis=-1).astype(np.float32) * [0.01, -0.02]
    known = np.zeros(grid, dtype=bool)
    known[: grid[0] // 2 + 1, :] = True
    assert np.abs(_bend(slope.astype(np.float32), known) - slope).max() < 0.05
    known[:] = False
    known[0, 0] = True
    assert np.isfinite(_bend(slope.astype(np.float32), known)).all()


@pytest.mark.parametrize("number", [(0, 1), (1, 0)], ids=["larger left", "larger right"])
@pytest.mark.parametrize("apart", [0.02, 0.4], ids=["in phase", "out of phase"])
def test_regions_that_touch_become_one_if_they_are_whole_periods_apart(number, apart):
    slope = np.stack(np.indices((6, 8)), axis=-1) * [0.01, -0.02]
    right = np.indices((6, 8))[1] >= 4
    region = np.where(right, number[1], number[0])
    offsets = slope + right[..., None] * np.array([2.0 + apart, -3.0])
    found, merged = _merge_in_phase(offsets.astype(np.float32), region)
    if apart > 0.3:
        assert np.array_equal(merged, region)
        return
    assert (merged == 0).all()
    step = np.diff(found, axis=1)
    assert np.abs(step - np.round(step)).max() < 0.05
    assert np.abs(np.round(step)).max() == 0
    kept = region == 0
    assert np.allclose(found[kept], offsets[kept])
