"""Levels of a frame whose lattice is known: 0 in the empty hexagons, 1 on the common bright column.

What moments are taken of.  Local mean and deviation (`models.normalise`), which need no lattice, change with
the density of defects, so that a single vacancy would look different in every specimen
(`docs/decisions/0013-levels.md`).
"""

import math
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from models.frames import add_rows, filter_frame, gaussian_filter
from models.lattice import Lattice, hexagon_centres
from models.normalise import blur_cells
from models.patches import kernel_prefilter, sample_coefficients

Floats = TypeVar("Floats", bound=np.floating)

#: Standard deviations of the Gaussian windows of background and gain over the lattice constant.
_BACKGROUND_SCALE, _GAIN_SCALE = 1.75, 3.5

#: Part of the lattice constant that the frame is blurred by before it is sampled, against noise of pixels.
_BLUR_SCALE = 0.1

#: Columns whose contrast differs from the common one by more than this part of it say nothing of the gain.
_COMMON = 0.25

#: Where no hexagon is near, the mean of all counts: as much as this part of one.
_REMOTE = 1e-3


def level(image: Tensor, lattice: Lattice, whole: Tensor, spectrum: Tensor | None = None) -> Tensor:
    """Subtract the local level of the hexagon centres; divide by the contrast of common bright columns.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Frame; gain and offset may vary slowly over it.
    lattice : Lattice
        Of the frame.
    whole : Tensor of shape (S,)
        Sites away from the edges; if there are none, all are taken.
    spectrum : Tensor of shape (M, N // 2 + 1), optional
        The frame's `torch.fft.rfft2`, for who has it already.

    Returns
    -------
    Tensor of shape (M, N)
    """
    used = whole if bool(whole.any()) else torch.ones_like(whole)
    positions, centres = lattice.positions[used], hexagon_centres(lattice)[used]  # (S, 2), (S, 3, 2)
    shape, a = (image.shape[0], image.shape[1]), lattice.lattice_px
    transfer = gaussian_filter(shape, image.device, _BLUR_SCALE * a) * kernel_prefilter(shape, image.device)
    coefficients = filter_frame(image, transfer, spectrum)[..., None]
    empty = sample_coefficients(coefficients, centres.reshape(-1, 2))[:, 0]  # (3 S,)
    contrast = sample_coefficients(coefficients, positions)[:, 0] - empty.reshape(-1, 3).mean(1)
    sides = [lattice.sublattice[used] == side for side in (0, 1)]
    common, bright = max((common_value(contrast[side]), k) for k, side in enumerate(sides) if side.any())
    typical = sides[bright] & ((contrast - common).abs() < _COMMON * abs(common))
    background = _window_mean(centres.reshape(-1, 2), empty, shape, a, _BACKGROUND_SCALE)
    gain = _window_mean(positions[typical], contrast[typical], shape, a, _GAIN_SCALE)
    return (image - background) / gain.clamp(min=1e-6)


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
    """Gaussian mean of values at points (row, column), as an image (M, N) made of cells of a / 4."""
    factor = max(1, round(lattice_px / 4))
    rows, columns = (math.ceil(edge / factor) for edge in shape)
    inside = ((points >= 0) & (points <= points.new_tensor([shape[0] - 1, shape[1] - 1]))).all(1)
    points, values = points[inside], values[inside]
    cell = (points / factor).long()
    counted = torch.stack([values, torch.ones_like(values)], dim=1)
    cells = add_rows(values.new_zeros(rows * columns, 2), cell[:, 0] * columns + cell[:, 1], counted)
    total = blur_cells(cells.T.reshape(2, rows, columns), scale * lattice_px / factor)
    mean = (total[0] + _REMOTE * values.mean()) / (total[1] + _REMOTE)
    return interpolate(mean[None, None], scale_factor=factor, mode="bilinear")[0, 0, : shape[0], : shape[1]]
