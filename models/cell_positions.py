"""Where the cells of a region's index grid lie: a mean site lattice, and how far it is displaced nearby."""

import numpy as np
import torch
from torch import Tensor

from models.columns import Maxima
from models.index_grid import IndexGrid, local_mean
from models.indexing import Field, Indexed
from models.scale import lattice_constant_px

#: A maximum further from its predicted site than this [site periods] is not that site's column.
MATCH = 0.35

#: Maxima that a lattice is fitted to, where fringes have told which is which.
_ENOUGH_TO_FIT = 100


def predict_cells(region: Indexed, maxima: Maxima, grid: IndexGrid) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Predict the position of each cell of the grid, by the fringes' field if there is one.

    Returns
    -------
    basis : Tensor of shape (2, 2)
        Mean site lattice, rows [px].
    predicted : Tensor of shape (2, H, W)
        Row and column [px].
    column : Tensor of shape (H, W)
        Number of the maximum that belongs to the cell, or -1.
    held : Tensor of shape (H, W)
        Whether there are maxima, or fringes, near enough to predict from.
    """
    member = _brightest_of_each(grid.number(region.index), region.member, maxima.response, grid)
    measured = maxima.positions.T[:, member.clamp(min=0)]  # (2, H, W)
    if region.field is None:
        return _predict_by_maxima(grid, member, measured)
    return _predict_by_fringes(region.field, grid, member, measured)


def _predict_by_maxima(
    grid: IndexGrid, member: Tensor, measured: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The mean lattice plus the local mean displacement of the maxima; as `predict_cells`.

    Parameters
    ----------
    grid : IndexGrid
    member : Tensor of shape (H, W)
        Number of the maximum of each cell, or -1.
    measured : Tensor of shape (2, H, W)
        Its position.
    """
    occupied = member >= 0
    basis, mean = _mean_lattice(grid, occupied, measured)
    period = lattice_constant_px(basis)
    residual = torch.where(occupied, measured - mean, 0.0)
    weight = occupied.float()
    smooth, density = torch.zeros_like(residual), weight
    for _ in range(3):  # the first pass flattens gradients, the second mends that, the third drops outliers
        aside, density = local_mean((residual - smooth) * weight, weight)
        smooth = smooth + aside
        near = (residual - smooth).square_().sum(0) < (MATCH * period) ** 2
        weight = (occupied & near).float()
    return basis, mean + smooth, torch.where(occupied & near, member, -1), density > 0.1


def _predict_by_fringes(
    field: Field, grid: IndexGrid, member: Tensor, measured: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where the field has each cell; as `_predict_by_maxima`."""
    place, known = field.place(grid.indices().reshape(-1, 2))
    expected, held = place.T.reshape(measured.shape), known.reshape(grid.shape)
    reach = MATCH * lattice_constant_px(field.basis)
    near = (member >= 0) & ((measured - expected).square().sum(0) < reach**2)
    # The field's own basis is right to 1 % only, its tiles to 0.1 %; enough maxima tell better.
    are_enough = int(near.sum()) >= _ENOUGH_TO_FIT
    basis, _ = _mean_lattice(grid, near, measured) if are_enough else _mean_lattice(grid, held, expected)
    return basis, expected, torch.where(near, member, -1), held


def _mean_lattice(grid: IndexGrid, occupied: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
    """Fit one lattice to the measured positions (2, H, W) of the occupied cells, by least squares.

    Returns
    -------
    basis : Tensor of shape (2, 2)
        Rows t1 and t2 [px].
    mean : Tensor of shape (2, H, W)
        Where that lattice has each cell [px].
    """
    # Indices are counted from the middle, for rounding.
    places = [torch.arange(n, dtype=torch.float64) - n / 2 for n in grid.shape]
    powers = [torch.stack([place**0, place, place**2]).to(occupied.device) for place in places]
    counted = torch.cat([occupied[None].double(), torch.where(occupied, measured, 0.0).double()])
    sums = (powers[0] @ counted @ powers[1].T).cpu().numpy()  # over the cells, of what they hold times powers
    (one, j, jj), (i, ij, _), (ii, _, _) = sums[0]
    normal = np.array([[ii, ij, i], [ij, jj, j], [i, j, one]])
    along_i, along_j, middle = np.linalg.solve(
        normal, np.stack([sums[1:, 1, 0], sums[1:, 0, 1], sums[1:, 0, 0]])
    )
    basis = torch.from_numpy(np.stack([along_i, along_j]))
    mean = (
        torch.from_numpy(middle)[:, None, None]
        + basis[0][:, None, None] * places[0][:, None]
        + basis[1][:, None, None] * places[1]
    )
    return basis.to(measured), mean.to(measured)


def _brightest_of_each(cell: Tensor, member: Tensor, response: Tensor, grid: IndexGrid) -> Tensor:
    """The maximum of highest response in each cell, shape (H, W), -1 where there is none."""
    cells = grid.shape[0] * grid.shape[1]
    own = response[member]
    highest = own.new_zeros(cells).scatter_reduce_(0, cell, own, "amax")
    wins = own == highest[cell]
    chosen = torch.full((cells,), -1, device=cell.device)
    chosen[cell[wins]] = member[wins]
    return chosen.reshape(grid.shape)
