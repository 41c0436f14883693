"""Images of the 34 motifs of a context: patches as the literature trains on, from the same kernels."""

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numba
import numpy as np
from numpy.typing import NDArray

from drivers.contract.materials import HOSTS, find_host
from sim_microscope.crystal import STATES
from sim_microscope.field import REACH_ANGSTROM, FieldKernels
from sim_microscope.kernels import (
    PROFILE_POINTS,
    PROFILE_STEP_ANGSTROM,
    column_profiles,
    vacuum_intensity,
)
from sim_microscope.motifs import all_motifs, surroundings
from sim_microscope.pairs import SHELL_DISTANCES, TERM_STEP_ANGSTROM, Shell
from sim_microscope.splat import SUPPORT_ANGSTROM, look_up

#: The centre and its three neighbours, which differ between motifs.
_VARIABLE = 4


@numba.njit(cache=True, fastmath=True)
def _add_columns(
    image: NDArray[np.float64],
    pixels: NDArray[np.float64],
    sites: NDArray[np.float64],
    profiles: NDArray[np.float64],
    which: NDArray[np.int64],
    step: float,
) -> None:
    """Add radial profiles of columns, linearly interpolated; `which` below 0 adds nothing."""
    for s in range(sites.shape[0]):
        if which[s] < 0:
            continue
        profile = profiles[which[s]]
        for p in range(pixels.shape[0]):
            row, column = pixels[p, 0] - sites[s, 0], pixels[p, 1] - sites[s, 1]
            position = np.sqrt(row * row + column * column) / step
            low = int(position)
            if low + 1 < profile.size:
                image[p] += profile[low] + (position - low) * (profile[low + 1] - profile[low])


@numba.njit(cache=True, fastmath=True)
def _add_terms(
    image: NDArray[np.float64],
    pixels: NDArray[np.float64],
    sites: NDArray[np.float64],
    states: NDArray[np.int64],
    pairs: NDArray[np.int64],
    terms: NDArray[np.float32],
    kinds: NDArray[np.int64],
    step: float,
) -> None:
    """Add the terms of listed pairs (first, second, shell) of sites."""
    center = (terms.shape[2] - 1) / 2
    for k in range(pairs.shape[0]):
        first, second, shell = pairs[k, 0], pairs[k, 1], pairs[k, 2]
        kind = kinds[shell, states[first], states[second]]
        if kind < 0:
            first, second = second, first
            kind = kinds[shell, states[first], states[second]]
        if kind < 0:
            continue
        term = terms[kind]
        row, column = sites[second, 0] - sites[first, 0], sites[second, 1] - sites[first, 1]
        length = np.hypot(row, column)
        row, column = row / length / step, column / length / step
        for p in range(pixels.shape[0]):
            dr = pixels[p, 0] - 0.5 * (sites[first, 0] + sites[second, 0])
            dc = pixels[p, 1] - 0.5 * (sites[first, 1] + sites[second, 1])
            if dr * dr + dc * dc < SUPPORT_ANGSTROM * SUPPORT_ANGSTROM:
                image[p] += look_up(term, abs(dr * column - dc * row), dr * row + dc * column + center)


@numba.njit(cache=True)
def _fill(
    images: NDArray[np.float64],
    pixels: NDArray[np.float64],
    sites: NDArray[np.float64],
    states: NDArray[np.int64],
    alone: NDArray[np.int64],
    pairs: NDArray[np.int64],
    ends: NDArray[np.int64],
    profiles: NDArray[np.float64],
    profile_step: float,
    terms: NDArray[np.float32],
    kinds: NDArray[np.int64],
    term_step: float,
) -> None:
    """Add to each part's image its column, if it has one (`alone`), and its pairs."""
    for p in range(images.shape[0]):
        if alone[p] >= 0:
            own = slice(alone[p], alone[p] + 1)
            _add_columns(images[p], pixels, sites[own], profiles, states[p, own], profile_step)
        if terms.shape[0]:
            listed = pairs[ends[p] : ends[p + 1]]
            _add_terms(images[p], pixels, sites, states[p], listed, terms, kinds, term_step)


def _pairs(sites: NDArray[np.float64], is_metal: NDArray[np.bool_], patch: float) -> NDArray[np.int64]:
    """Neighbours (first, second, shell) near the patch; of a bond the metal is first."""
    close = np.flatnonzero(np.linalg.norm(sites, axis=1) < patch)
    found = []
    for k, first in enumerate(close):
        for second in close[k + 1 :]:
            distance = np.linalg.norm(sites[first] - sites[second])
            same = is_metal[first] == is_metal[second]
            for shell, expected in SHELL_DISTANCES.items():
                if abs(distance - expected) < 1e-6 and same == (shell is Shell.LATTICE):
                    swap = not same and not is_metal[first]
                    found.append((second, first, shell) if swap else (first, second, shell))
    return np.array(found, np.int64)


@dataclass(frozen=True)
class _Plan:
    """Lattice around a column, and the parts that its motifs are sums of.

    A part is one variable column in one state, with its pairs with the host around; or two variable
    columns in two states: the pair of them.  Motifs share most of theirs.

    Parameters
    ----------
    sites : ndarray of shape (n, 2)
        Lattice in units of a, the motif first.
    host : ndarray of shape (n,), int
        State of every site in the perfect host.
    fixed : ndarray of shape (k, 3), int
        Pairs (first, second, shell) that no motif touches.
    members : list of int
        Motifs with this centre, as indices into `all_motifs`.
    states : ndarray of shape (parts, n), int
        State of every site, -1 for an empty column.
    alone : ndarray of shape (parts,), int
        The site whose column the part adds, or -1.
    pairs, ends : ndarray of shape (l, 3) and (parts + 1,), int
        Pairs of all parts, and where each part's begin.
    holds : ndarray of shape (members, parts)
        1 where a motif holds a part.
    """

    sites: NDArray[np.float64]
    host: NDArray[np.int64]
    fixed: NDArray[np.int64]
    members: list[int]
    states: NDArray[np.int64]
    alone: NDArray[np.int64]
    pairs: NDArray[np.int64]
    ends: NDArray[np.int64]
    holds: NDArray[np.float64]


@cache
def _plan(center_is_metal: bool) -> _Plan:
    """Lattice far enough for every host, and the parts of the motifs whose centre is or is no metal site."""
    smallest = min(host.lattice_constant_angstrom for host in HOSTS.values())
    sites, is_metal = surroundings(center_is_metal, REACH_ANGSTROM / smallest + 0.6)
    host = np.where(is_metal, STATES.index("metal"), STATES.index("X2")).astype(np.int64)
    pairs = _pairs(sites, is_metal, 2.6)
    motifs = all_motifs()
    members = [
        index
        for index, motif in enumerate(motifs)
        if (motif.center in ("metal", "dopant")) == center_is_metal
    ]
    groups = [*combinations(range(_VARIABLE), 1), *combinations(range(_VARIABLE), 2)]
    held: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for row, index in enumerate(members):
        contents = [STATES.index(s) for s in (motifs[index].center, *motifs[index].neighbours)]
        for group in groups:
            held.setdefault((group, tuple(contents[site] for site in group)), []).append(row)
    holds = np.zeros((len(members), len(held)))
    states, listed = np.tile(host, (len(held), 1)), []
    for part, ((group, contents_of), rows) in enumerate(held.items()):
        holds[rows, part] = 1.0
        states[part, list(group)] = contents_of
        inside = [tuple(sorted(site for site in pair if site < _VARIABLE)) == group for pair in pairs[:, :2]]
        listed.append(pairs[inside])
    return _Plan(
        sites,
        host,
        pairs[pairs[:, :2].min(axis=1) >= _VARIABLE],
        members,
        np.where(states == STATES.index("empty"), -1, states),
        np.array([group[0] if len(group) == 1 else -1 for group, _ in held]),
        np.concatenate(listed),
        np.cumsum([0, *(len(own) for own in listed)]),
        holds,
    )


def motif_images(kernels: FieldKernels, *, size: int = 48) -> NDArray[np.float32]:
    """Images of all motifs of a context in their host, without noise and before the source's blur.

    Parameters
    ----------
    kernels : FieldKernels
        Of a specimen with a dopant.
    size : int
        Points along an edge.

    Returns
    -------
    ndarray of shape (34, size, size), float32
        Patches of edge sqrt(3) a centred on the motif, in the order of `all_motifs`, as fractions of the
        incident intensity.
    """
    motifs, a = all_motifs(), find_host(kernels.context.specimen.host).lattice_constant_angstrom
    edge = np.sqrt(3) * a
    axis = (np.arange(size) + 0.5) / size * edge - edge / 2
    pixels = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    order = sorted(kernels.columns)
    profiles = np.zeros((max(order) + 1, PROFILE_POINTS))
    profiles[order] = column_profiles([kernels.columns[state] for state in order])
    images = np.zeros((len(motifs), size * size))
    images += vacuum_intensity(kernels.context.detector, kernels.context.convergence_mrad)
    for plan in (_plan(True), _plan(False)):
        sites = plan.sites * a
        near = np.linalg.norm(sites, axis=1) <= REACH_ANGSTROM + 0.6 * a
        around = np.where(near, plan.host, -1)[_VARIABLE:]
        base = np.zeros(size * size)
        _add_columns(base, pixels, sites[_VARIABLE:], profiles, around, PROFILE_STEP_ANGSTROM)
        if len(kernels.terms):
            listed = (plan.fixed, kernels.terms, kernels.kinds, TERM_STEP_ANGSTROM)
            _add_terms(base, pixels, sites, plan.host, *listed)
        parts = np.zeros((len(plan.states), size * size))
        _fill(
            parts,
            pixels,
            sites,
            plan.states,
            plan.alone,
            plan.pairs,
            plan.ends,
            profiles,
            PROFILE_STEP_ANGSTROM,
            kernels.terms,
            kernels.kinds,
            TERM_STEP_ANGSTROM,
        )
        images[plan.members] += base + plan.holds @ parts
    return images.reshape(len(motifs), size, size).astype(np.float32)
