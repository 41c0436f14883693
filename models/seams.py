"""Where patches of a lattice meet: pieces of one grain are put together, and columns in between are found.

Tiles that both sides of a grain boundary share belong to neither lattice, so patches end some rows before it.
And a grain that is turned against the mean lattice may be followed in pieces.  Both are mended here, from
column to column: from every site, the three bonds of its sublattice say where the next ones stand.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from models.lattice import Lattice

#: A column stands where a bond says if it is no further from there than this part of it.  A fifth of the
#: columns of grains that have nothing to do with each other does so.
_NEAR = 0.3

#: Longest distance of neighbours, in bonds.
_BESIDE = 1.35

#: Two patches are one grain if they touch at so many columns, this part of the contacts are bonds, and their
#: mean lattice vectors differ by no more than this part of their length: 2.6 degrees.  What has fewer columns
#: than `_SLIVER` lies on a boundary, and its vectors say little.
_LEAST_CONTACTS, _ONE_GRAIN, _ALIKE, _SLIVER = 4, 0.7, 0.045, 60

#: Difference of a grain's sublattices, over their sum, from which on it tells which is which.
_EXCHANGED = 0.03

#: Bonds of each direction that tell a grain's own vectors, and how far those must be from the patch's, in
#: parts of their length, to be preferred: a mean is the more exact one.
_LEAST_BONDS, _OTHER = 5, 0.02

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


class Sites(NamedTuple):
    """Sites of a lattice, S of them in G grains; as in `models.lattice.Lattice`.

    Parameters
    ----------
    maxima : ndarray of shape (S, 2)
    sublattice, grain : ndarray of shape (S,)
    vectors : ndarray of shape (G, 2, 2)
    """

    maxima: NDArray[np.float64]
    sublattice: NDArray[np.int64]
    grain: NDArray[np.int64]
    vectors: NDArray[np.float64]

    @classmethod
    def of(cls, lattice: Lattice) -> "Sites":
        """Of a lattice on any device."""
        of_sites = (lattice.maxima.double(), lattice.sublattice, lattice.grain, lattice.vectors.double())
        return cls(*(values.cpu().numpy() for values in of_sites))

    @property
    def bond_px(self) -> float:
        """Distance of neighbours in the first grain [px]."""
        return math.sqrt(2 * abs(float(np.linalg.det(self.vectors[0]))) / math.sqrt(3) / 3)

    def bonds(self, grain: NDArray[np.int64], sublattice: NDArray[np.int64]) -> NDArray[np.float64]:
        """The three bonds of columns of such grains and sublattices (K,), shape (K, 3, 2) [px]."""
        first, second = self.vectors[:, 0], self.vectors[:, 1]
        along = -(first + second) / 3  # from sublattice 0 to sublattice 1
        three = np.stack([along, along + first, along + second], axis=1)
        bonds: NDArray[np.float64] = three[grain] * (1 - 2 * sublattice)[:, None, None]
        return bonds


def own_vectors(sites: Sites) -> NDArray[np.float64]:
    """Lattice vectors of each grain by itself, (G, 2, 2) [px].

    Grains of one patch have the mean vectors of the patch.  Where they are turned against each other, those
    are nobody's; a grain whose bonds differ from them gets the ones that its bonds tell, in the median.
    """
    pairs = cKDTree(sites.maxima).query_pairs(_BESIDE * sites.bond_px, output_type="ndarray")
    first, second = np.where((sites.sublattice[pairs[:, 0]] == 0)[:, None], pairs, pairs[:, ::-1]).T
    are_bonds = (sites.grain[first] == sites.grain[second]) & (
        sites.sublattice[first] < sites.sublattice[second]
    )
    first, second = first[are_bonds], second[are_bonds]
    step = sites.maxima[second] - sites.maxima[first]
    bonds = sites.bonds(sites.grain[first], sites.sublattice[first])
    which = np.linalg.norm(bonds - step[:, None], axis=2).argmin(axis=1)
    vectors = sites.vectors.copy()
    for number, old in enumerate(sites.vectors):
        own = sites.grain[first] == number
        three = [step[own & (which == k)] for k in range(3)]
        if min(len(one) for one in three) >= _LEAST_BONDS:
            along, to_first, to_second = (np.median(one, axis=0) for one in three)
            new = np.stack([to_first - along, to_second - along])
            if np.linalg.norm(new - old, axis=1).max() > _OTHER * np.linalg.norm(old, axis=1).max():
                vectors[number] = new
    return vectors


def one_grain(
    sites: Sites, patch: NDArray[np.int64], bright: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which grains of different patches are pieces of one.

    Parameters
    ----------
    sites : Sites
    patch : ndarray of shape (S,)
        Patch of each site; grains of one patch are told apart already.
    bright : ndarray of shape (S,)
        Response of the maximum that each stands on; NaN if there is none.

    Returns
    -------
    whole : ndarray of shape (G,)
        Number of the first grain that each is a piece of; its own, if it is whole.
    swapped : ndarray of shape (G,)
        1 where sublattices 0 and 1 have each other's place there, else 0.
    """
    number = len(sites.vectors)
    whole, swapped = np.arange(number), np.zeros(number, dtype=np.int64)
    pairs = cKDTree(sites.maxima).query_pairs(_BESIDE * sites.bond_px, output_type="ndarray")
    pairs = pairs[patch[pairs[:, 0]] != patch[pairs[:, 1]]]
    if len(pairs) < _LEAST_CONTACTS:
        return whole, swapped
    is_lower = sites.grain[pairs[:, 0]] < sites.grain[pairs[:, 1]]
    first, second = np.where(is_lower[:, None], pairs, pairs[:, ::-1]).T
    step = sites.maxima[second] - sites.maxima[first]
    is_bond = _is_bond(sites, first, step) & _is_bond(sites, second, -step)
    is_swap = sites.sublattice[first] == sites.sublattice[second]
    one, other = sites.grain[first], sites.grain[second]
    size = np.bincount(sites.grain, minlength=number)
    level = _levels(sites, bright)
    for a, b in sorted({*zip(one.tolist(), other.tolist(), strict=True)}):
        first_of, second_of = whole[a], whole[b]
        is_sliver = min(size[first_of], size[second_of]) < _SLIVER
        if not (is_sliver or _are_alike(sites.vectors[first_of], sites.vectors[second_of])):
            continue
        here = (one == a) & (other == b)
        contacts = len(np.unique(first[here]))
        for swap in (0, 1):
            if _are_exchanged(level[a], level[b][:: 1 - 2 * swap]):
                continue
            bonded = len(np.unique(first[here & is_bond & (is_swap == swap)]))
            if contacts < _LEAST_CONTACTS or bonded < _ONE_GRAIN * contacts or whole[a] == whole[b]:
                continue
            turn = swap ^ swapped[a] ^ swapped[b]
            piece, into = whole == max(whole[a], whole[b]), min(whole[a], whole[b])
            swapped[piece] ^= turn
            whole[piece], size[into] = into, size[first_of] + size[second_of]
    return whole, swapped


def _are_exchanged(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether the sublattices of two grains, of such levels (2,), differ the other way round.

    Where they do, hexagons may go on across a mirror twin or an inversion boundary all the same.
    """
    one, other = (float(level[0] - level[1]) / float(level.sum()) for level in (first, second))
    return one * other < 0 and min(abs(one), abs(other)) > _EXCHANGED


def _are_alike(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether two pairs of vectors (2, 2), 60 degrees apart, span one lattice, whichever come first."""
    a1, a2 = second
    six = np.array([[a1, a2], [a2, a2 - a1], [a2 - a1, -a1], [-a1, -a2], [-a2, a1 - a2], [a1 - a2, a1]])
    apart = np.linalg.norm(six - first, axis=2).max(axis=1).min()
    return bool(apart < _ALIKE * np.linalg.norm(first, axis=1).max())


def _is_bond(sites: Sites, of: NDArray[np.int64], step: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether steps (K, 2) from sites (K,) are bonds of theirs."""
    bonds = sites.bonds(sites.grain[of], sites.sublattice[of])
    miss: NDArray[np.float64] = np.linalg.norm(bonds - step[:, None], axis=2).min(axis=1)
    return miss < _NEAR * sites.bond_px


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
    level, none = _levels(sites, bright), np.zeros(0, dtype=np.int64)
    free = (response > _BRIGHT * level.min()).nonzero()[0]
    if not len(free):
        return none, none, none, np.zeros(0, dtype=np.bool_)
    tree = cKDTree(sites.maxima, balanced_tree=False, compact_nodes=False)
    free = free[tree.query(places[free])[0] > _APART * sites.bond_px]
    free = free[_lead_on(sites, tree, level, places[free], response[free])] if len(free) else free
    free = free[_is_between(sites, tree, places[free], shape)] if len(free) else free
    if not len(free):
        return none, none, none, np.zeros(0, dtype=np.bool_)
    grain, sublattice = np.full(len(free), -1), np.zeros(len(free), dtype=np.int64)
    grown = sites
    for _ in range(_ROWS):
        left = (grain < 0).nonzero()[0]
        new, kind = _continued(grown, tree, places[free[left]])
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
        tree = cKDTree(grown.maxima)
    found = _are_together(places[free], grain >= 0, sites.bond_px)
    found |= (grain >= 0) & _is_between_grains(sites, places[free])
    column, grain, sublattice = free[found], grain[found], sublattice[found]
    return column, grain, sublattice, _are_bonded(grown, places[column], grain, sublattice)


def _lead_on(
    sites: Sites,
    tree: cKDTree,
    level: NDArray[np.float32],
    places: NDArray[np.float64],
    response: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Whether maxima at places (K, 2) hang together with one to which a bond leads; most noise does not."""
    grain, sublattice = _continued(sites, tree, places)
    fits = (grain >= 0) & (response > _BRIGHT * level[grain, sublattice])
    if not fits.any():
        return fits
    group = _groups(places, sites.bond_px)
    leads: NDArray[np.bool_] = np.isin(group, group[fits])
    return leads


def _groups(places: NDArray[np.float64], bond_px: float) -> NDArray[np.int32]:
    """Number of the group of neighbours that each of places (K, 2) is in."""
    pairs = cKDTree(places).query_pairs(_BESIDE * bond_px, output_type="ndarray")
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
    apart, at = cKDTree(sites.maxima).query(ends)
    are_bonds = (apart < _NEAR * sites.bond_px) & (sites.grain[at] == grain[:, None])
    bonded: NDArray[np.bool_] = are_bonds.all(axis=1)
    return bonded


def _levels(sites: Sites, bright: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median response of the columns of every grain and sublattice, (G, 2); infinite where there are none."""
    level = np.full((len(sites.vectors), 2), np.inf, dtype=np.float32)
    for grain, sublattice in np.ndindex(level.shape):
        of = bright[(sites.grain == grain) & (sites.sublattice == sublattice)]
        of = of[~np.isnan(of)]
        if len(of):
            level[grain, sublattice] = np.median(of)
    return level


def _are_together(places: NDArray[np.float64], found: NDArray[np.bool_], bond_px: float) -> NDArray[np.bool_]:
    """Which of places (K, 2) that are found to be columns lie among others that are."""
    if not found.any():
        return found
    group = _groups(places, bond_px)
    many = np.bincount(group, found)
    are_enough = (many >= _LEAST_TOGETHER) & (many >= _TOGETHER * np.bincount(group))
    lies: NDArray[np.bool_] = found & are_enough[group]
    return lies


def _continued(
    sites: Sites, tree: cKDTree, places: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The grain (K,) and sublattice (K,) that most bonds give to places (K, 2), -1 if there is no bond."""
    bond = sites.bond_px
    reach, near = tree.query(places, k=4, distance_upper_bound=_BESIDE * bond)
    row, _ = (reach < np.inf).nonzero()
    of = near[reach < np.inf]
    step = places[row] - sites.maxima[of]
    bonds = sites.bonds(sites.grain[of], sites.sublattice[of])
    miss = np.linalg.norm(bonds - step[:, None], axis=2).min(axis=1) / bond
    kinds = 2 * len(sites.vectors)
    votes = np.zeros((len(places), kinds))
    kind = 2 * sites.grain[of] + 1 - sites.sublattice[of]
    np.add.at(votes, (row, kind), np.where(miss < _NEAR, 1 - miss, 0.0))
    best = votes.argmax(axis=1)
    return np.where(votes.max(axis=1) > 0, best // 2, -1), best % 2


def _is_between(
    sites: Sites, tree: cKDTree, places: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Whether places (K, 2) have columns, or the edge of the frame, on all sides."""
    reach = _FAR * sites.bond_px
    apart, near = tree.query(places, k=_AROUND, distance_upper_bound=reach)
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
