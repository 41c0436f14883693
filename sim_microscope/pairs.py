"""What two neighbouring columns add to the image beyond their sum: the interference of their waves.

The intensity behind two columns is |ψ0 + s1 + s2 + s12|², with s the wave that each scatters alone and
s12 what one scatters of the other's.  In an annular dark field the terms that the two columns' kernels
leave out are, to a tenth, the interference 2 Re(s1* s2).  It follows from the atoms' scattering
amplitudes by one integral over the aperture, and its thermal average is exact, because atoms that move
independently average each amplitude by its Debye-Waller factor.  So no multislice of pairs is needed;
`docs/decisions/0003-neighbours.md` holds the comparison.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

from drivers.contract.context import CONVERGENCE_MRAD, Detector
from drivers.contract.errors import MissingKernelError
from drivers.contract.materials import Host, dopants_of, find_host
from sim_microscope.kernels import check_annulus, read_arrays
from sim_microscope.scattering import (
    FREQUENCIES,
    rms_displacement_angstrom,
    scattering_amplitude,
    wavelength_angstrom,
)

#: Probe positions of a pair term [Å]: along the pair's axis from its middle, and away from the axis,
#: about which a pair term is symmetric.
ALONG_ANGSTROM = np.arange(-19, 20) * 0.25
ACROSS_ANGSTROM = np.arange(0, 14) * 0.25

#: Step of the grid on which pair terms are looked up [Å].
TERM_STEP_ANGSTROM = 0.0625

#: Detectors whose refined bases are kept, 2 MB each; whoever draws annuli at random would fill the memory.
_MOST_BASES = 8

#: Edges of the rings in which pair terms are kept [mrad].
PAIR_EDGES_MRAD = np.array([20, 25, 28, 30, 31, 32, 34, 36, 40, 45, 50, 60, 68, 85, 120, 150], np.float64)

#: Reciprocal cell of the integral [Å] and its largest angle [mrad]; interference beyond averages out.
_CELL_ANGSTROM = 16.0
_MAX_ANGLE_MRAD = 150.0


class Shell(IntEnum):
    """Neighbours whose interference counts."""

    BOND = 0
    """Metal and chalcogen columns, a/sqrt(3) apart."""
    LATTICE = 1
    """Two columns of one sublattice, a apart."""


@dataclass(frozen=True)
class Scatterer:
    """The atoms of one column, as far as interference needs them.

    Parameters
    ----------
    amplitude : ndarray of shape (frequencies,)
        Scattering amplitude of one atom at `FREQUENCIES` [Å²].
    heights_angstrom : tuple of float
        Heights of the atoms along the beam [Å].
    displacement_angstrom : float
        Root-mean-square thermal displacement per axis [Å]; 0 at rest.
    """

    amplitude: NDArray[np.complex64]
    heights_angstrom: tuple[float, ...]
    displacement_angstrom: float


class PairIntegral:
    """Interference of the waves of two columns, for probes on the grid of a pair term.

    Parameters
    ----------
    energy_kev : float
        Beam energy [keV].
    edges_mrad : ndarray of shape (rings + 1,)
        Edges of the detector rings [mrad].
    """

    def __init__(self, energy_kev: float, edges_mrad: NDArray[np.float64]):
        self._wavelength = wavelength_angstrom(energy_kev)
        reach = _MAX_ANGLE_MRAD * 1e-3 / self._wavelength
        self._scattered = _disc(reach)
        aperture = CONVERGENCE_MRAD * 1e-3 / self._wavelength
        disc = _disc(aperture + 1.0 / _CELL_ANGSTROM)
        radius = np.hypot(disc[:, 0], disc[:, 1])
        weight = np.clip((aperture - radius) * _CELL_ANGSTROM + 0.5, 0.0, 1.0)
        self._incident = disc[weight > 0]
        # An integral over the aperture: the cell's area element, and the norm of an infinite cell.
        self._difference = np.hypot(
            self._scattered[:, None, 0] - self._incident[None, :, 0],
            self._scattered[:, None, 1] - self._incident[None, :, 1],
        ).astype(np.float32)
        self._weight = weight[weight > 0] / _CELL_ANGSTROM**2 / np.sqrt(np.pi * aperture**2)
        angle = np.hypot(*self._scattered.T) * self._wavelength * 1e3
        width = self._wavelength * 1e3 / _CELL_ANGSTROM
        below = np.clip((edges_mrad[None] - angle[:, None]) / width + 0.5, 0.0, 1.0)
        self._rings = (np.diff(below, axis=1) / _CELL_ANGSTROM**2).astype(np.float32)
        across, along = np.meshgrid(ACROSS_ANGSTROM, ALONG_ANGSTROM, indexing="ij")
        self._probes = np.stack([across.ravel(), along.ravel()], axis=1)

    def wave(self, column: Scatterer, offset_angstrom: float) -> NDArray[np.complex64]:
        """Mean wave scattered by a column at an offset along the pair's axis, (frequencies, probes)."""
        place = self._probes - np.array([0.0, offset_angstrom])
        arrival = np.exp(-2j * np.pi * (self._incident @ place.T)) * self._weight[:, None]
        matrix = self._matrix(column)
        chirp = 1j * np.pi * self._wavelength
        wave = np.zeros((len(self._scattered), len(place)), np.complex64)
        for height in column.heights_angstrom:
            before = np.exp(-chirp * height * np.sum(self._incident**2, axis=1))
            after = np.exp(chirp * height * np.sum(self._scattered**2, axis=1))
            scattered = matrix @ (before[:, None] * arrival).astype(np.complex64)
            wave += after[:, None].astype(np.complex64) * scattered
        departure = np.exp(-2j * np.pi * self._scattered[:, 1] * offset_angstrom)
        return np.asarray(wave * departure[:, None].astype(np.complex64))

    def _matrix(self, column: Scatterer) -> NDArray[np.complex64]:
        """Amplitude from every incident into every scattered frequency, thermally averaged."""
        damping = np.exp(-2 * (np.pi * column.displacement_angstrom * FREQUENCIES) ** 2)
        mean = (column.amplitude * damping).astype(np.complex64)
        position = self._difference / FREQUENCIES[1]
        low = np.minimum(position.astype(np.int32), FREQUENCIES.size - 2)
        fraction = position - low
        return np.asarray(mean[low] * (1 - fraction) + mean[low + 1] * fraction)

    def term(self, first: NDArray[np.complex64], second: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Pair term in every ring, of shape (rings, across, along), from two columns' waves."""
        product = 2.0 * (first.real * second.real + first.imag * second.imag)
        shape = (self._rings.shape[1], ACROSS_ANGSTROM.size, ALONG_ANGSTROM.size)
        return np.asarray((self._rings.T @ product).reshape(shape), dtype=np.float32)


def _disc(radius: float) -> NDArray[np.float64]:
    """Frequencies (row, column) of a square grid within a radius [1/Å], of shape (n, 2)."""
    count = int(np.ceil(radius * _CELL_ANGSTROM))
    axis = np.arange(-count, count + 1) / _CELL_ANGSTROM
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    inside = np.hypot(rows, columns) <= radius
    return np.stack([rows[inside], columns[inside]], axis=1)


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


def save_pairs(table: PairTable, path: Any) -> None:
    """Write a table as `path` (npz) beside its card (`path` with the suffix .json)."""
    np.savez_compressed(
        path,
        keys=np.array(table.keys),
        energies_kev=np.array(table.energies_kev),
        coefficients=table.coefficients,
        basis=table.basis,
    )
    path.with_suffix(".json").write_text(json.dumps(table.card, indent=1) + "\n")


def load_pairs(path: Any) -> PairTable:
    """Read a table that `save_pairs` wrote.

    Raises
    ------
    MissingKernelError
        If the file is absent or was made for other rings.
    """
    if not path.is_file():
        raise MissingKernelError(f"no pair table at {path}; make one with `columnist kernels build`")
    arrays = read_arrays(path)
    expected = (PAIR_EDGES_MRAD.size - 1, ACROSS_ANGSTROM.size, ALONG_ANGSTROM.size)
    if arrays["basis"].shape[1:] != expected:
        raise MissingKernelError(
            f"pair table {path} has terms of shape {arrays['basis'].shape[1:]}, this code needs {expected}; "
            "make it again with `columnist kernels build`"
        )
    return PairTable(
        tuple(str(key) for key in arrays["keys"]),
        tuple(int(energy) for energy in arrays["energies_kev"]),
        arrays["coefficients"],
        arrays["basis"],
        json.loads(path.with_suffix(".json").read_text()),
    )


@cache
def default_pairs() -> PairTable:
    """Return the table that ships with the package."""
    return load_pairs(files("sim_microscope") / "data" / "pairs.npz")


def all_pair_keys(hosts: Sequence[str]) -> list[str]:
    """Names of every pair of some hosts with all their dopants."""
    return [pair_key(name, kind) for name in hosts for kind in pair_kinds(find_host(name), dopants_of(name))]
