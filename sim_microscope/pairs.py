"""The table of pair terms: which neighbours there are in a doped host, and what each pair adds.

Read from the shipped table; `sim_microscope.pair_build` makes it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from drivers.contract.context import Detector
from drivers.contract.errors import MissingKernelError
from drivers.contract.materials import Host, dopants_of, find_host
from sim_microscope.interference import ACROSS_ANGSTROM, ALONG_ANGSTROM
from sim_microscope.kernels import DATA_FOLDER, sum_rings
from sim_microscope.table_files import read_arrays, require_shapes, write_arrays

#: Step of the grid on which pair terms are looked up [Å].
TERM_STEP_ANGSTROM = 0.0625

#: Detectors whose refined bases are kept, 2 MB each; whoever draws annuli at random would fill the memory.
_MOST_BASES = 8

#: Edges of the rings in which pair terms are kept [mrad].
PAIR_EDGES_MRAD = np.array([20, 25, 28, 30, 31, 32, 34, 36, 40, 45, 50, 60, 68, 85, 120, 150], np.float64)


class Shell(IntEnum):
    """Neighbours whose interference counts."""

    BOND = 0
    """Metal and chalcogen columns, a/sqrt(3) apart."""
    LATTICE = 1
    """Two columns of one sublattice, a apart."""
    OPPOSITE = 2
    """Metal and chalcogen columns on opposite corners of a hexagon, 2a/sqrt(3) apart."""


#: Distances of the shells in lattice constants.
SHELL_DISTANCES = {Shell.BOND: 3**-0.5, Shell.LATTICE: 1.0, Shell.OPPOSITE: 2 * 3**-0.5}


def pair_kinds(host: Host, dopants: Sequence[str]) -> list[tuple[Shell, str, str]]:
    """Kinds of pairs in a doped host: shell and the contents of the two columns.

    Contents are an element for a metal site, ``"X2"``, ``"X1top"`` or ``"X1bottom"`` for a chalcogen
    site; a metal and a chalcogen in this order, and of two columns of one sublattice the first in this
    order.
    """
    metals, chalcogens = [host.metal, *dopants], ["X2", "X1top", "X1bottom"]
    mixed = (Shell.BOND, Shell.OPPOSITE)
    kinds = [(shell, metal, state) for shell in mixed for metal in metals for state in chalcogens]
    lattice = [(host.metal, host.metal)]
    lattice += [pair for dopant in dopants for pair in ((host.metal, dopant), (dopant, dopant))]
    lattice += [(first, second) for i, first in enumerate(chalcogens) for second in chalcogens[i:]]
    return kinds + [(Shell.LATTICE, first, second) for first, second in lattice]


def shell_distance_angstrom(host: Host, shell: Shell) -> float:
    """Distance between the two columns of a pair [Å]."""
    return host.lattice_constant_angstrom * SHELL_DISTANCES[shell]


def pair_key(host_name: str, kind: tuple[Shell, str, str]) -> str:
    """Name of a pair term in a table."""
    shell, first, second = kind
    return f"{host_name} {shell.name.lower()} {first} {second}"


def site_contents(host: Host, dopants: Sequence[str]) -> list[str]:
    """Contents of a doped host's columns, as in `pair_kinds`."""
    return [host.metal, *dopants, "X2", "X1top", "X1bottom"]


def site_key(host_name: str, content: str) -> str:
    """Name of a column in a table of pair terms."""
    return f"{host_name} {content}"


@dataclass(frozen=True, eq=False)
class PairTable:
    """Pair terms of many hosts and energies, as sums over a common basis.

    Parameters
    ----------
    keys : tuple of str
        Names, see `pair_key`.
    energies_kev : tuple of int
        Beam energies.
    coefficients : ndarray of shape (keys, energies, rank)
        Weights of the basis.
    basis : ndarray of shape (rank, rings, across, along)
        Basis of the pair terms.
    site_keys : tuple of str
        Names of columns, see `site_key`.
    remainders : ndarray of shape (site_keys, energies, rings)
        What each column's pairs add beyond their terms, integrated over the plane [Å²].
    card : dict
        How the table was made.
    """

    keys: tuple[str, ...]
    energies_kev: tuple[int, ...]
    coefficients: NDArray[np.float32]
    basis: NDArray[np.floating[Any]]
    site_keys: tuple[str, ...]
    remainders: NDArray[np.float32]
    card: dict[str, Any]

    def terms(
        self, host_name: str, kinds: Sequence[tuple[Shell, str, str]], energy_kev: float, detector: Detector
    ) -> NDArray[np.float32]:
        """Pair terms on a detector, as fractions of the incident intensity.

        Returns
        -------
        ndarray of shape (kinds, across, along)
            On a grid of `TERM_STEP_ANGSTROM`.

        Raises
        ------
        MissingKernelError
            If a pair, the energy or the annulus is not in the table.
        """
        keys = [pair_key(host_name, kind) for kind in kinds]
        self._require(host_name, keys, self._rows, energy_kev)
        rows = [self._rows[key] for key in keys]
        weights = self.coefficients[rows, self.energies_kev.index(int(energy_kev))]
        return np.tensordot(weights, self._basis_on(detector), axes=1)

    def remainder(self, host_name: str, content: str, energy_kev: float, detector: Detector) -> float:
        """What a column's pairs add beyond their terms on a detector, integrated over the plane [Å²].

        Raises
        ------
        MissingKernelError
            As `terms`.
        """
        key = site_key(host_name, content)
        self._require(host_name, [key], self.site_keys, energy_kev)
        rings = self.remainders[self.site_keys.index(key), self.energies_kev.index(int(energy_kev))]
        return float(sum_rings(rings, PAIR_EDGES_MRAD, detector))

    def _require(
        self, host_name: str, keys: Sequence[str], known: Collection[str], energy_kev: float
    ) -> None:
        """Raise `MissingKernelError` unless all keys and the energy are in the table."""
        missing = [key for key in keys if key not in known]
        if missing or energy_kev not in self.energies_kev:
            possible = ", ".join(f"{energy:g}" for energy in self.energies_kev)
            raise MissingKernelError(
                f"no pair term {(missing or keys)[0]!r} at {energy_kev:g} keV; the table holds "
                f"{len(self.keys)} pairs at {possible} keV; make it with `columnist kernels build "
                f"--host {host_name} --energy-kev {energy_kev:g} --table FOLDER`"
            )

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Index of every key."""
        return {key: index for index, key in enumerate(self.keys)}

    @cached_property
    def _bases(self) -> dict[Detector, NDArray[np.float32]]:
        """Bases of the detectors seen last, `_MOST_BASES` at most."""
        return {}

    def _basis_on(self, detector: Detector) -> NDArray[np.float32]:
        """Basis summed over a detector's rings and refined to `TERM_STEP_ANGSTROM`, (rank, across, along)."""
        if detector not in self._bases:
            while len(self._bases) >= _MOST_BASES:
                del self._bases[next(iter(self._bases))]
            rings = np.moveaxis(self.basis.astype(np.float64), 1, 0)
            self._bases[detector] = _refine(sum_rings(rings, PAIR_EDGES_MRAD, detector))
        return self._bases[detector]


def _refine(terms: NDArray[np.float64]) -> NDArray[np.float32]:
    """Terms (n, across, along) on a grid of `TERM_STEP_ANGSTROM`, by splines mirrored at the pair's axis."""
    across = np.concatenate([-ACROSS_ANGSTROM[:0:-1], ACROSS_ANGSTROM])
    rows = CubicSpline(across, np.concatenate([terms[:, :0:-1], terms], axis=1), axis=1)
    fine = rows(np.arange(0.0, across[-1] + TERM_STEP_ANGSTROM / 2, TERM_STEP_ANGSTROM))
    along = np.arange(ALONG_ANGSTROM[0], ALONG_ANGSTROM[-1] + TERM_STEP_ANGSTROM / 2, TERM_STEP_ANGSTROM)
    return np.asarray(CubicSpline(ALONG_ANGSTROM, fine, axis=2)(along), dtype=np.float32)


def save_pairs(table: PairTable, path: Path) -> None:
    """Write a table as `path` (npz) beside its card (`path` with the suffix .json)."""
    write_arrays(
        path,
        table.card,
        keys=np.array(table.keys),
        energies_kev=np.array(table.energies_kev),
        coefficients=table.coefficients,
        basis=table.basis,
        site_keys=np.array(table.site_keys),
        remainders=table.remainders,
    )


def load_pairs(path: Path) -> PairTable:
    """Read a table that `save_pairs` wrote.

    Raises
    ------
    MissingKernelError
        If a file is absent or altered, or was made for other rings.
    """
    names = ("keys", "energies_kev", "coefficients", "basis", "site_keys", "remainders")
    card, arrays = read_arrays(path, names)
    rank = arrays["basis"].shape[0] if arrays["basis"].ndim else 0
    energies, rings = len(arrays["energies_kev"]), PAIR_EDGES_MRAD.size - 1
    require_shapes(
        path,
        arrays,
        basis=(rank, rings, ACROSS_ANGSTROM.size, ALONG_ANGSTROM.size),
        coefficients=(len(arrays["keys"]), energies, rank),
        remainders=(len(arrays["site_keys"]), energies, rings),
    )
    return PairTable(
        tuple(str(key) for key in arrays["keys"]),
        tuple(int(energy) for energy in arrays["energies_kev"]),
        arrays["coefficients"],
        arrays["basis"],
        tuple(str(key) for key in arrays["site_keys"]),
        arrays["remainders"],
        card,
    )


@cache
def default_pairs() -> PairTable:
    """Return the table that ships with the package."""
    return load_pairs(DATA_FOLDER / "pairs.npz")


def all_site_keys(hosts: Sequence[str]) -> list[str]:
    """Names of every column of some hosts with all their dopants."""
    return [
        site_key(name, content)
        for name in hosts
        for content in site_contents(find_host(name), dopants_of(name))
    ]


def all_pair_keys(hosts: Sequence[str]) -> list[str]:
    """Names of every pair of some hosts with all their dopants."""
    return [pair_key(name, kind) for name in hosts for kind in pair_kinds(find_host(name), dopants_of(name))]
