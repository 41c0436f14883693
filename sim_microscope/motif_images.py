"""Images of the 34 motifs of a context: patches as the literature trains on, from the same kernels."""

from functools import cache

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
            position = np.hypot(pixels[p, 0] - sites[s, 0], pixels[p, 1] - sites[s, 1]) / step
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


@numba.njit(cache=True, parallel=True)
def _fill(
    images: NDArray[np.float64],
    pixels: NDArray[np.float64],
    sites: NDArray[np.float64],
    states: NDArray[np.int64],
    near: NDArray[np.int64],
    profiles: NDArray[np.float64],
    profile_step: float,
    terms: NDArray[np.float32],
    kinds: NDArray[np.int64],
    term_step: float,
) -> None:
    """Add to each motif's image its variable columns and the pairs that they take part in."""
    for m in numba.prange(images.shape[0]):
        variable = states[m, :_VARIABLE]
        _add_columns(images[m], pixels, sites[:_VARIABLE], profiles, variable, profile_step)
        if terms.shape[0]:
            _add_terms(images[m], pixels, sites, states[m], near, terms, kinds, term_step)


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


@cache
def _geometry(
    center_is_metal: bool,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Lattice around a motif in units of a, far enough for every host, and its pairs near the patch."""
    smallest = min(host.lattice_constant_angstrom for host in HOSTS.values())
    lattice, is_metal = surroundings(center_is_metal, REACH_ANGSTROM / smallest + 0.6)
    return lattice, is_metal, _pairs(lattice, is_metal, 2.6)


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
    for center_is_metal in (True, False):
        lattice, is_metal, pairs = _geometry(center_is_metal)
        host = np.where(is_metal, STATES.index("metal"), STATES.index("X2")).astype(np.int64)
        sites = lattice * a
        members = [
            index
            for index, motif in enumerate(motifs)
            if (motif.center in ("metal", "dopant")) == center_is_metal
        ]
        base = np.zeros(size * size)
        near = np.linalg.norm(sites, axis=1) <= REACH_ANGSTROM + 0.6 * a
        around = np.where(near, host, -1)[_VARIABLE:]
        _add_columns(base, pixels, sites[_VARIABLE:], profiles, around, PROFILE_STEP_ANGSTROM)
        varies = pairs[:, :2].min(axis=1) < _VARIABLE
        if len(kernels.terms):
            _add_terms(
                base, pixels, sites, host, pairs[~varies], kernels.terms, kernels.kinds, TERM_STEP_ANGSTROM
            )
        states = np.tile(host, (len(members), 1))
        for row, index in zip(states, members, strict=True):
            contents = (motifs[index].center, *motifs[index].neighbours)
            row[:_VARIABLE] = [STATES.index(state) for state in contents]
        part = np.tile(base, (len(members), 1))
        shown = np.where(states == STATES.index("empty"), -1, states)
        _fill(
            part,
            pixels,
            sites,
            shown,
            pairs[varies],
            profiles,
            PROFILE_STEP_ANGSTROM,
            kernels.terms,
            kernels.kinds,
            TERM_STEP_ANGSTROM,
        )
        images[members] += part
    return images.reshape(len(motifs), size, size).astype(np.float32)
