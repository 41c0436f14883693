"""Normalisation of a frame whose lattice is known: 0 in the empty hexagons, 1 on the common bright column.

Local mean and deviation, which need no lattice, would do for a perfect crystal.  But both change with the
density of defects, so that a single vacancy would look different in every specimen
(`docs/decisions/0013-normalisation.md`).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from models.frames import blur, sample_bilinear
from models.lattice import Lattice, hexagon_centres

#: Standard deviation of the Gaussian window of the background over the lattice constant.
WINDOW_SCALE = 2.5

#: Part of the lattice constant that the frame is blurred by before it is sampled, against noise of pixels.
_BLUR_SCALE = 0.1

#: Where no hexagon is near, the mean of all counts: as much as this part of one.
_REMOTE = 1e-3


def normalise(image: Tensor, lattice: Lattice, whole: Tensor) -> Tensor:
    """Subtract the local level of the hexagon centres; divide by the contrast of the common bright column.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Frame, any gain and offset.
    lattice : Lattice
        Of the frame.
    whole : Tensor of shape (S,)
        Sites away from the edges; if there are none, all are taken.

    Returns
    -------
    Tensor of shape (M, N)
        The background may vary slowly; the gain is one for the frame, as a detector's is.
    """
    blurred = blur(image, _BLUR_SCALE * lattice.lattice_px)
    used = whole if bool(whole.any()) else torch.ones_like(whole)
    centres = hexagon_centres(lattice)  # (S, 3, 2)
    level = sample_bilinear(blurred, centres.reshape(-1, 2)).reshape(-1, 3)  # (S, 3)
    contrast = sample_bilinear(blurred, lattice.positions) - level.mean(1)
    sides = [contrast[used & (lattice.sublattice == side)] for side in (0, 1)]
    gain = max(common_value(side) for side in sides if len(side))
    background = _window_mean(centres[used].reshape(-1, 2), level[used].flatten(), image, lattice.lattice_px)
    return (image - background) / max(gain, 1e-6)


def common_value(values: Tensor) -> float:
    """Mean of the densest half of some values: that of whole columns as long as defects are fewer."""
    ranked = values.sort().values
    half = (len(ranked) + 1) // 2
    start = int((ranked[half - 1 :] - ranked[: len(ranked) - half + 1]).argmin())
    return float(ranked[start : start + half].mean())


def _window_mean(points: Tensor, values: Tensor, image: Tensor, lattice_px: float) -> Tensor:
    """Gaussian mean of values at points (row, column), as an image (M, N) made of cells of a / 2."""
    height, width = image.shape
    factor = max(1, round(lattice_px / 2))
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    inside = ((points >= 0) & (points <= points.new_tensor([height - 1, width - 1]))).all(1)
    points, values = points[inside], values[inside]
    cell = (points / factor).long()
    cells = values.new_zeros(2, rows * columns)
    cells.index_add_(1, cell[:, 0] * columns + cell[:, 1], torch.stack([values, torch.ones_like(values)]))
    total = _blur_cells(cells.reshape(2, rows, columns), WINDOW_SCALE * lattice_px / factor)
    mean = (total[0] + _REMOTE * values.mean()) / (total[1] + _REMOTE)
    return interpolate(mean[None, None], scale_factor=factor, mode="bilinear")[0, 0, :height, :width]


def _blur_cells(cells: Tensor, sigma: float) -> Tensor:
    """Gaussian sum of channels (C, H, W), zero beyond the edge."""
    reach = math.ceil(3 * sigma)
    offset = torch.arange(-reach, reach + 1, device=cells.device, dtype=cells.dtype)
    taps = torch.exp(-0.5 * (offset / sigma).square())
    taps = taps / taps.sum()
    rows = conv2d(cells[:, None], taps[None, None, :, None], padding=(reach, 0))
    return conv2d(rows, taps[None, None, None, :], padding=(0, reach))[:, 0]
