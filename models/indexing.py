"""Integer lattice indices of scattered maxima, carried from neighbour to neighbour.

The columns of a honeycomb and the centres of its hexagons together form a triangular lattice of period
a / sqrt(3), the *site lattice*.  Its indices need no knowledge of the sublattices.  On small tiles the
phases of the maxima against a mean site lattice are averaged, and the phases are unwrapped from tile to tile
(`models.unwrapping`).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import diags_array, eye_array, kron
from scipy.sparse.linalg import factorized
from torch import Tensor
from torch.nn.functional import conv2d

from models.frames import add_rows, sample_bilinear
from models.fringes import fringe_phases
from models.scale import lattice_constant_px
from models.unwrapping import unwrap

#: Edge of a tile over the lattice constant.
_TILE_SCALE = 1.5

#: Times that the lattice is straightened where it bends too much to be followed, and how stiff it is: weight
#: of second differences from tile to tile beside that of the offsets.
_BENDS, _STIFF = 20, 1.0

#: Most tiles along an axis that are told apart for that, and weight of no offset at all.
_BENT, _LOOSE = 64, 1e-11

#: Fringes are followed that lead through this part of a frame's tiles at least, with more than this coherence
#: in the median: in smooth noise they lead through a few here and there.
_LED, _CLEAR = 0.5, 0.45

#: Rounds in which the place of a site is found in the field of offsets.
_SOLVED = 4


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
    found, region = unwrap(phases, coherences)
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
    """Offsets (R, C, 2) and region (R, C) of every tile, as `unwrap` gives them."""
    phase, coherence = _tile_phases(coordinates, tiles.number, tiles.grid)
    return unwrap(phase.cpu().numpy(), coherence.cpu().numpy())


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
