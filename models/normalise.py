"""Local normalisation: the frame less its local mean, over its local deviation."""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from models.frames import blur

#: Standard deviation of the Gaussian window over the lattice constant.
WINDOW_SCALE = 2.5

#: The frame is blurred by this part of the lattice constant before its deviation is taken, so that the
#: deviation tells the contrast of the lattice rather than the noise of a pixel, which grows as pixels shrink.
_BLUR_SCALE = 0.1

#: The local deviation counts for this part of its mean at least: vacuum shall not be blown up.
_LEAST_DEVIATION = 0.1


def normalise(image: Tensor, lattice_px: float) -> Tensor:
    """Subtract the local mean of a frame and divide by its local deviation.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Frame, any gain and offset.
    lattice_px : float
        Lattice constant [px].

    Returns
    -------
    Tensor of shape (M, N)
        The window ends at the frame's edges; nothing is assumed beyond.
    """
    shape = (image.shape[0], image.shape[1])
    blurred = blur(image, _BLUR_SCALE * lattice_px)
    factor = max(1, round(lattice_px / 2))
    height, width = (factor * math.ceil(edge / factor) for edge in shape)
    grid = (height // factor, width // factor)
    moments = pad(torch.stack([blurred, blurred.square()]), (0, width - shape[1], 0, height - shape[0]))
    moments = torch.cat([_filled(grid, shape, factor, image), avg_pool2d(moments[:, None], factor)])
    windowed = _window(moments, WINDOW_SCALE * lattice_px / factor)[:, 0]
    mean = windowed[1] / windowed[0]
    deviation = (windowed[2] / windowed[0] - mean.square()).clamp(min=0).sqrt()
    deviation = deviation.clamp(min=_LEAST_DEVIATION * float(deviation.mean()))
    slow = interpolate(torch.stack([mean, deviation])[None], scale_factor=factor, mode="bilinear")[0]
    slow = slow[:, : shape[0], : shape[1]]
    return (image - slow[0]) / slow[1]


def _filled(grid: tuple[int, int], shape: tuple[int, int], factor: int, like: Tensor) -> Tensor:
    """Part of each cell of `factor` pixels square that the frame fills, shape (1, 1, H, W)."""
    rows, columns = (
        (edge - factor * torch.arange(cells, device=like.device)).clamp(max=factor).to(like) / factor
        for edge, cells in zip(shape, grid, strict=True)
    )
    return torch.outer(rows, columns)[None, None]


def _window(channels: Tensor, sigma: float) -> Tensor:
    """Gaussian sum of channels (C, 1, H, W), zero beyond the edge."""
    reach = math.ceil(3 * sigma)
    offset = torch.arange(-reach, reach + 1, device=channels.device, dtype=channels.dtype)
    taps = torch.exp(-0.5 * (offset / sigma).square())
    taps = taps / taps.sum()
    rows = conv2d(channels, taps[None, None, :, None], padding=(reach, 0))
    return conv2d(rows, taps[None, None, None, :], padding=(0, reach))
