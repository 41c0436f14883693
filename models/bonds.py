"""Columns of a lattice and the bonds between them, by which one leads to the next; on the CPU."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from models.lattice import Lattice

#: A column stands where a bond says if it is no further from there than this part of it.  A fifth of the
#: columns of grains that have nothing to do with each other does so.
NEAR = 0.3

#: Longest distance of neighbours, in bonds.
BESIDE = 1.35


@dataclass(frozen=True)
class Sites:
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

    @cached_property
    def tree(self) -> cKDTree:
        """For who looks for the sites near a place."""
        return cKDTree(self.maxima, balanced_tree=False, compact_nodes=False)

    def neighbours(self) -> NDArray[np.intp]:
        """Pairs of sites beside each other, (P, 2)."""
        pairs: NDArray[np.intp] = cKDTree(self.maxima).query_pairs(
            BESIDE * self.bond_px, output_type="ndarray"
        )
        return pairs

    def bonds(self, grain: NDArray[np.int64], sublattice: NDArray[np.int64]) -> NDArray[np.float64]:
        """The three bonds of columns of such grains and sublattices (K,), shape (K, 3, 2) [px]."""
        first, second = self.vectors[:, 0], self.vectors[:, 1]
        along = -(first + second) / 3  # from sublattice 0 to sublattice 1
        three = np.stack([along, along + first, along + second], axis=1)
        bonds: NDArray[np.float64] = three[grain] * (1 - 2 * sublattice)[:, None, None]
        return bonds

    def off_bonds_px(self, of: NDArray[np.int64], step: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far steps (K, 2) from sites (K,) end from the nearest of their bonds, (K,) [px]."""
        bonds = self.bonds(self.grain[of], self.sublattice[of])
        miss: NDArray[np.float64] = np.linalg.norm(bonds - step[:, None], axis=2).min(axis=1)
        return miss

    def levels(self, bright: NDArray[np.float32]) -> NDArray[np.float32]:
        """Median brightness of the columns of every grain and sublattice, (G, 2), of that of all, (S,).

        Infinite where there are none.
        """
        level = np.full((len(self.vectors), 2), np.inf, dtype=np.float32)
        for grain, sublattice in np.ndindex(level.shape):
            of = bright[(self.grain == grain) & (self.sublattice == sublattice)]
            of = of[~np.isnan(of)]
            if len(of):
                level[grain, sublattice] = np.median(of)
        return level
