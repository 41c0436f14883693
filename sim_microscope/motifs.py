"""The 34 motifs: what a column and its three neighbours can be, up to rotation."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import Specimen
from drivers.contract.materials import doped_pairs, find_host
from sim_microscope.crystal import STATES, Crystal, States

_CHALCOGEN_STATES: tuple[States, ...] = ("X2", "X1top", "empty")
_METAL_STATES: tuple[States, ...] = ("metal", "dopant")


@dataclass(frozen=True)
class Motif:
    """A central column and its three neighbours, counter-clockwise.

    A single vacancy is `X1top`, as its image does not depend on the side beyond a fraction of a percent.
    """

    center: States
    neighbours: tuple[States, States, States]

    @property
    def name(self) -> str:
        """Short name in the notation of Dan et al.: for example ``"VacX_M-M-D"``."""
        short = {"metal": "M", "dopant": "D", "X2": "X2", "X1top": "VacX", "empty": "VacX2"}
        return f"{short[self.center]}_{'-'.join(short[state] for state in self.neighbours)}"


def _necklaces(states: tuple[States, ...]) -> list[tuple[States, States, States]]:
    """Arrangements of three neighbours up to rotation; mirror images count apart."""
    found: dict[tuple[int, ...], tuple[States, States, States]] = {}
    for arrangement in product(range(len(states)), repeat=3):
        canonical = min(arrangement[turn:] + arrangement[:turn] for turn in range(3))
        a, b, c = canonical
        found.setdefault(canonical, (states[a], states[b], states[c]))
    return list(found.values())


@cache
def all_motifs() -> tuple[Motif, ...]:
    """Every motif: around a chalcogen column metals and dopants, around those chalcogen columns."""
    motifs = [Motif(center, ring) for center in _CHALCOGEN_STATES for ring in _necklaces(_METAL_STATES)]
    motifs += [Motif(center, ring) for center in _METAL_STATES for ring in _necklaces(_CHALCOGEN_STATES)]
    return tuple(motifs)


def motif_crystal(specimen: Specimen, motif: Motif, repeats: int = 6) -> tuple[Crystal, NDArray[np.float64]]:
    """Motif in a periodic supercell of its host.

    Parameters
    ----------
    specimen : Specimen
        Host, with a dopant.
    motif : Motif
        Arrangement.
    repeats : int
        Primitive cells along each axis; even.

    Returns
    -------
    crystal : Crystal
        Columns of the supercell; the motif's centre comes first, its neighbours next.
    cell : ndarray of shape (2, 2)
        Supercell vectors, one a row, along (row, column) [Å].
    """
    a = find_host(specimen.host).lattice_constant_angstrom
    basis = np.array([[0.0, a], [a * np.sqrt(3) / 2, a / 2]])
    i, j = np.meshgrid(np.arange(repeats), np.arange(repeats), indexing="ij")
    metal = np.stack([i.ravel(), j.ravel()], axis=1) @ basis
    to_chalcogen = (basis[0] + basis[1]) / 3
    positions = np.concatenate([metal, metal + to_chalcogen])
    states = np.repeat([STATES.index("metal"), STATES.index("X2")], len(metal)).astype(np.uint8)
    cell = basis * repeats
    center_is_metal = motif.center in _METAL_STATES
    around = _neighbours(basis, center_is_metal)
    middle = positions[(repeats // 2) * repeats + repeats // 2 + (0 if center_is_metal else len(metal))]
    sites = [_site_at(positions, middle + step, cell) for step in (np.zeros(2), *around)]
    for site, state in zip(sites, (motif.center, *motif.neighbours), strict=True):
        states[site] = STATES.index(state)
    order = np.array(sites + [k for k in range(len(positions)) if k not in sites])
    return Crystal(specimen, positions[order], states[order], np.zeros(len(order), np.uint8)), cell


def _neighbours(basis: NDArray[np.float64], center_is_metal: bool) -> NDArray[np.float64]:
    """Vectors to the three nearest columns, counter-clockwise as an image shows them."""
    to_chalcogen = (basis[0] + basis[1]) / 3
    shell = np.array([to_chalcogen, to_chalcogen - basis[0], to_chalcogen - basis[1]])
    around = shell if center_is_metal else -shell
    return np.asarray(around[np.argsort(np.arctan2(-around[:, 0], around[:, 1]))])


def surroundings(center_is_metal: bool, reach: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Lattice around a column, in units of the lattice constant.

    Returns
    -------
    positions : ndarray of shape (n, 2)
        The centre, its three neighbours as in `Motif.neighbours`, then everything else within `reach`.
    is_metal : ndarray of shape (n,)
        Whether each is a metal site.
    """
    basis = np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]])
    count = int(np.ceil(reach * 1.2)) + 1
    i, j = np.meshgrid(np.arange(-count, count + 1), np.arange(-count, count + 1), indexing="ij")
    same = np.stack([i.ravel(), j.ravel()], axis=1) @ basis
    around = _neighbours(basis, center_is_metal)
    positions = np.concatenate([same, same + around[0]])
    is_metal = np.repeat([center_is_metal, not center_is_metal], len(same))
    first = np.concatenate([np.zeros((1, 2)), around])
    distance = np.linalg.norm(positions, axis=1)
    rest = (distance <= reach) & (np.linalg.norm(positions[:, None] - first, axis=2).min(axis=1) > 1e-6)
    order = np.concatenate([[center_is_metal], [not center_is_metal] * 3, is_metal[rest]])
    return np.concatenate([first, positions[rest]]), order.astype(bool)


def _site_at(positions: NDArray[np.float64], target: NDArray[np.float64], cell: NDArray[np.float64]) -> int:
    """Index of the column at a position, periodic images included."""
    fractional = (positions - target) @ np.linalg.inv(cell)
    fractional -= np.round(fractional)
    return int(np.argmin(np.linalg.norm(fractional @ cell, axis=1)))


def all_doped_motifs() -> Iterator[tuple[Specimen, Motif]]:
    """Every motif of every doped host, 96 x 34 of them."""
    for host, dopant in doped_pairs():
        for motif in all_motifs():
            yield Specimen(host=host, dopant=dopant), motif
