"""A monolayer without edges: every column follows from its lattice site and a seed, whenever it is asked for.

A field of view anywhere on the specimen sees the same columns, however often and in whatever order
the stage visits it; only what the beam has changed is remembered.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import Specimen
from drivers.contract.errors import InputError
from drivers.contract.materials import find_host
from sim_microscope.crystal import STATES, Crystal, DefectConcentrations

#: Sites are numbered within this many cells of the origin along each lattice vector: some 300 µm.
_CELLS = 1 << 20

_METAL, _DOPANT = STATES.index("metal"), STATES.index("dopant")
_X2, _TOP, _BOTTOM, _EMPTY = (STATES.index(state) for state in ("X2", "X1top", "X1bottom", "empty"))


@dataclass(frozen=True)
class Region:
    """The columns of a part of the specimen, and which sites they stand on.

    Parameters
    ----------
    crystal : Crystal
        Columns, in specimen coordinates (row, column) [Å].
    sites : ndarray of shape (n,), int64
        Number of each column's lattice site, the same in every region.
    """

    crystal: Crystal
    sites: NDArray[np.int64]


@dataclass(eq=False)
class EndlessCrystal:
    """A monolayer that is made where it is looked at.

    Parameters
    ----------
    specimen : Specimen
        Host and dopant.
    rotation_deg : float
        Rotation of the lattice, from the column axis towards the row axis.
    concentrations : DefectConcentrations
        Defects at random sites.
    seed : int
        Decides every site; 0 or more.
    """

    specimen: Specimen
    rotation_deg: float
    concentrations: DefectConcentrations
    seed: int
    _changed: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.concentrations.dopant > 0 and self.specimen.dopant is None:
            raise InputError(
                f"a dopant concentration of {self.concentrations.dopant:g} needs a specimen with a dopant"
            )

    def region(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Region:
        """Columns in a box.

        Parameters
        ----------
        low, high : ndarray of shape (2,)
            Lowest and highest (row, column) [Å].
        """
        host = find_host(self.specimen.host)
        angle = np.deg2rad(self.rotation_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        basis = np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]]) @ turn * host.lattice_constant_angstrom
        corners = np.array([[r, c] for r in (low[0], high[0]) for c in (low[1], high[1])])
        indices = corners @ np.linalg.inv(basis)
        first, last = np.floor(indices.min(0)).astype(int) - 1, np.ceil(indices.max(0)).astype(int) + 1
        if max(np.abs(first).max(), np.abs(last).max()) >= _CELLS:
            raise InputError("the stage has left the specimen")
        i, j = np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1), indexing="ij")
        cells = np.stack([i.ravel(), j.ravel()], axis=1)
        metal = cells @ basis
        # The chalcogens stand in the middle of every other triangle of metals.
        positions = np.concatenate([metal, metal + (basis[0] + basis[1]) / 3])
        number = ((cells[:, 0] + _CELLS) * (2 * _CELLS) + cells[:, 1] + _CELLS) * 2
        sites = np.concatenate([number, number + 1])
        inside = np.all((positions >= low) & (positions <= high), axis=1)
        positions, sites = positions[inside], sites[inside]
        grains = np.zeros(len(sites), np.uint8)
        return Region(Crystal(self.specimen, positions, self._states(sites), grains), sites)

    def change(self, sites: NDArray[np.int64], states: NDArray[np.uint8]) -> None:
        """Put other states at sites, from now on."""
        self._changed.update(zip(sites.tolist(), states.tolist(), strict=True))

    @property
    def changed(self) -> dict[int, int]:
        """Sites that were changed, with their present state."""
        return dict(self._changed)

    def _states(self, sites: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Present state of every site."""
        draw, side = uniform(sites, self.seed), uniform(sites, self.seed + (1 << 32))
        amounts = self.concentrations
        is_metal = sites % 2 == 0
        states = np.where(is_metal, _METAL, _X2)
        states[is_metal & (draw < amounts.dopant)] = _DOPANT
        single = ~is_metal & (draw < amounts.vac1)
        states[single] = np.where(side[single] < 0.5, _TOP, _BOTTOM)
        states[~is_metal & ~single & (draw < amounts.vac1 + amounts.vac2)] = _EMPTY
        if self._changed:
            changed = np.fromiter(self._changed, np.int64, len(self._changed))
            present = np.fromiter(self._changed.values(), np.int64, len(self._changed))
            order = np.argsort(changed)
            found = np.minimum(np.searchsorted(changed, sites, sorter=order), len(changed) - 1)
            hit = changed[order[found]] == sites
            states[hit] = present[order[found[hit]]]
        return states.astype(np.uint8)


def uniform(numbers: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Reproducible uniform number in [0, 1) for every integer (SplitMix64; Steele et al., 2014).

    The same number and seed give the same value on every machine (10.1145/2660193.2660195).
    """
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64(seed % 2**63) * np.uint64(0xD1342543DE82EF95)
        mixed += np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)
