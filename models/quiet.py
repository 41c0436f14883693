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
    counts = np.bincount(on_metal, minlength=2)
    if counts.min() < _LEAST_LEFT:
        return torch.ones_like(is_metal)
    axes = templates.axes[templates.common].numpy()
    along = moments.double().numpy() @ axes.T  # (S, 2)
    size = np.empty(len(along))
    for k in (0, 1):
        own = on_metal == bool(k)
        away = np.abs(along[own, k] - np.median(along[own, k]))
        size[own] = away / max(float(np.median(away)), 1e-12)
    tile, tiles = _tiles(at.double().numpy())
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
    if np.bincount(on_metal[is_quiet], minlength=2).min() < _LEAST_LEFT:
        return torch.ones_like(is_metal)
    return torch.from_numpy(is_quiet)


def _tiles(at: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """Number of the tile that each position (S, 2) lies in, and how many tiles there are."""
    low, high = at.min(axis=0), at.max(axis=0)
    rows, columns = np.maximum(np.rint((high - low) / _TILE), 1).astype(int).tolist()
    place = ((at - low) / np.maximum(high - low, 1e-9) * (rows, columns)).astype(np.int64)
    return np.minimum(place[:, 0], rows - 1) * columns + np.minimum(place[:, 1], columns - 1), rows * columns
