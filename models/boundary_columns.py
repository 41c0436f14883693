"""Columns between the patches of a lattice, on grain boundaries and beside them.

Tiles that both sides of a grain boundary share belong to neither lattice, so patches end some rows before it.
The columns there are reached for from column to column, as pieces of grains are put together
(`models.seams`).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from models.bonds import BESIDE, NEAR, Sites

#: Rounds in which columns are reached for, one row each.
_ROWS = 4

#: No column is nearer to another than this part of the bond.
_APART = 0.6

#: A maximum is a column of a sublattice if it is brighter than this part of its median there.
_BRIGHT = 0.5

#: Distance [bonds] and number of the columns by which it is told whether a maximum lies between columns or
#: beyond them, and the widest angle without any: 180 degrees at a straight edge.
_FAR, _AROUND, _WIDEST = 6.0, 90, math.radians(150)

#: Of maxima that lie together, so many and this part must be columns: noise adds single ones, and a fifth of
#: those of amorphous matter would be.  One alone is enough where two grains are no further than this [bonds].
_LEAST_TOGETHER, _TOGETHER, _BOTH = 3, 0.5, 2.5


def reach(
    sites: Sites,
    bright: NDArray[np.float32],
    places: NDArray[np.float64],
    response: NDArray[np.float32],
    shape: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Find the columns between sites that no patch has reached.

    Parameters
    ----------
    sites : Sites
        Those that stand on maxima.
    bright : ndarray of shape (S,)
        Response of these.
    places : ndarray of shape (K, 2)
        The other maxima, (row, column) [px].
    response : ndarray of shape (K,)
        Theirs.
    shape : tuple of int
        Of the frame.

    Returns
    -------
    column : ndarray of shape (N,)
        Which of the other maxima are columns.
    grain, sublattice : ndarray of shape (N,)
        What they continue.
    bonded : ndarray of shape (N,)
        Whether all three bonds of a column lead to columns of its grain: it lies beside no boundary.
    """
    level = sites.levels(bright)
    free = _candidates(sites, level, places, response, shape)
    if not len(free):
        none = np.zeros(0, dtype=np.int64)
        return none, none, none, none.astype(np.bool_)
    grain, sublattice = np.full(len(free), -1), np.zeros(len(free), dtype=np.int64)
    grown = sites
    for _ in range(_ROWS):
        left = (grain < 0).nonzero()[0]
        new, kind = _continued(grown, places[free[left]])
        fits = (new >= 0) & (response[free[left]] > _BRIGHT * level[new, kind])
        if not fits.any():
            break
        left = left[fits]
        grain[left], sublattice[left] = new[fits], kind[fits]
        grown = Sites(
            np.concatenate([grown.maxima, places[free[left]]]),
            np.concatenate([grown.sublattice, kind[fits]]),
            np.concatenate([grown.grain, new[fits]]),
            sites.vectors,
        )
    found = _are_together(places[free], grain >= 0, sites.bond_px)
    found |= (grain >= 0) & _is_between_grains(sites, places[free])
    column, grain, sublattice = free[found], grain[found], sublattice[found]
    return column, grain, sublattice, _are_bonded(grown, places[column], grain, sublattice)


def _candidates(
    sites: Sites,
    level: NDArray[np.float32],
    places: NDArray[np.float64],
    response: NDArray[np.float32],
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    """Which maxima (K,) are bright enough, on no site, led on to by bonds, and between columns; (F,)."""
    free: NDArray[np.int64] = (response > _BRIGHT * level.min()).nonzero()[0]
    if not len(free):
        return free
    free = free[sites.tree.query(places[free])[0] > _APART * sites.bond_px]
    free = free[_lead_on(sites, level, places[free], response[free])]
    free = free[_is_between(sites, places[free], shape)]
    return free


def _lead_on(
    sites: Sites,
    level: NDArray[np.float32],
    places: NDArray[np.float64],
    response: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Whether maxima at places (K, 2) hang together with one to which a bond leads; most noise does not."""
    grain, sublattice = _continued(sites, places)
    fits = (grain >= 0) & (response > _BRIGHT * level[grain, sublattice])
    if not fits.any():
        return fits
    group = _groups(places, sites.bond_px)
    leads: NDArray[np.bool_] = np.isin(group, group[fits])
    return leads


def _groups(places: NDArray[np.float64], bond_px: float) -> NDArray[np.int32]:
    """Number of the group of neighbours that each of places (K, 2) is in."""
    pairs = cKDTree(places).query_pairs(BESIDE * bond_px, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(places), len(places)))
    group: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return group


def _is_between_grains(sites: Sites, places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether columns of two grains lie around places (K, 2)."""
    number = len(sites.vectors)
    if number == 1 or not len(places):
        return np.zeros(len(places), dtype=np.bool_)
    apart = np.stack(
        [cKDTree(sites.maxima[sites.grain == k]).query(places)[0] for k in range(number)], axis=1
    )
    second: NDArray[np.float64] = np.partition(apart, 1, axis=1)[:, 1]
    return second < _BOTH * sites.bond_px


def _are_bonded(
    sites: Sites, places: NDArray[np.float64], grain: NDArray[np.int64], sublattice: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether all bonds of columns at places (K, 2) lead to columns of the same grain."""
    ends = places[:, None] + sites.bonds(grain, sublattice)
    apart, at = sites.tree.query(ends)
    are_bonds = (apart < NEAR * sites.bond_px) & (sites.grain[at] == grain[:, None])
    bonded: NDArray[np.bool_] = are_bonds.all(axis=1)
    return bonded


def _are_together(places: NDArray[np.float64], found: NDArray[np.bool_], bond_px: float) -> NDArray[np.bool_]:
    """Which of places (K, 2) that are found to be columns lie among others that are."""
    if not found.any():
        return found
    group = _groups(places, bond_px)
    many = np.bincount(group, found)
    are_enough = (many >= _LEAST_TOGETHER) & (many >= _TOGETHER * np.bincount(group))
    lies: NDArray[np.bool_] = found & are_enough[group]
    return lies


def _continued(sites: Sites, places: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The grain (K,) and sublattice (K,) that most bonds give to places (K, 2), -1 if there is no bond."""
    bond = sites.bond_px
    reach, near = sites.tree.query(places, k=4, distance_upper_bound=BESIDE * bond)
    row, _ = (reach < np.inf).nonzero()
    of = near[reach < np.inf]
    miss = sites.off_bonds_px(of, places[row] - sites.maxima[of]) / bond
    kinds = 2 * len(sites.vectors)
    votes = np.zeros((len(places), kinds))
    kind = 2 * sites.grain[of] + 1 - sites.sublattice[of]
    np.add.at(votes, (row, kind), np.where(miss < NEAR, 1 - miss, 0.0))
    best = votes.argmax(axis=1)
    return np.where(votes.max(axis=1) > 0, best // 2, -1), best % 2


def _is_between(sites: Sites, places: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether places (K, 2) have columns, or the edge of the frame, on all sides."""
    reach = _FAR * sites.bond_px
    apart, near = sites.tree.query(places, k=_AROUND, distance_upper_bound=reach)
    known = apart < np.inf
    step = sites.maxima[np.where(known, near, 0)] - places[:, None]
    angle = np.where(known, np.arctan2(step[..., 0], step[..., 1]), np.nan)
    edges = [
        np.where(beyond < reach, side, np.nan)
        for beyond, side in (
            (places[:, 0], -np.pi / 2),
            (shape[0] - 1 - places[:, 0], np.pi / 2),
            (places[:, 1], np.pi),
            (shape[1] - 1 - places[:, 1], 0.0),
        )
    ]
    seen = np.sort(np.column_stack([angle, *edges]), axis=1)  # what is not comes last
    whole = seen[:, :1] + 2 * np.pi
    gaps = np.diff(np.column_stack([np.where(np.isnan(seen), whole, seen), whole]), axis=1)
    widest: NDArray[np.float64] = gaps.max(axis=1)
    return widest < _WIDEST
