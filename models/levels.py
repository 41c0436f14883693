"""Levels of a frame whose lattice is known: 0 in the empty hexagons, 1 on the common bright column.

What moments and contrasts are taken of.  Local mean and deviation, which need no lattice, change with the
density of defects, so that a single vacancy would look different in every specimen
(`docs/decisions/0013-levels.md`).
"""

import math
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from models.frames import add_rows, at_nearest, filter_frame, gaussian_filter
from models.lattice import Lattice, hexagon_beside
from models.normalise import blur_cells
from models.patches import kernel_prefilter, kernel_taps

Floats = TypeVar("Floats", bound=np.floating)

#: Standard deviations of the Gaussian windows of background and gain over the lattice constant.
_BACKGROUND_SCALE, _GAIN_SCALE = 1.75, 3.5

#: Cells of a window over its standard deviation: they widen it by one part in a hundred.
_CELL_SCALE = 2 / 7

#: Part of the lattice constant that the frame is blurred by before it is sampled, against noise of pixels.
BLUR_SCALE = 0.1

#: Columns whose contrast differs from the common one by more than this part of it say nothing of the gain.
_COMMON = 0.25

#: Times at most that common columns are told by the gain found before, and how many more there must be to go
#: on: where the gain falls to half over a frame, its ends are reached step by step.
_ROUNDS, _MORE = 8, 1.02

#: Where no hexagon is near, the mean of all counts: as much as this part of one.
_REMOTE = 1e-3


def column_filter(shape: tuple[int, int], lattice_px: float, device: torch.device | str) -> Tensor:
    """Transfer function, (M, N // 2 + 1), from a frame to what taps read the brightness of columns of."""
    return gaussian_filter(shape, device, BLUR_SCALE * lattice_px) * kernel_prefilter(shape, device)


def empty_level(coefficients: Tensor, lattice: Lattice, whole: Tensor) -> Tensor:
    """Local level of the hexagon centres, (M, N).

    Parameters
    ----------
    coefficients : Tensor of shape (M, N)
        The frame after `column_filter`.
    lattice : Lattice
        Of the frame.
    whole : Tensor of shape (S,)
        Sites away from the edges; if there are none, all are taken.
    """
    shape = (coefficients.shape[0], coefficients.shape[1])
    centres = hexagon_beside(lattice)[_used(whole)]
    values = kernel_taps(shape, centres).sum(coefficients)
    return _window_mean(centres, values, shape, lattice.lattice_px, _BACKGROUND_SCALE)


def above_empty(brightness: Tensor, empty: Tensor, lattice: Lattice) -> Tensor:
    """How far columns stand out, (S,): brightness (S,) less the level (M, N) of the hexagons around.

    Brightness is read of the frame after `column_filter`.
    """
    return brightness - at_nearest(empty, lattice.positions)


def level(
    image: Tensor, empty: Tensor, contrast: Tensor, lattice: Lattice, whole: Tensor
) -> tuple[Tensor, Tensor]:
    """Subtract the local level of the hexagon centres; divide by the contrast of common bright columns.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Frame; gain and offset may vary slowly over it.
    empty : Tensor of shape (M, N)
        From `empty_level`.
    contrast : Tensor of shape (S,)
        From `above_empty`.
    lattice : Lattice
        Of the frame.
    whole : Tensor of shape (S,)
        As for `empty_level`.

    Returns
    -------
    levelled : Tensor of shape (M, N)
    contrast : Tensor of shape (S,)
        Brightness of each column there.
    """
    shape = (image.shape[0], image.shape[1])
    sides = [_used(whole) & (lattice.sublattice == side) for side in (0, 1)]
    common, bright = max((common_value(contrast[side]), k) for k, side in enumerate(sides) if side.any())
    typical = sides[bright] & ((contrast - common).abs() < _COMMON * abs(common))
    for _ in range(_ROUNDS):
        gain = _window_mean(
            lattice.positions[typical], contrast[typical], shape, lattice.lattice_px, _GAIN_SCALE
        ).clamp_(min=1e-6)
        relative = contrast / at_nearest(gain, lattice.positions)
        more = sides[bright] & ((relative - 1).abs() < _COMMON)
        if int(more.sum()) <= _MORE * int(typical.sum()):
            break
        typical = more
    return (image - empty).div_(gain), relative


def heights(image: Tensor, lattice: Lattice, whole: Tensor) -> tuple[Tensor, Tensor]:
    """`empty_level` of a frame (M, N), and how far each column stands out of it, (S,)."""
    shape = (image.shape[0], image.shape[1])
    coefficients = filter_frame(image, column_filter(shape, lattice.lattice_px, image.device))
    brightness = kernel_taps(shape, lattice.positions).sum(coefficients)
    empty = empty_level(coefficients, lattice, whole)
    return empty, above_empty(brightness, empty, lattice)


def level_frame(image: Tensor, lattice: Lattice, whole: Tensor) -> tuple[Tensor, Tensor]:
    """`level` a frame (M, N), with all that it needs."""
    return level(image, *heights(image, lattice, whole), lattice, whole)


def _used(whole: Tensor) -> Tensor:
    """Sites that levels are taken of."""
    return whole if bool(whole.any()) else torch.ones_like(whole)


def common_value(values: Tensor) -> float:
    """Mean of the densest half of some values: that of whole columns as long as defects are fewer."""
    return float(densest_half(values.cpu().numpy()).mean())


def densest_half(values: NDArray[Floats]) -> NDArray[Floats]:
    """The half of some values (n,), at least one, that spans the least, from the lowest up."""
    ranked = np.sort(values)  # four times as fast as torch's
    half = (len(ranked) + 1) // 2
    start = int((ranked[half - 1 :] - ranked[: len(ranked) - half + 1]).argmin())
    return ranked[start : start + half]


def _window_mean(
    points: Tensor, values: Tensor, shape: tuple[int, int], lattice_px: float, scale: float
) -> Tensor:
    """Gaussian mean of values at points (row, column), as an image (M, N)."""
    factor = max(1, round(_CELL_SCALE * scale * lattice_px))
    rows, columns = (math.ceil(edge / factor) for edge in shape)
    inside = ((points >= 0) & (points <= points.new_tensor([shape[0] - 1, shape[1] - 1]))).all(1)
    points, values = points[inside], values[inside]
    cell = ((points + 0.5) / factor).long()
    counted = torch.stack([values, torch.ones_like(values)], dim=1)
    cells = add_rows(values.new_zeros(rows * columns, 2), cell[:, 0] * columns + cell[:, 1], counted)
    total = blur_cells(cells.T.reshape(2, rows, columns), scale * lattice_px / factor)
    mean = (total[0] + _REMOTE * values.mean()) / (total[1] + _REMOTE)
    return interpolate(mean[None, None], scale_factor=factor, mode="bilinear")[0, 0, : shape[0], : shape[1]]
