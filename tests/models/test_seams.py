"""What lies where patches of a lattice meet."""

from dataclasses import replace

import numpy as np
import pytest

from models.bonds import Sites
from models.boundary_columns import reach
from models.seams import one_grain

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
