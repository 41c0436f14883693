"""Local normalisation: the frame less its local mean, over its local deviation.

For looking at; moments and contrasts are taken of `models.levels`.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from models.frames import blur, inverse_rfft2

#: Standard deviation of the Gaussian window over the lattice constant.
WINDOW_SCALE = 2.5

#: The frame is blurred by this part of the lattice constant before its deviation is taken, so that the
#: deviation tells the contrast of the lattice rather than the noise of a pixel, which grows as pixels shrink.
_BLUR_SCALE = 0.1

#: The local deviation counts for this part of its mean at least: vacuum shall not be blown up.
_LEAST_DEVIATION = 0.1


def normalise(image: Tensor, lattice_px: float) -> Tensor:
    """Subtract the local mean of a frame and divide by its local deviation.

    The deviation is taken about the local mean, not about that of the window's centre, so that a sloping
    background does not count as contrast.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Frame, any gain and offset.
    lattice_px : float
        Lattice constant [px].

    Returns
    -------
    Tensor of shape (M, N)
        Its deviation is 1 after a blur of `_BLUR_SCALE`.  The window ends at the frame's edges; nothing is
        assumed beyond.
    """
    blurred = blur(image, _BLUR_SCALE * lattice_px)
    mean = _window_mean(blurred, lattice_px)
    deviation = _window_mean((blurred - mean).square_(), lattice_px).clamp_(min=0).sqrt_()
    return (image - mean) / deviation.clamp_(min=_LEAST_DEVIATION * float(deviation.mean()))


def _window_mean(image: Tensor, lattice_px: float) -> Tensor:
    """Gaussian mean over the window, on cells of half a lattice constant, interpolated to pixels, (M, N)."""
    height, width = image.shape
    factor = max(1, round(lattice_px / 2))
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    padded = pad(image, (0, columns * factor - width, 0, rows * factor - height))
    cells = torch.stack([avg_pool2d(padded[None], factor)[0], _filled((height, width), factor, image)])
    total = blur_cells(cells, WINDOW_SCALE * lattice_px / factor)
    mean = (total[0] / total[1])[None, None]
    return interpolate(mean, scale_factor=factor, mode="bilinear")[0, 0, :height, :width]


def _filled(shape: tuple[int, int], factor: int, like: Tensor) -> Tensor:
    """Part of each cell of `factor` pixels square that the frame fills, shape (H, W)."""
    rows, columns = (
        torch.arange(edge, 0, -factor, device=like.device).clamp(max=factor).to(like) / factor
        for edge in shape
    )
    return torch.outer(rows, columns)


def blur_cells(cells: Tensor, sigma: float) -> Tensor:
    """Gaussian sum of channels (C, H, W), zero beyond the edge.

    By Fourier transforms of the padded cells: a convolution with windows of 60 to 90 cells takes ten times
    as long.
    """
    reach = math.ceil(3 * sigma)
    offset = torch.arange(-reach, reach + 1, device=cells.device, dtype=cells.dtype)
    taps = torch.exp(-0.5 * (offset / sigma).square())
    taps = taps / taps.sum()
    height, width = cells.shape[1:]
    rows, columns = (next_fast_len(max(edge, reach + 1) + reach, real=True) for edge in (height, width))
    along_rows = torch.fft.fft(_wrapped(taps, rows)).real
    along_columns = torch.fft.rfft(_wrapped(taps, columns)).real
    spectrum = torch.fft.rfft2(cells, s=(rows, columns)).mul_(torch.outer(along_rows, along_columns))
    return inverse_rfft2(spectrum, columns)[:, :height, :width]


def gaussian_matrix(length: int, sigma: float) -> NDArray[np.float64]:
    """The matrix (length, length) whose product with cells makes the sum of `blur_cells` along one axis.

    For few cells (some hundred) that are blurred again and again.
    """
    reach = math.ceil(3 * sigma)
    taps = np.exp(-0.5 * (np.arange(max(length, reach + 1)) / sigma) ** 2)
    taps[reach + 1 :] = 0
    place = np.arange(length)
    return np.asarray(taps[np.abs(place[:, None] - place)] / (2 * taps.sum() - taps[0]))


def _wrapped(taps: Tensor, length: int) -> Tensor:
    """A kernel's taps (2 R + 1,) on a ring of `length`, its middle first."""
    reach = len(taps) // 2
    ring = taps.new_zeros(length)
    ring[: reach + 1] = taps[reach:]
    ring[length - reach :] = taps[:reach]
    return ring
