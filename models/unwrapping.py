"""Phases of a lattice on the tiles of a frame, unwrapped from tile to tile.

Along the most trustworthy path, a minimum spanning tree (as in Herraez et al., 10.1364/AO.41.007437), so that
shear, drift and strain may add up to any number of periods across the frame.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

Number = TypeVar("Number", np.float32, np.int64)

#: Least length of the mean phasor of the maxima around a tile, for the tile to belong to the lattice.
#: Maxima that scatter by 0.23 of the site period reach it; some thirty random ones reach 0.2.
_LEAST_COHERENCE = 0.35

#: Most change of phase from tile to tile: a strain or rotation of 0.07 against the mean lattice.  What
#: differs by more is another grain, with a mean lattice of its own.
_MOST_PHASE_STEP = 0.18

#: Least part of that phasor along the phase that the tiles around it let expect, for the tile to join them:
#: over the median length in their region, so that in a clear frame none does, and at least.  Some thirty
#: random maxima reach the latter by chance in one tile of a hundred, along both axes.
_LEAST_IN_PHASE, _LEAST_IN_PHASE_OF_ANY = 0.4, 0.15

#: A tile lies on the boundary of two grains if the phases' second differences there are larger than this, and
#: than so many times their median: grains that differ by 3 degrees make 0.07 of it.
_BEND, _BENDS_MORE = 0.06, 4.0

#: Times that a region takes in the tiles around it.
_ROUNDS = 8

#: Pairs of neighbouring tiles by which two regions are told to be one.
_LEAST_CONTACTS = 2

#: A region of the lattice holds at least this many tiles.
_LEAST_TILES = 4


def unwrap(
    phase: NDArray[np.float32], coherence: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make the phases of a frame's tiles continuous, wherever its lattice leads from tile to tile.

    Parameters
    ----------
    phase : ndarray of shape (R, C, 2)
        Mean phase of each tile against the lattice's two axes, in parts of a turn.
    coherence : ndarray of shape (R, C)
        Length of the mean phasor, 0 to 1.

    Returns
    -------
    offsets : ndarray of shape (R, C, 2)
        Phases plus integers.
    region : ndarray of shape (R, C)
        Connected region of a tile, 0 the largest; -1 where the lattice does not hold.
    """
    bend, trusted = _bending(phase, coherence)
    offsets, region = _unwrap_trusted(phase, coherence, bend, trusted)
    return _merge_in_phase(*_join_in_phase(offsets, region, phase, coherence, trusted))


def _along_three(phase: NDArray[np.float32]) -> NDArray[np.float32]:
    """Phases (..., 2), and that along the third axis of the lattice, (..., 3)."""
    return np.concatenate([phase, phase.sum(axis=-1, keepdims=True)], axis=-1)


def _unwrap_trusted(
    phase: NDArray[np.float32],
    coherence: NDArray[np.float32],
    bend: NDArray[np.float32],
    trusted: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`unwrap` trusted tiles, along a minimum spanning tree of the phases' first and second differences.

    Parameters
    ----------
    phase : ndarray of shape (R, C, 2)
    coherence : ndarray of shape (R, C)
    bend, trusted
        From `_bending`.

    Returns
    -------
    offsets, region
        As `unwrap` has them.
    """
    number = np.arange(coherence.size).reshape(coherence.shape)
    start = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    end = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    flat_phase, flat_coherence, flat_bend = phase.reshape(-1, 2), coherence.ravel(), bend.ravel()
    held = trusted.ravel()[start] & trusted.ravel()[end]
    difference = _along_three(flat_phase[end] - flat_phase[start])
    wrapped = np.abs(difference - np.round(difference)).max(axis=1)
    held &= wrapped < _MOST_PHASE_STEP
    start, end, wrapped = start[held], end[held], wrapped[held]
    cost = 1e-3 + wrapped + np.maximum(flat_bend[start], flat_bend[end])
    cost += 0.2 * (1 - np.minimum(flat_coherence[start], flat_coherence[end]))
    graph = coo_array((cost, (start, end)), shape=(number.size, number.size)).tocsr()
    tree = minimum_spanning_tree(graph)
    _, label = connected_components(tree, directed=False)
    size = np.bincount(label)
    order = np.argsort(-size, kind="stable")
    order = order[size[order] >= min(_LEAST_TILES, number.size)]
    region = np.full(number.size, -1)
    offsets = np.zeros_like(flat_phase)
    for new, old in enumerate(order):
        root = int(np.argmax(np.where(label == old, flat_coherence, -1)))
        visited, parent = breadth_first_order(tree, root, directed=False)
        region[visited] = new
        offsets[visited] = _integrate(flat_phase, visited, parent)
    return offsets.reshape(phase.shape), region.reshape(coherence.shape)


def _bending(
    phase: NDArray[np.float32], coherence: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """How far the lattice bends in each tile, and which tiles are to be trusted by themselves.

    A grain that is turned against the mean lattice has first differences everywhere, and second ones only on
    its boundary, which is where the dislocations are that no path may pass between.

    Returns
    -------
    bend : ndarray of shape (R, C)
        Largest second difference of the phases along either axis.
    trusted : ndarray of shape (R, C)
        Whether the lattice holds there and goes straight on, as far as noise lets one tell.
    """
    holds = coherence > _LEAST_COHERENCE
    bend = np.zeros_like(coherence)
    for axis in (0, 1):
        along, values, known = (
            np.moveaxis(bend, axis, 0),
            np.moveaxis(_along_three(phase), axis, 0),
            np.moveaxis(holds, axis, 0),
        )
        step = np.diff(values, axis=0)
        second = np.abs(np.diff(step - np.round(step), axis=0)).max(axis=-1)
        second *= known[:-2] & known[1:-1] & known[2:]
        np.maximum(along[1:-1], second, out=along[1:-1])
    usual = float(np.median(bend[holds])) if holds.any() else 0.0
    return bend, holds & (bend <= max(_BEND, _BENDS_MORE * usual))


def _join_in_phase(
    offsets: NDArray[np.float32],
    region: NDArray[np.int64],
    phase: NDArray[np.float32],
    coherence: NDArray[np.float32],
    trusted: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Let regions take in tiles that are not to be trusted by themselves and in phase with them.

    A faint frame has such tiles everywhere.  In a clear one they lie in vacuum, in a grain turned against the
    mean lattice, or on its boundary.

    Parameters
    ----------
    offsets, region
        From `_unwrap_trusted`.
    phase : ndarray of shape (R, C, 2)
    coherence : ndarray of shape (R, C)
    trusted : ndarray of shape (R, C)
        From `_bending`.

    Returns
    -------
    offsets, region
        As before, where they were known.
    """
    offsets, region = offsets.copy(), region.copy()
    usual = [float(np.median(coherence[region == k])) for k in range(int(region.max()) + 1)]
    least = np.maximum(
        _LEAST_IN_PHASE * np.array([*usual, np.inf]), _LEAST_IN_PHASE_OF_ANY
    )  # the last: of none
    for _ in range(_ROUNDS):
        free = np.argwhere(region < 0)
        if not len(free) or len(free) == region.size:
            break
        near = _around(region, -1)[:, *free.T]  # (8, F)
        count = np.where(near >= 0, (near[:, None] == near).sum(axis=1), 0)
        joined = np.take_along_axis(near, count.argmax(axis=0)[None], axis=0)[0]  # that it touches most
        known = (near == joined) & (near >= 0)
        count = known.sum(axis=0)
        expected = (
            np.einsum("kf,kfc->fc", known.astype(np.float32), _around(offsets, 0.0)[:, *free.T])
            / np.maximum(count, 1)[:, None]
        )
        aside = phase[tuple(free.T)] - expected
        aside -= np.round(aside)
        in_phase = (coherence[tuple(free.T)][:, None] * np.cos(2 * np.pi * aside)).min(axis=1)
        takes = (count >= 2) & (in_phase > least[joined]) & ~trusted[tuple(free.T)]
        if not takes.any():
            break
        place = tuple(free[takes].T)
        # Half of the way from what is expected to what was seen: both are noisy.
        offsets[place] = expected[takes] + aside[takes] / 2
        region[place] = joined[takes]
    return offsets, region


def _merge_in_phase(
    offsets: NDArray[np.float32], region: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make one of regions that touch after tiles have joined them, and whose phases agree where they do."""
    offsets, region = offsets.copy(), region.copy()
    while (agreeing := next(_agreeing(offsets, region), None)) is not None:
        first, second, shift = agreeing
        own = region == second
        offsets[own] -= shift
        region[own] = first
        region[region > second] -= 1
    return offsets, region


def _agreeing(
    offsets: NDArray[np.float32], region: NDArray[np.int64]
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Regions that touch and agree, the larger first, and by how many turns the second's offsets differ."""
    for first, second, difference in _contacts(offsets, region):
        shift = np.round(np.median(difference, axis=0))
        apart = np.abs(difference - shift).max(axis=1)
        if len(apart) >= _LEAST_CONTACTS and apart.mean() <= _MOST_PHASE_STEP:
            yield first, second, shift


def _contacts(
    offsets: NDArray[np.float32], region: NDArray[np.int64]
) -> list[tuple[int, int, NDArray[np.float32]]]:
    """Regions that touch, the larger first, and by how much the second's offsets are larger there, (n, 2)."""
    pairs: dict[tuple[int, int], list[NDArray[np.float32]]] = {}
    for one, other, step in (
        (region[:, 1:], region[:, :-1], offsets[:, 1:] - offsets[:, :-1]),
        (region[1:], region[:-1], offsets[1:] - offsets[:-1]),
    ):
        for row, column in np.argwhere((one != other) & (one >= 0) & (other >= 0)):
            low, high = sorted((int(one[row, column]), int(other[row, column])))
            sign = 1 if one[row, column] == high else -1
            pairs.setdefault((low, high), []).append(sign * step[row, column])
    return [(low, high, np.array(steps)) for (low, high), steps in sorted(pairs.items())]


def _around(values: NDArray[Number], beyond: float) -> NDArray[Number]:
    """What the eight tiles around each hold, shape (8, R, C, ...)."""
    rows, columns = values.shape[:2]
    wide = np.pad(values, ((1, 1), (1, 1), *[(0, 0)] * (values.ndim - 2)), constant_values=beyond)
    steps = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    return np.stack([wide[i : i + rows, j : j + columns] for i, j in steps])


def _integrate(
    phase: NDArray[np.float32], visited: NDArray[np.int32], parent: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Sum wrapped phase differences down a tree by pointer doubling; one row a visited tile, root first."""
    rank = np.zeros(len(phase), dtype=np.int64)
    rank[visited] = np.arange(len(visited))
    above = np.concatenate([[0], rank[parent[visited[1:]]]])
    own = phase[visited]
    jump = np.round(own - own[above])
    while above.any():
        jump += jump[above]
        above = above[above]
    return np.asarray(own - jump)
