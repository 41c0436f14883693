"""The honeycomb lattice of a frame: every site of every grain, also where a column is too dim to be seen."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor
from torch.nn.functional import conv1d, interpolate

from drivers.contract.errors import InputError
from models.columns import Maxima
from models.frames import sample_bilinear
from models.indexing import Indexed, index_maxima, site_basis
from models.scale import lattice_constant_px, lattice_vectors

#: Standard deviation [site periods] of the Gaussian that displacement and brightness are averaged with.
_SMOOTHING = 1.6

#: A maximum further from its predicted site than this [site periods] is not that site's column.
_MATCH = 0.35

#: Least local contrast between columns and hexagon centres, over its median in the frame, where a lattice
#: is claimed.  A missing column takes 0.1 off, a hole of seven columns more than half.
_LEAST_CONTRAST = 0.4

#: A maximum this bright, over the mean of its neighbourhood, is a column even on a boundary.
_COLUMN_RESPONSE = 0.35

#: A grain has at least this many columns.
_LEAST_COLUMNS = 20

#: Grains of different orientation that are looked for.
_MOST_ORIENTATIONS = 4

#: Neighbours on the site lattice, whose basis vectors are 60 degrees apart.
_STEPS = ((1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1))


@dataclass(frozen=True)
class Lattice:
    """Sites of the honeycomb of a frame; S sites in G grains.

    Parameters
    ----------
    positions : Tensor of shape (S, 2)
        (row, column) [px]: of the maximum where there is one, else as the neighbours predict.
    sublattice : Tensor of shape (S,)
        0 or 1, the same within a grain; which one is the metal is for `models.sublattice` to say.
    grain : Tensor of shape (S,)
        Grain number, 0 the largest.
    measured : Tensor of shape (S,)
        Whether the position is that of a maximum.
    boundary : Tensor of shape (S,)
        Whether the site lies on a boundary between grains (where only maxima count as columns).
    vectors : Tensor of shape (G, 2, 2)
        Mean lattice vectors a1, a2 of each grain, rows, (row, column) [px].
    """

    positions: Tensor
    sublattice: Tensor
    grain: Tensor
    measured: Tensor
    boundary: Tensor
    vectors: Tensor

    @property
    def lattice_px(self) -> float:
        """Lattice constant [px] of the largest grain: the side of an equilateral cell of its cell's area."""
        return lattice_constant_px(self.vectors[0])


def fit_lattice(image: Tensor, filtered: Tensor, maxima: Maxima, vectors: Tensor) -> Lattice:
    """Fit the honeycomb of every grain to the maxima of a frame, and complete it.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Standardised frame; looked at again only if a second orientation has to be found.
    filtered : Tensor of shape (M, N)
        From `models.columns.filter_columns`.
    maxima : Maxima
        From `models.columns.find_maxima`.
    vectors : Tensor of shape (2, 2)
        From `models.scale.lattice_vectors`.

    Returns
    -------
    Lattice
        Sites inside the frame.  Vacuum, holes and areas without lattice contrast have none.

    Raises
    ------
    InputError
        If no grain of `_LEAST_COLUMNS` columns is found.
    """
    shape = (filtered.shape[0], filtered.shape[1])
    left = torch.arange(len(maxima.response), device=filtered.device)
    patches: list[Lattice] = []
    for _ in range(_MOST_ORIENTATIONS):
        remaining = Maxima(maxima.positions[left], maxima.response[left])
        regions = index_maxima(remaining.positions, site_basis(vectors), shape)
        found = [_complete(region, remaining, filtered) for region in regions]
        patches += [patch for patch in found if patch is not None]
        if not patches:
            break
        left = left[_unexplained(remaining, patches, vectors)]
        if len(left) < max(_LEAST_COLUMNS, 0.02 * len(maxima.response)):
            break
        try:
            vectors = lattice_vectors(image, _density(maxima.positions[left], shape, vectors))
        except InputError:
            break
    if not patches:
        raise InputError(
            f"expected a honeycomb of at least {_LEAST_COLUMNS} columns, found {len(maxima.response)} maxima "
            "that lie on none; check that the specimen is a 1H monolayer in focus"
        )
    return _join(patches)


def _complete(region: Indexed, maxima: Maxima, filtered: Tensor) -> Lattice | None:
    """All honeycomb sites of one region of the site lattice; None if it is too small."""
    if len(region.member) < _LEAST_COLUMNS:
        return None
    low = region.index.amin(0) - 2
    grid = _IndexGrid(low, tuple((region.index.amax(0) + 3 - low).tolist()))
    basis, predicted, column, held = _predict(region, maxima, grid)
    inside = _is_inside(predicted, filtered.shape) & held
    brightness = sample_bilinear(filtered, predicted.reshape(-1, 2)).reshape(grid.shape)
    level = _colour_levels(brightness, inside, grid.colour())  # (3, H, W)
    ranked = level.argsort(0)
    contrast = level.sum(0) / 2 - 1.5 * level.amin(0)
    valid = inside & (contrast > _LEAST_CONTRAST * contrast[inside].median())
    empty, second = ranked[0], ranked[1]
    domain, count = _domains(empty, valid)
    boundary = _touches_another(domain)
    measured = column >= 0
    response = torch.where(measured, maxima.response[column.clamp(min=0)], 0.0)
    seen = measured & (response > _COLUMN_RESPONSE * (level.sum(0) - level.amin(0)) / 2)
    colour = grid.colour()
    empty = torch.where(boundary & (colour == empty), second, empty)
    site = (domain >= 0) & torch.where(boundary, seen, colour != empty)
    if count == 0:
        return None
    positions = torch.where(measured[..., None], maxima.positions[column.clamp(min=0)], predicted)
    honeycomb = torch.stack([basis[0] + basis[1], 2 * basis[1] - basis[0]])
    return Lattice(
        positions=positions[site],
        sublattice=((colour - empty - 1) % 3)[site],
        grain=domain[site],
        measured=measured[site],
        boundary=boundary[site],
        vectors=honeycomb.cpu().expand(count, 2, 2),
    )


@dataclass(frozen=True)
class _IndexGrid:
    """The rectangle of site-lattice indices that starts at `low` and has `shape`."""

    low: Tensor
    shape: tuple[int, ...]

    def flatten(self, index: Tensor) -> Tensor:
        """Number of a cell of the rectangle, of indices (K, 2)."""
        return (index[:, 0] - self.low[0]) * self.shape[1] + index[:, 1] - self.low[1]

    def indices(self) -> Tensor:
        """Indices of all cells, shape (H, W, 2)."""
        axes = [torch.arange(n, device=self.low.device) for n in self.shape]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) + self.low

    def colour(self) -> Tensor:
        """Which of the three triangular lattices of period a a cell is on, 0, 1 or 2, shape (H, W)."""
        index = self.indices()
        return (index[..., 0] - index[..., 1]) % 3


def _predict(
    region: Indexed, maxima: Maxima, grid: _IndexGrid
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Predict the position of each cell of the grid from the maxima around it.

    Returns
    -------
    basis : Tensor of shape (2, 2)
        Mean site lattice, rows [px].
    predicted : Tensor of shape (H, W, 2)
        Mean lattice plus the local mean displacement of the maxima [px].
    column : Tensor of shape (H, W)
        Number of the maximum that belongs to the cell, or -1.
    held : Tensor of shape (H, W)
        Whether there are maxima near enough to predict from.
    """
    member = _brightest_of_each(grid.flatten(region.index), region.member, maxima.response, grid)
    occupied = member >= 0
    index = grid.indices().double()
    measured = maxima.positions[member.clamp(min=0)].double()
    design = torch.cat([index, torch.ones_like(index[..., :1])], dim=-1)
    solution = torch.linalg.lstsq(design[occupied], measured[occupied]).solution
    mean = (design @ solution).float()
    basis = solution[:2].float()
    period = float(torch.linalg.det(basis).abs() * 2 / 3**0.5) ** 0.5
    residual = torch.where(occupied[..., None], measured.float() - mean, 0.0)
    weight = occupied.float()
    smooth = torch.zeros_like(residual)
    for _ in range(3):  # the first pass flattens gradients, the second mends that, the third drops outliers
        miss = residual - smooth
        smooth = smooth + _local_mean(miss.permute(2, 0, 1) * weight, weight).permute(1, 2, 0)
        near = torch.linalg.vector_norm(residual - smooth, dim=-1) < _MATCH * period
        weight = (occupied & near).float()
    density = _blur(weight[None])[0]
    return basis, mean + smooth, torch.where(occupied & near, member, -1), density > 0.1


def _brightest_of_each(cell: Tensor, member: Tensor, response: Tensor, grid: _IndexGrid) -> Tensor:
    """The maximum of highest response in each cell, shape (H, W), -1 where there is none."""
    cells = grid.shape[0] * grid.shape[1]
    own = response[member]
    highest = own.new_zeros(cells).scatter_reduce_(0, cell, own, "amax")
    wins = own == highest[cell]
    chosen = torch.full((cells,), -1, device=cell.device)
    chosen[cell[wins]] = member[wins]
    return chosen.reshape(grid.shape)


def _blur(channels: Tensor) -> Tensor:
    """Gaussian sum over the index grid, (C, H, W); zero beyond its edge."""
    reach = 4
    offset = torch.arange(-reach, reach + 1, device=channels.device, dtype=channels.dtype)
    taps = torch.exp(-0.5 * (offset / _SMOOTHING).square())
    taps = (taps / taps.sum())[None, None]
    count, height, width = channels.shape
    along = conv1d(channels.reshape(count * height, 1, width), taps, padding=reach)
    along = along.reshape(count, height, width).transpose(1, 2).reshape(count * width, 1, height)
    return conv1d(along, taps, padding=reach).reshape(count, width, height).transpose(1, 2)


def _local_mean(weighted: Tensor, weight: Tensor) -> Tensor:
    """Local mean of channels (C, H, W) that already carry their weight (H, W)."""
    blurred = _blur(torch.cat([weighted, weight[None]]))
    return blurred[:-1] / blurred[-1:].clamp(min=1e-3)


def _colour_levels(brightness: Tensor, inside: Tensor, colour: Tensor) -> Tensor:
    """Local mean brightness of each of the three colours, shape (3, H, W)."""
    weight = torch.stack([(colour == c) & inside for c in range(3)]).float()
    blurred = _blur(torch.cat([weight * brightness, weight]))
    return blurred[:3] / blurred[3:].clamp(min=1e-3)


def _is_inside(positions: Tensor, shape: torch.Size) -> Tensor:
    """Whether positions (..., 2) lie between the centres of the outermost pixels."""
    row, column = positions[..., 0], positions[..., 1]
    return (row >= 0) & (row <= shape[0] - 1) & (column >= 0) & (column <= shape[1] - 1)


def _domains(empty: Tensor, valid: Tensor) -> tuple[Tensor, int]:
    """Connected areas of one empty colour: their numbers (H, W), -1 outside, largest first; their count.

    A change of the empty colour within one site lattice is a grain boundary: a mirror twin, or an antiphase
    boundary.
    """
    structure = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]])
    empty_np, valid_np = empty.cpu().numpy(), valid.cpu().numpy()
    labels = np.zeros(empty_np.shape, dtype=np.int64)
    count = 0
    for colour in range(3):
        part, parts = label(valid_np & (empty_np == colour), structure)
        labels += np.where(part > 0, part + count, 0)
        count += parts
    size = np.bincount(labels.ravel(), minlength=count + 1)
    size[0] = 0
    order = np.argsort(-size, kind="stable")
    kept = order[size[order] >= 1.5 * _LEAST_COLUMNS]
    renumber = np.full(count + 1, -1)
    renumber[kept] = np.arange(len(kept))
    return torch.from_numpy(renumber[labels]).to(empty.device), len(kept)


def _touches_another(domain: Tensor) -> Tensor:
    """Whether a site or one of its six neighbours is next to a site of another domain, shape (H, W)."""
    if int(domain.max()) < 1:
        return torch.zeros_like(domain, dtype=torch.bool)
    edge = torch.zeros_like(domain, dtype=torch.bool)
    for step in _STEPS:
        other = torch.roll(domain, step, dims=(0, 1))
        edge |= (other != domain) & (other >= 0) & (domain >= 0)
    return edge


def _unexplained(maxima: Maxima, patches: list[Lattice], vectors: Tensor) -> Tensor:
    """Whether each maximum is as bright as columns are, and yet further than a site period from any site."""
    from scipy.spatial import cKDTree

    sites = torch.cat([patch.positions for patch in patches]).cpu().numpy()
    distance, _ = cKDTree(sites).query(maxima.positions.cpu().numpy())
    far = torch.from_numpy(distance > lattice_constant_px(vectors) / 2).to(maxima.response.device)
    return far & (maxima.response > _COLUMN_RESPONSE * maxima.response.median())


def _density(positions: Tensor, shape: tuple[int, int], vectors: Tensor) -> Tensor:
    """Where unexplained maxima lie: 0 to 1 over the frame."""
    cell = 2 * lattice_constant_px(vectors)
    grid = [max(2, round(edge / cell)) for edge in shape]
    scale = positions.new_tensor([grid[0] / shape[0], grid[1] / shape[1]])
    tile = (positions * scale).long()
    count = positions.new_zeros(grid[0] * grid[1])
    count.index_add_(0, tile[:, 0] * grid[1] + tile[:, 1], torch.ones_like(positions[:, 0]))
    dense = (count / 4).clamp(max=1).reshape(1, 1, *grid)
    return interpolate(dense, size=shape, mode="bilinear")[0, 0]


def _join(patches: list[Lattice]) -> Lattice:
    """One lattice of several, grains numbered through by size."""
    return patches[0]
