"""Where in a frame columns scatter as little as its better part.

Below carbon, columns scatter several times as far as elsewhere.  What a frame tells of its imaging as a whole
(`models.alignment`) is learnt beside it: else the scatter there would pass for shallow defects, and the
defects of the whole frame for deeper ones.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.templates import Templates

#: Edge of the tiles that are compared [lattice constants]: some 70 columns each.
_TILE = 6.0

#: A tile is loud if its columns scatter so many times as far, in the median, as those of the tile that this
#: part of all columns scatters less than.  Where a frame is alike throughout medians stray by 0.15 of
#: themselves, and ten times the usual number of defects adds a quarter.
_LOUD, _BETTER_PART = 2.0, 0.2

#: Of each sublattice so many columns are left at least, or all are taken.
_LEAST_LEFT = 100


def find_quiet(moments: Tensor, is_metal: Tensor, at: Tensor, templates: Templates) -> Tensor:
    """Which columns lie where the frame scatters little, (S,).

    Parameters
    ----------
    moments : Tensor of shape (S, 6)
        From `models.reading`.
    is_metal : Tensor of shape (S,)
    at : Tensor of shape (S, 2)
        Positions [lattice constants].
    templates : Templates
        Of the context.
    """
    on_metal = is_metal.numpy()
    if _fewer(on_metal) < _LEAST_LEFT:
        return torch.ones_like(is_metal)
    axes = templates.axes[templates.common].numpy()
    along = axes @ moments.double().numpy().T  # (2, S)
    size = np.empty(len(on_metal))
    for k in (0, 1):
        own = np.flatnonzero(on_metal == bool(k))
        away = along[k, own]
        away = np.abs(away - np.median(away))
        size[own] = away / max(float(np.median(away)), 1e-12)
    tile, tiles = _tiles(at.T.double().contiguous().numpy())
    number = np.bincount(tile, minlength=tiles)
    order = np.argsort(tile + size / (1 + size))  # by tile, and by size within
    held = number > 0
    middle = order[(np.cumsum(number) - number + number // 2)[held]]
    median = size[middle]
    ranked = np.argsort(median)
    better = np.searchsorted(np.cumsum(number[held][ranked]), _BETTER_PART * len(tile))
    is_calm = np.zeros(tiles, dtype=np.bool_)
    is_calm[held] = median <= _LOUD * median[ranked[better]]
    is_quiet = is_calm[tile]
    if _fewer(on_metal[is_quiet]) < _LEAST_LEFT:
        return torch.ones_like(is_metal)
    return torch.from_numpy(is_quiet)


def _fewer(on_metal: NDArray[np.bool_]) -> int:
    """Columns of the sublattice that has fewer of them."""
    metals = int(np.count_nonzero(on_metal))
    return min(metals, len(on_metal) - metals)


def _tiles(at: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """Number of the tile that each position (2, S) lies in, and how many tiles there are."""
    low, high = at.min(axis=1), at.max(axis=1)
    shape = np.maximum(np.rint((high - low) / _TILE), 1).astype(np.int64)
    per_length = shape / np.maximum(high - low, 1e-9)
    row, column = np.minimum(((at - low[:, None]) * per_length[:, None]).astype(np.int64), shape[:, None] - 1)
    return row * shape[1] + column, int(shape.prod())
