"""What lies where patches of a lattice meet."""

from dataclasses import replace

import numpy as np
import pytest

from models.bonds import Sites
from models.boundary_columns import reach
from models.seams import one_grain, own_vectors

BOND = 5.0
A1, A2 = np.array([0.0, 1.0]), np.array([-np.sqrt(3) / 2, 0.5])  # 60 degrees apart
VECTORS = BOND * np.sqrt(3) * np.stack([A1, A2])


def honeycomb(reach_px: float = 60.0) -> Sites:
    """One grain around the origin: sublattice 1 lies a third of the way against a1 + a2 from sublattice 0."""
    index = np.argwhere(np.ones((41, 41))) - 20
    first = index @ VECTORS
    places = np.concatenate([first, first - VECTORS.sum(axis=0) / 3])
    sublattice = np.repeat([0, 1], len(first))
    inside = (np.abs(places) < reach_px).all(axis=1)
    return Sites(places[inside], sublattice[inside], np.zeros(inside.sum(), dtype=np.int64), VECTORS[None])


def test_bonds_lead_from_column_to_column():
    sites = honeycomb()
    middle = (np.abs(sites.maxima) < 40).all(axis=1).nonzero()[0]
    bonds = sites.bonds(sites.grain[middle], sites.sublattice[middle])
    ends = (sites.maxima[middle, None] + bonds).reshape(-1, 2)
    apart = np.linalg.norm(sites.maxima - ends[:, None], axis=2)
    assert sites.bond_px == pytest.approx(BOND)
    assert np.linalg.norm(bonds, axis=2) == pytest.approx(BOND)
    assert apart.min(axis=1).max() < 1e-9
    assert (sites.sublattice[apart.argmin(axis=1)] == 1 - np.repeat(sites.sublattice[middle], 3)).all()


@pytest.mark.parametrize("swap", [0, 1])
@pytest.mark.parametrize("turns", [0, 1, 4])
def test_two_pieces_of_one_grain_are_one_whichever_vectors_and_sublattices_they_have(swap, turns):
    sites = honeycomb()
    right = sites.maxima[:, 1] > 3
    vectors = VECTORS
    for _ in range(turns):  # by 60 degrees, which lets bonds of sublattice 0 be those of 1
        vectors = np.stack([vectors[1], vectors[1] - vectors[0]])
    named = np.where(right, sites.sublattice ^ swap, sites.sublattice)
    two = Sites(sites.maxima, named, right.astype(np.int64), np.stack([VECTORS, vectors]))
    bright = np.where(sites.sublattice == 0, 1.0, 0.4).astype(np.float32)
    whole, swapped = one_grain(two, right.astype(np.int64), bright)
    if (turns + swap) % 2:  # then bonds point into hexagons
        assert whole.tolist() == [0, 1]
    else:
        assert whole.tolist() == [0, 0]
        assert swapped.tolist() == [0, swap]


def test_grains_whose_sublattices_change_places_are_two_though_their_bonds_go_on():
    sites = honeycomb()
    right = sites.maxima[:, 1] > 3
    two = replace(sites, grain=right.astype(np.int64), vectors=np.stack([VECTORS, VECTORS]))
    bright = np.where((sites.sublattice == 0) ^ right, 1.0, 0.7).astype(np.float32)
    assert one_grain(two, right.astype(np.int64), bright)[0].tolist() == [0, 1]
    assert one_grain(two, right.astype(np.int64), np.ones_like(bright))[0].tolist() == [0, 0]


def test_grains_that_are_turned_are_two(rng):
    sites = honeycomb()
    right = sites.maxima[:, 1] > 3
    angle = np.deg2rad(8)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = np.where(right[:, None], sites.maxima @ turn.T, sites.maxima)
    two = Sites(places, sites.sublattice, right.astype(np.int64), np.stack([VECTORS, VECTORS @ turn.T]))
    bright = np.ones(len(places), dtype=np.float32)
    assert one_grain(two, right.astype(np.int64), bright)[0].tolist() == [0, 1]


def test_rows_between_are_reached_and_amorphous_matter_is_not(rng):
    sites = honeycomb(120.0)
    shape = (400, 400)
    sites = replace(sites, maxima=sites.maxima + 200)
    gap = np.abs(sites.maxima[:, 1] - 200) < 12
    known = Sites(sites.maxima[~gap], sites.sublattice[~gap], sites.grain[~gap], VECTORS[None])
    bright = np.where(known.sublattice == 0, 1.0, 0.4).astype(np.float32)
    rows = sites.maxima[gap] + rng.normal(0, 0.05 * BOND, (gap.sum(), 2))
    response = np.where(sites.sublattice[gap] == 0, 1.0, 0.4).astype(np.float32)
    found, grain, sublattice, bonded = reach(known, bright, rows, response, shape)
    inner = np.abs(rows[:, 0] - 200) < 100  # at the ends there is vacuum on one side
    assert np.isin(inner.nonzero()[0], found).all()
    assert (grain == 0).all()
    assert (sublattice == sites.sublattice[gap][found]).all()
    assert bonded[inner[found]].all()

    places = rng.uniform((90, 188), (310, 212), (4000, 2))
    kept = [0]
    for k in range(1, len(places)):  # as far apart as columns are
        if np.linalg.norm(places[kept] - places[k], axis=1).min() > 0.8 * BOND:
            kept.append(k)
    found, *_ = reach(known, bright, places[kept], np.ones(len(kept), dtype=np.float32), shape)
    assert len(found) < 0.1 * len(kept)


def test_nothing_is_reached_for_beyond_an_edge():
    sites = honeycomb(100.0)
    shape = (400, 400)
    sites = replace(sites, maxima=sites.maxima + 200)
    half = sites.maxima[:, 1] < 200
    known = Sites(sites.maxima[half], sites.sublattice[half], sites.grain[half], VECTORS[None])
    bright = np.ones(half.sum(), dtype=np.float32)
    beyond = sites.maxima[~half & (sites.maxima[:, 1] < 215)]
    found, *_ = reach(known, bright, beyond, np.ones(len(beyond), dtype=np.float32), shape)
    assert len(found) < 0.1 * len(beyond)


def turn(angle_deg: float) -> np.ndarray:
    angle = np.deg2rad(angle_deg)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize(("along", "is_one"), [(0.0, True), (0.2, True), (0.45, False)])
def test_pieces_whose_bonds_miss_each_other_are_two(along, is_one):
    sites = honeycomb()
    right = sites.maxima[:, 1] > 3
    moved = sites.maxima + np.outer(right, [along * BOND, 0])
    two = Sites(moved, sites.sublattice, right.astype(np.int64), np.stack([VECTORS, VECTORS]))
    whole, _ = one_grain(two, right.astype(np.int64), np.ones(len(moved), dtype=np.float32))
    assert (whole.tolist() == [0, 0]) == is_one


@pytest.mark.parametrize(("width", "is_one"), [(80, False), (16, True)], ids=["grain", "sliver"])
def test_a_short_seam_does_not_join_grains_of_other_vectors_but_takes_in_a_sliver(width, is_one):
    sites = honeycomb(90.0)
    near = (np.abs(sites.maxima[:, 0]) < 18) & (sites.maxima[:, 1] < width)
    places, sublattice = sites.maxima[near], sites.sublattice[near]
    right = (places[:, 1] > 3).astype(np.int64)
    places = np.where(right[:, None] == 1, places @ turn(3.5).T, places)
    two = Sites(places, sublattice, right, np.stack([VECTORS, VECTORS @ turn(3.5).T]))
    whole, _ = one_grain(two, right, np.ones(len(places), dtype=np.float32))
    assert (whole.tolist() == [0, 0]) == is_one


def test_grains_of_one_patch_that_are_turned_get_vectors_of_their_own():
    sites = honeycomb()
    right = (sites.maxima[:, 1] > 0).astype(np.int64)
    places = np.where(right[:, None] == 1, sites.maxima @ turn(-3).T, sites.maxima @ turn(3).T)
    two = Sites(places, sites.sublattice, right, np.stack([VECTORS, VECTORS]))
    left_own, right_own = own_vectors(two)
    assert left_own == pytest.approx(VECTORS @ turn(3).T, abs=0.01 * BOND)
    assert right_own == pytest.approx(VECTORS @ turn(-3).T, abs=0.01 * BOND)
    alike = replace(two, maxima=sites.maxima)
    assert np.array_equal(own_vectors(alike), alike.vectors)


def cut_at(gap: np.ndarray, sites: Sites) -> tuple[Sites, np.ndarray, np.ndarray]:
    """Sites without those in a gap, their brightness, and that of those in it."""
    known = Sites(sites.maxima[~gap], sites.sublattice[~gap], sites.grain[~gap], sites.vectors)
    bright = np.where(sites.sublattice == 0, 1.0, 0.4).astype(np.float32)
    return known, bright[~gap], bright[gap]


@pytest.mark.parametrize("side", range(4))
def test_rows_at_an_edge_of_the_frame_are_reached(side):
    shape = (160, 140)
    sites = honeycomb(85.0)
    sites = replace(sites, maxima=sites.maxima + 75)
    inside = ((sites.maxima > 2) & (sites.maxima < np.array(shape) - 3)).all(axis=1)
    sites = Sites(sites.maxima[inside], sites.sublattice[inside], sites.grain[inside], VECTORS[None])
    row, column = sites.maxima.T
    gap = [row < 14, row > shape[0] - 15, column < 14, column > shape[1] - 15][side]
    known, bright, response = cut_at(gap, sites)
    found, *_ = reach(known, bright, sites.maxima[gap], response, shape)
    assert len(found) > 0.85 * gap.sum()


def test_maxima_too_dim_for_their_sublattice_or_too_near_to_a_column_are_none():
    sites = honeycomb(100.0)
    sites = replace(sites, maxima=sites.maxima + 200)
    gap = (np.abs(sites.maxima[:, 1] - 200) < 10) & (np.abs(sites.maxima[:, 0] - 200) < 60)
    known, bright, response = cut_at(gap, sites)
    dim = np.full_like(response, 0.3)  # of what the dimmer sublattice has 0.4, the brighter one 1
    assert len(reach(known, bright, sites.maxima[gap], response, (400, 400))[0]) == gap.sum()
    assert 0 not in reach(known, bright, sites.maxima[gap], dim, (400, 400))[2]
    inner = (np.abs(known.maxima - 200) < 60).all(axis=1)
    beside = known.maxima[inner] + [0.25 * BOND, 0]
    assert not len(reach(known, bright, beside, bright[inner], (400, 400))[0])


def test_one_column_alone_is_one_between_two_grains_and_noise_within_one():
    sites = honeycomb(60.0)
    sites = replace(sites, maxima=sites.maxima + 100)
    gap = np.arange(len(sites.maxima)) == np.linalg.norm(sites.maxima - 100, axis=1).argmin()
    right = (sites.maxima[:, 1] > 100).astype(np.int64)
    two = Sites(sites.maxima, sites.sublattice, right, np.stack([VECTORS, VECTORS]))
    for of, number in ((sites, 0), (two, 1)):
        known, bright, response = cut_at(gap, of)
        found, _, sublattice, bonded = reach(known, bright, of.maxima[gap], response, (200, 200))
        assert len(found) == number
        assert (sublattice == of.sublattice[gap][found]).all()
        assert not bonded.any()  # its bonds lead into both grains
