"""The table of pair terms: which neighbours there are in a doped host, and what each pair adds.

`sim_microscope.interference` is the physics; here it is gathered for every host, compressed and read back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

from drivers.contract.context import Detector
from drivers.contract.errors import MissingKernelError
from drivers.contract.materials import Host, dopants_of, find_host
from sim_microscope.interference import ACROSS_ANGSTROM, ALONG_ANGSTROM, PairIntegral, Scatterer
from sim_microscope.kernels import DATA_FOLDER, check_annulus
from sim_microscope.scattering import (
    rms_displacement_angstrom,
    scattering_amplitude,
)
from sim_microscope.table_files import read_arrays, write_arrays

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


def pair_kinds(host: Host, dopants: Sequence[str]) -> list[tuple[Shell, str, str]]:
    """Kinds of pairs in a doped host: shell and the contents of the two columns.

    Contents are an element for a metal site, ``"X2"``, ``"X1top"`` or ``"X1bottom"`` for a chalcogen
    site; a bond begins at the metal, and of two columns of one sublattice the first in this order.
    """
    metals, chalcogens = [host.metal, *dopants], ["X2", "X1top", "X1bottom"]
    kinds = [(Shell.BOND, metal, state) for metal in metals for state in chalcogens]
    lattice = [(host.metal, host.metal)]
    lattice += [pair for dopant in dopants for pair in ((host.metal, dopant), (dopant, dopant))]
    lattice += [(first, second) for i, first in enumerate(chalcogens) for second in chalcogens[i:]]
    return kinds + [(Shell.LATTICE, first, second) for first, second in lattice]


def shell_distance_angstrom(host: Host, shell: Shell) -> float:
    """Distance between the two columns of a pair [Å]."""
    a = host.lattice_constant_angstrom
    return a / float(np.sqrt(3)) if shell is Shell.BOND else a


def pair_key(host_name: str, kind: tuple[Shell, str, str]) -> str:
    """Name of a pair term in a table."""
    shell, first, second = kind
    return f"{host_name} {shell.name.lower()} {first} {second}"


def compute_pairs(
    host_name: str, dopants: Sequence[str], energy_kev: float, *, thermal: bool = True
) -> tuple[list[str], NDArray[np.float32]]:
    """Pair terms of a doped host.

    Parameters
    ----------
    host_name : str
        Host.
    dopants : sequence of str
        Its dopants.
    energy_kev : float
        Beam energy [keV].
    thermal : bool
        Whether atoms move as at 300 K.

    Returns
    -------
    keys : list of str
        Names, see `pair_key`.
    terms : ndarray of shape (kinds, rings, across, along)
        Addends of the intensity in every ring of `PAIR_EDGES_MRAD`, the first column at negative
        positions along the axis.
    """
    host = find_host(host_name)
    integral = PairIntegral(energy_kev, PAIR_EDGES_MRAD)
    half = host.thickness_angstrom / 2
    heights = {"X2": (-half, half), "X1top": (-half,), "X1bottom": (half,)}

    @cache
    def wave(content: str, offset: float) -> NDArray[np.complex64]:
        element = host.chalcogen if content in heights else content
        motion = rms_displacement_angstrom(element) if thermal else 0.0
        amplitude = scattering_amplitude(element, energy_kev).astype(np.complex64)
        return integral.wave(Scatterer(amplitude, heights.get(content, (0.0,)), motion), offset)

    keys, terms = [], []
    for shell, first, second in pair_kinds(host, dopants):
        distance = shell_distance_angstrom(host, shell)
        keys.append(pair_key(host_name, (shell, first, second)))
        terms.append(integral.term(wave(first, -distance / 2), wave(second, distance / 2)))
    return keys, np.array(terms)


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
    card : dict
        How the table was made.
    """

    keys: tuple[str, ...]
    energies_kev: tuple[int, ...]
    coefficients: NDArray[np.float32]
    basis: NDArray[np.floating[Any]]
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
        missing = [key for key in keys if key not in self._rows]
        if missing or energy_kev not in self.energies_kev:
            possible = ", ".join(f"{energy:g}" for energy in self.energies_kev)
            raise MissingKernelError(
                f"no pair term {(missing or keys)[0]!r} at {energy_kev:g} keV; the table holds "
                f"{len(self.keys)} pairs at {possible} keV; make it with `columnist kernels build "
                f"--host {host_name} --energy-kev {energy_kev:g} --table FOLDER`"
            )
        rows = [self._rows[key] for key in keys]
        weights = self.coefficients[rows, self.energies_kev.index(int(energy_kev))]
        return np.tensordot(weights, self._on_detector(detector), axes=1)

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Index of every key."""
        return {key: index for index, key in enumerate(self.keys)}

    @cached_property
    def _bases(self) -> dict[Detector, NDArray[np.float32]]:
        """Bases of the detectors seen last, `_MOST_BASES` at most."""
        return {}

    def _on_detector(self, detector: Detector) -> NDArray[np.float32]:
        """Basis summed over a detector's rings and refined to `TERM_STEP_ANGSTROM`, (rank, across, along)."""
        if detector not in self._bases:
            check_annulus(detector)
            rings = self.basis.astype(np.float64)
            cumulative = np.concatenate([np.zeros_like(rings[:, :1]), np.cumsum(rings, axis=1)], axis=1)
            at_edges = PchipInterpolator(PAIR_EDGES_MRAD, cumulative, axis=1)
            low, high = (min(a, PAIR_EDGES_MRAD[-1]) for a in (detector.inner_mrad, detector.outer_mrad))
            while len(self._bases) >= _MOST_BASES:
                del self._bases[next(iter(self._bases))]
            self._bases[detector] = _refine(at_edges(high) - at_edges(low))
        return self._bases[detector]


def _refine(terms: NDArray[np.float64]) -> NDArray[np.float32]:
    """Terms (n, across, along) on a grid of `TERM_STEP_ANGSTROM`, by splines mirrored at the pair's axis."""
    across = np.concatenate([-ACROSS_ANGSTROM[:0:-1], ACROSS_ANGSTROM])
    rows = CubicSpline(across, np.concatenate([terms[:, :0:-1], terms], axis=1), axis=1)
    fine = rows(np.arange(0.0, across[-1] + TERM_STEP_ANGSTROM / 2, TERM_STEP_ANGSTROM))
    along = np.arange(ALONG_ANGSTROM[0], ALONG_ANGSTROM[-1] + TERM_STEP_ANGSTROM / 2, TERM_STEP_ANGSTROM)
    return np.asarray(CubicSpline(ALONG_ANGSTROM, fine, axis=2)(along), dtype=np.float32)


def compress_pairs(
    keys: Sequence[str], energies_kev: Sequence[int], terms: NDArray[np.float32], *, rank: int
) -> PairTable:
    """Write pair terms (keys, energies, rings, across, along) as sums over a basis of a given rank.

    The card records the root-mean-square error relative to the terms' own root mean square.
    """
    flat = terms.reshape(-1, int(np.prod(terms.shape[2:])))
    gram = flat.astype(np.float64) @ flat.T.astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    keep = vectors[:, np.argsort(values)[::-1][:rank]]
    basis = keep.T @ flat
    error = np.linalg.norm(flat - keep @ basis) / np.linalg.norm(flat)
    # Half precision needs its range: the basis carries unit size, the coefficients the scale.
    scale = np.abs(basis).max(axis=1)
    shape = (len(keys), len(energies_kev), keep.shape[1])
    return PairTable(
        tuple(keys),
        tuple(energies_kev),
        (keep * scale).reshape(shape).astype(np.float32),
        (basis / scale[:, None]).reshape(-1, *terms.shape[2:]).astype(np.float16),
        {"rank": int(keep.shape[1]), "relative_rms_error": float(error)},
    )


def save_pairs(table: PairTable, path: Path) -> None:
    """Write a table as `path` (npz) beside its card (`path` with the suffix .json)."""
    write_arrays(
        path,
        table.card,
        keys=np.array(table.keys),
        energies_kev=np.array(table.energies_kev),
        coefficients=table.coefficients,
        basis=table.basis,
    )


def load_pairs(path: Path) -> PairTable:
    """Read a table that `save_pairs` wrote.

    Raises
    ------
    MissingKernelError
        If a file is absent or altered, or was made for other rings.
    """
    card, arrays = read_arrays(path, ("keys", "energies_kev", "coefficients", "basis"))
    rank = arrays["basis"].shape[0] if arrays["basis"].ndim else 0
    shapes = {
        "basis": (rank, PAIR_EDGES_MRAD.size - 1, ACROSS_ANGSTROM.size, ALONG_ANGSTROM.size),
        "coefficients": (len(arrays["keys"]), len(arrays["energies_kev"]), rank),
    }
    for name, expected in shapes.items():
        if arrays[name].shape != expected:
            raise MissingKernelError(
                f"pair table {path} has {name} of shape {arrays[name].shape}, this code needs {expected}; "
                "make it again with `columnist kernels build`"
            )
    return PairTable(
        tuple(str(key) for key in arrays["keys"]),
        tuple(int(energy) for energy in arrays["energies_kev"]),
        arrays["coefficients"],
        arrays["basis"],
        card,
    )


@cache
def default_pairs() -> PairTable:
    """Return the table that ships with the package."""
    return load_pairs(DATA_FOLDER / "pairs.npz")


def all_pair_keys(hosts: Sequence[str]) -> list[str]:
    """Names of every pair of some hosts with all their dopants."""
    return [pair_key(name, kind) for name in hosts for kind in pair_kinds(find_host(name), dopants_of(name))]
