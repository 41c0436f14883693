"""Integer lattice indices of scattered maxima, carried from neighbour to neighbour.

The columns of a honeycomb and the centres of its hexagons together form a triangular lattice of period
a / sqrt(3), the *site lattice*.  Its indices need no knowledge of the sublattices.  On small tiles the
phases of the maxima against a mean site lattice are averaged, and the phases are unwrapped from tile to tile
along the most trustworthy path (a minimum spanning tree, as in Herraez et al., 10.1364/AO.41.007437), so that
shear, drift and strain may add up to any number of periods across the frame.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, diags_array, eye_array, kron
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.sparse.linalg import factorized
from torch import Tensor
from torch.nn.functional import conv2d

from models.frames import add_rows, sample_bilinear
from models.fringes import fringe_phases
from models.scale import lattice_constant_px

Number = TypeVar("Number", np.float32, np.int64)

#: Edge of a tile over the lattice constant.
_TILE_SCALE = 1.5

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

#: Times that the lattice is straightened where it bends more than that, and how stiff it is: weight of second
#: differences from tile to tile beside that of the offsets.
_BENDS, _STIFF = 20, 1.0

#: Most tiles along an axis that are told apart for that, and weight of no offset at all.
_BENT, _LOOSE = 64, 1e-11

#: Fringes are followed that lead through this part of a frame's tiles at least, with more than this coherence
#: in the median: in smooth noise they lead through a few here and there.
_LED, _CLEAR = 0.5, 0.45

#: Rounds in which the place of a site is found in the field of offsets.
_SOLVED = 4

#: Pairs of neighbouring tiles by which two regions are told to be one.
_LEAST_CONTACTS = 2

#: A region of the lattice holds at least this many tiles.
_LEAST_TILES = 4


@dataclass(frozen=True)
class Indexed:
    """Maxima of one grain on their site lattice.

    Parameters
    ----------
    member : Tensor of shape (K,)
        Positions, among all maxima, of those that belong to the region.
    index : Tensor of shape (K, 2)
        Their site-lattice indices, long.
    field : Field, optional
        Where the lattice lies, if maxima are too noisy to tell.
    """

    member: Tensor
    index: Tensor
    field: "Field | None" = None


@dataclass(frozen=True)
class Field:
    """Where a site lattice lies that was found by the frame's fringes, not by its maxima.

    Parameters
    ----------
    basis : Tensor of shape (2, 2)
        Rows t1 and t2 [px].
    offsets : ndarray of shape (R, C, 2)
        How far the sites lie aside in each tile, in parts of t1 and t2.
    known : ndarray of shape (R, C)
        Tiles where that was found.
    tile_px : float
        Edge of a tile [px].
    """

    basis: Tensor
    offsets: NDArray[np.float32]
    known: NDArray[np.bool_]
    tile_px: float

    def place(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (K, 2) of sites of indices (K, 2), and whether the lattice is known there, (K,)."""
        site = index.to(self.basis)
        position = site @ self.basis
        for _ in range(_SOLVED):
            position = (site + _bilinear(self.offsets, position / self.tile_px)) @ self.basis
        rows, columns = self.known.shape
        tile = (position / self.tile_px).long()
        known = torch.from_numpy(self.known).to(position.device)
        return position, known[tile[:, 0].clamp(0, rows - 1), tile[:, 1].clamp(0, columns - 1)]


def site_basis(vectors: Tensor) -> Tensor:
    """Basis of the site lattice, rows t1 and t2 [px], of a lattice with rows a1 and a2, 60 degrees apart."""
    second = (vectors[0] + vectors[1]) / 3
    return torch.stack([vectors[0] - second, second])


@dataclass(frozen=True)
class _Tiles:
    """Squares that a frame is cut into, R x C, and where in them K maxima lie.

    Parameters
    ----------
    basis : Tensor of shape (2, 2)
        Site lattice, rows t1 and t2 [px].
    edge_px : float
        Of a tile.
    grid : tuple of int
        R and C.
    place : Tensor of shape (K, 2)
        Positions counted in tiles.
    number : Tensor of shape (K,)
        The tile of each, row by row.
    """

    basis: Tensor
    edge_px: float
    grid: tuple[int, int]
    place: Tensor
    number: Tensor

    @classmethod
    def of(cls, positions: Tensor, vectors: Tensor, shape: tuple[int, int]) -> "_Tiles":
        """Tiles of a frame of a shape, for maxima at some positions (K, 2)."""
        basis = site_basis(vectors).to(positions)
        edge = _TILE_SCALE * lattice_constant_px(vectors)
        rows, columns = (max(2, math.ceil(pixels / edge)) for pixels in shape)
        tile = (positions / edge).long()
        number = tile[:, 0].clamp(0, rows - 1) * columns + tile[:, 1].clamp(0, columns - 1)
        return cls(basis, edge, (rows, columns), positions / edge, number)


def index_maxima(positions: Tensor, vectors: Tensor, shape: tuple[int, int]) -> list[Indexed]:
    """Give maxima their indices on a slowly distorted site lattice.

    Parameters
    ----------
    positions : Tensor of shape (K, 2)
        (row, column) of the maxima [px].
    vectors : Tensor of shape (2, 2)
        Mean lattice, rows a1 and a2 [px], 60 degrees apart.
    shape : tuple of int
        Rows and columns of the frame.

    Returns
    -------
    list of Indexed
        One for each connected region, the one of most tiles first; indices of different regions share no
        origin.  Maxima where the lattice does not hold (vacuum, another grain) are in none.
    """
    tiles = _Tiles.of(positions, vectors, shape)
    coordinates = positions @ torch.linalg.inv(tiles.basis)
    plain, (offsets, region) = coordinates, _regions(coordinates, tiles)
    others = offsets, region
    for _ in range(_BENDS):
        if int(region.max()) < 1:
            break
        straight = coordinates - _bilinear(_bend(offsets, region == 0), tiles.place)
        left, known = _regions(straight, tiles)
        if (known == 0).sum() <= (region == 0).sum():
            break
        coordinates, offsets, region = straight, left, known
    if coordinates is plain:
        return _indexed(coordinates, *others, tiles)
    first = np.where(region == 0, 0, -1)
    beside = np.where(first < 0, others[1], -1)  # elsewhere the lattice stays as it was found
    return _indexed(coordinates, offsets, first, tiles) + _indexed(plain, others[0], beside, tiles)


def index_by_fringes(
    positions: Tensor, vectors: Tensor, shape: tuple[int, int], image: Tensor
) -> Indexed | None:
    """Give maxima that are mostly noise their indices, on the site lattice that a frame's fringes show.

    Parameters
    ----------
    positions, vectors, shape
        As for `index_maxima`.
    image : Tensor of shape (M, N)
        Standardised frame.

    Returns
    -------
    Indexed or None
        None unless the fringes lead through half of the frame.
    """
    tiles = _Tiles.of(positions, vectors, shape)
    phase, coherence, triple = fringe_phases(image, vectors, tiles.edge_px, tiles.grid)
    phases, coherences = phase.float().cpu().numpy(), coherence.float().cpu().numpy()
    found, region = _follow(phases, coherences)
    known = region == 0
    if known.mean() < _LED or float(np.median(coherences[known])) < _CLEAR:
        return None
    first, second = found[..., 0], found[..., 1]
    offsets = np.stack([first - second, first + 2 * second], axis=-1)  # a1 = t1 + t2, a2 = 2 t2 - t1
    # A third of the triple phase along both a1 and a2 is all of it along t2.
    offsets[..., 1] += np.angle(triple.cpu().numpy()[known].sum()) / (2 * math.pi)
    field = Field(tiles.basis, _bend(offsets, known), known, tiles.edge_px)
    coordinates = positions @ torch.linalg.inv(tiles.basis) - _bilinear(field.offsets, tiles.place)
    member = torch.from_numpy(known).to(positions.device).flatten()[tiles.number].nonzero()[:, 0]
    return Indexed(member, torch.round(coordinates[member]).long(), field)


def _indexed(
    coordinates: Tensor, offsets: NDArray[np.float32], region: NDArray[np.int64], tiles: _Tiles
) -> list[Indexed]:
    """The maxima of every region, with their indices."""
    offset = torch.from_numpy(offsets).to(coordinates).reshape(-1, 2)[tiles.number]
    of_region = torch.from_numpy(region).to(coordinates.device).flatten()[tiles.number]
    index = torch.round(coordinates - offset).long()
    found = []
    for number in range(int(region.max(initial=-1)) + 1):
        member = (of_region == number).nonzero()[:, 0]
        if len(member):
            found.append(Indexed(member, index[member]))
    return found


def _regions(coordinates: Tensor, tiles: _Tiles) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Offsets (R, C, 2) and region (R, C) of every tile, as `_unwrap` gives them."""
    phase, coherence = _tile_phases(coordinates, tiles.number, tiles.grid)
    return _follow(phase.cpu().numpy(), coherence.cpu().numpy())


def _follow(
    phase: NDArray[np.float32], coherence: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Offsets (R, C, 2) and region (R, C) of tiles of such phases (R, C, 2) and coherence (R, C)."""
    bend, trusted = _bending(phase, coherence)
    offsets, region = _unwrap(phase, coherence, bend, trusted)
    return _merge_in_phase(*_join_in_phase(offsets, region, phase, coherence, trusted))


def _bend(offsets: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The smoothest offsets (R, C, 2) that are those of the tiles that are known.

    Least squares of second differences and of what is left of the offsets: beyond the known tiles the slope
    goes on.  In large frames so many tiles are taken together that `_BENT` remain along an axis.
    """
    factor = math.ceil(max(known.shape) / _BENT)
    rows, columns = (math.ceil(n / factor) for n in known.shape)
    block = np.add.outer(np.arange(known.shape[0]) // factor * columns, np.arange(known.shape[1]) // factor)
    weight, *sums = (
        np.bincount(block.ravel(), (known * values).ravel(), rows * columns)
        for values in (1.0, offsets[..., 0], offsets[..., 1])
    )
    whole = weight == np.bincount(block.ravel(), minlength=rows * columns)
    if whole.any():  # the mean of a part does not lie in the middle
        weight, sums = weight * whole, [one * whole for one in sums]
    second = [
        diags_array([1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(max(n - 2, 0), n)) for n in (rows, columns)
    ]
    down, across = kron(second[0], eye_array(columns)), kron(eye_array(rows), second[1])
    twist = kron(*(diags_array([-1.0, 1.0], offsets=[0, 1], shape=(n - 1, n)) for n in (rows, columns)))
    stiff = down.T @ down + across.T @ across + 2 * twist.T @ twist
    loose = diags_array(weight + _LOOSE)  # without a little everywhere few known tiles leave it undetermined
    solve = factorized((loose + _STIFF / factor**2 * stiff).tocsc())
    bent = np.stack([solve(one) for one in sums], axis=-1).reshape(rows, columns, 2).astype(np.float32)
    if factor == 1:
        return bent
    place = np.argwhere(np.ones_like(known)) + 0.5
    fine = _bilinear(bent, torch.from_numpy(place / factor).float())
    return fine.numpy().reshape(offsets.shape)


def _bilinear(offsets: NDArray[np.float32], place: Tensor) -> Tensor:
    """Offsets (R, C, 2), each of the middle of its tile, at places (K, 2) counted in tiles; (K, 2)."""
    values = torch.from_numpy(offsets).to(place).permute(2, 0, 1)
    return sample_bilinear(values, place - 0.5).T


def _tile_phases(coordinates: Tensor, tile: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean fractional coordinate of the maxima around each tile, (R, C, 2), and its coherence (R, C).

    Coherence is the least along the three axes of the lattice, so that all cells of it tell the same.
    """
    angle = 2 * math.pi * torch.cat([coordinates, coordinates.sum(1, keepdim=True)], dim=1)
    channels = torch.cat([torch.ones_like(angle[:, :1]), torch.cos(angle), torch.sin(angle)], dim=1)  # (K, 7)
    total = add_rows(coordinates.new_zeros(grid[0] * grid[1], 7), tile, channels)
    total = total.T.reshape(7, 1, *grid)  # (7, 1, R, C)
    taps = total.new_tensor([0.25, 0.5, 0.25])
    total = conv2d(total, torch.outer(taps, taps)[None, None], padding=1)[:, 0]  # (7, R, C)
    length = torch.hypot(total[1:4], total[4:7]).amin(0)
    coherence = length / total[0].clamp(min=0.5)
    phase = torch.atan2(total[4:6], total[1:3]) / (2 * math.pi)
    return phase.permute(1, 2, 0), coherence


def _along_three(phase: NDArray[np.float32]) -> NDArray[np.float32]:
    """Phases (..., 2), and that along the third axis of the lattice, (..., 3)."""
    return np.concatenate([phase, phase.sum(axis=-1, keepdims=True)], axis=-1)


def _unwrap(
    phase: NDArray[np.float32],
    coherence: NDArray[np.float32],
    bend: NDArray[np.float32],
    trusted: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make tile phases continuous along a minimum spanning tree of their first and second differences.

    Parameters
    ----------
    phase : ndarray of shape (R, C, 2)
    coherence : ndarray of shape (R, C)
    bend, trusted
        From `_bending`.

    Returns
    -------
    offsets : ndarray of shape (R, C, 2)
        Phases plus integers.
    region : ndarray of shape (R, C)
        Connected region of a tile, 0 the largest; -1 where the lattice does not hold.
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
        From `_unwrap`.
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
    merged = True
    while merged:
        merged = False
        for first, second, difference in _contacts(offsets, region):
            shift = np.round(np.median(difference, axis=0))
            apart = np.abs(difference - shift).max(axis=1)
            if len(apart) < _LEAST_CONTACTS or apart.mean() > _MOST_PHASE_STEP:
                continue
            own = region == second
            offsets[own] -= shift
            region[own] = first
            region[region > second] -= 1
            merged = True
            break
    return offsets, region


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
