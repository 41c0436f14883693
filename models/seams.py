"""Where patches of a lattice meet: which grains of theirs are pieces of one.

A grain that is turned against the mean lattice may be followed in pieces.  They are put together from column
to column: from every site, the three bonds of its sublattice say where the next ones stand.
"""

import numpy as np
from numpy.typing import NDArray

from models.bonds import NEAR, Sites

#: Two patches are one grain if they touch at so many columns, this part of the contacts are bonds, and their
#: mean lattice vectors differ by no more than this part of their length: 2.6 degrees.  What has fewer columns
#: than `_SLIVER` lies on a boundary, and its vectors say little.
_LEAST_CONTACTS, _ONE_GRAIN, _ALIKE, _SLIVER = 4, 0.7, 0.045, 60

#: Difference of a grain's sublattices, over their sum, from which on it tells which is which.
_EXCHANGED = 0.03

#: Bonds of each direction that tell a grain's own vectors, and how far those must be from the patch's, in
#: parts of their length, to be preferred: a mean is the more exact one.
_LEAST_BONDS, _OTHER = 5, 0.02


def own_vectors(sites: Sites) -> NDArray[np.float64]:
    """Lattice vectors of each grain by itself, (G, 2, 2) [px].

    Grains of one patch have the mean vectors of the patch.  Where they are turned against each other, those
    are nobody's; a grain whose bonds differ from them gets the ones that its bonds tell, in the median.
    """
    pairs = sites.neighbours()
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
    pairs = sites.neighbours()
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
    level = sites.levels(bright)
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
    return sites.off_bonds_px(of, step) < NEAR * sites.bond_px
