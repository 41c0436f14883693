"""Make the table of pair terms: every pair of neighbours of a doped host, and what the terms leave out."""

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from drivers.contract.materials import Host, find_host
from sim_microscope.interference import Atom, PairIntegral, averaged_atom
from sim_microscope.pairs import (
    PAIR_EDGES_MRAD,
    PairTable,
    Shell,
    pair_key,
    pair_kinds,
    shell_distance_angstrom,
    site_contents,
)
from sim_microscope.remainders import PlaneIntegral, captured, lattice_sum, site_remainders
from sim_microscope.scattering import rms_displacement_angstrom
from sim_microscope.splat import SUPPORT_ANGSTROM

#: Atoms of a chalcogen column.
_PARTS = {"X2": ("X1top", "X1bottom")}


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
    integral, atoms = (
        PairIntegral(energy_kev, PAIR_EDGES_MRAD),
        content_atoms(host, dopants, energy_kev, thermal),
    )

    # Neighbours in `pair_kinds` share atoms, and a wave takes some 50 MB: keep the last few.
    @lru_cache(maxsize=6)
    def wave(content: str, offset: float) -> NDArray[np.complex64]:
        return integral.wave(atoms[content], offset)

    @lru_cache(maxsize=4)
    def echoes(content: str, offset: float) -> list[NDArray[np.complex64]]:
        return integral.echo(atoms[content], offset)

    @cache
    def term(shell: Shell, first: str, second: str) -> NDArray[np.float32]:
        half = shell_distance_angstrom(host, shell) / 2
        early, late = (first, -half), (second, half)
        together = integral.interference(wave(*early), wave(*late), 2 * half)
        if atoms[first].height_angstrom > atoms[second].height_angstrom:
            early, late = late, early
        return together + integral.double(wave(*early), echoes(*late))

    kinds = pair_kinds(host, dopants)
    terms = [
        sum(
            term(shell, one, two)
            for one in _PARTS.get(first, (first,))
            for two in _PARTS.get(second, (second,))
        )
        for shell, first, second in kinds
    ]
    return [pair_key(host_name, kind) for kind in kinds], np.array(terms)


def content_atoms(host: Host, dopants: Sequence[str], energy_kev: float, thermal: bool) -> dict[str, Atom]:
    """Atoms that the columns of a doped host are made of, by content (`pair_kinds`)."""
    half = host.thickness_angstrom / 2
    places = {symbol: (symbol, 0.0) for symbol in (host.metal, *dopants)}
    places |= {"X1top": (host.chalcogen, -half), "X1bottom": (host.chalcogen, half)}
    return {
        content: averaged_atom(
            symbol, energy_kev, height, rms_displacement_angstrom(symbol) if thermal else 0.0
        )
        for content, (symbol, height) in places.items()
    }


def compute_remainders(
    host_name: str,
    dopants: Sequence[str],
    energy_kev: float,
    terms: NDArray[np.float32],
    *,
    thermal: bool = True,
) -> NDArray[np.float32]:
    """What pair terms leave out, by column.

    Parameters
    ----------
    host_name, dopants, energy_kev, thermal
        As in `compute_pairs`.
    terms : ndarray of shape (kinds, rings, across, along)
        Its pair terms.

    Returns
    -------
    ndarray of shape (contents, rings)
        Integrals over the plane [Å²], in the order of `site_contents`.
    """
    host, contents = find_host(host_name), site_contents(find_host(host_name), dopants)
    atoms = content_atoms(host, dopants, energy_kev, thermal)
    plane = PlaneIntegral(energy_kev, PAIR_EDGES_MRAD)
    sums = {
        same: lattice_sum(host.lattice_constant_angstrom, same, plane.frequency) for same in (True, False)
    }
    kinds = pair_kinds(host, dopants)
    whole = dict(zip(kinds, (captured(term, SUPPORT_ANGSTROM) for term in terms), strict=True))
    whole |= {(shell, second, first): value for (shell, first, second), value in whole.items()}

    def of_pair(content: str, neighbour: str, same: bool) -> NDArray[np.float64]:
        every = sum(
            plane(atoms[one], atoms[two], sums[same])
            for one in _PARTS.get(content, (content,))
            for two in _PARTS.get(neighbour, (neighbour,))
        )
        shells = {Shell.LATTICE: 6} if same else {Shell.BOND: 3, Shell.OPPOSITE: 3}
        return np.asarray(every - sum(n * whole[shell, content, neighbour] for shell, n in shells.items()))

    others = [content for content in contents if content not in (host.metal, "X2")]
    found = site_remainders(of_pair, host.metal, others)
    return np.array([found[content] for content in contents], np.float32)


def compress_pairs(
    keys: Sequence[str],
    energies_kev: Sequence[int],
    terms: NDArray[np.float32],
    site_keys: Sequence[str],
    remainders: NDArray[np.float32],
    *,
    rank: int,
) -> PairTable:
    """Write pair terms (keys, energies, rings, across, along) as sums over a basis of a given rank.

    Remainders (site_keys, energies, rings) stay as they are.
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
        tuple(site_keys),
        remainders,
        {"rank": int(keep.shape[1]), "relative_rms_error": float(error)},
    )
