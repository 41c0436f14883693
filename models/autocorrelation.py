"""The autocorrelation of a frame."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from models.frames import frequencies, inverse_rfft2

#: Intensities are clipped this many median absolute deviations from the median.
_CLIP = 6.0

#: So many pixels tell the median and its deviation.
_SAMPLE = 2**13

#: Structures above about this size [px] (contamination, a wedge) are damped before correlating.
_BACKGROUND_PX = 60.0


def autocorrelation(image: Tensor, weight: Tensor | None = None) -> Tensor:
    """Autocorrelation of a frame, zero lag first, divided by its value at zero lag.

    A Hann window keeps the edges out; slow background is damped, and what is far brighter or darker than the
    rest is clipped, lest a blot outweigh the lattice.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Standardised frame.
    weight : Tensor of shape (M, N), optional
        Multiplies the window, to look at a part of the frame only.

    Returns
    -------
    Tensor of shape (M, N)
    """
    shape = (image.shape[0], image.shape[1])
    window, damping = _window_and_damping(shape, image.device)
    if weight is not None:
        window = window * weight
    clipped = _clip(image)
    mean = torch.dot(clipped.flatten(), window.flatten()) / window.sum()
    spectrum = torch.fft.rfft2(clipped.sub_(mean).mul_(window))
    power = (spectrum * spectrum.conj()).mul_(damping)
    correlation = inverse_rfft2(power, shape[1])
    return correlation.div_(float(correlation[0, 0]))


@lru_cache(maxsize=2)
def _window_and_damping(shape: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Hann window (M, N), and what slow background is damped by, (M, N // 2 + 1); not to be modified."""
    window = torch.outer(*(torch.hann_window(edge, device=device) for edge in shape))
    rows, columns = frequencies(shape, device)
    squared = rows.square() + columns.square()
    return window, (squared / (squared + _BACKGROUND_PX**-2)) ** 3


def _clip(image: Tensor) -> Tensor:
    """A frame (M, N), not constant, without what is far brighter or darker than the rest.

    Where more than half of the pixels are alike, as those that no electron has reached in a faint frame of
    counts, the median deviation is nothing: that of the others counts.
    """
    step = max(1, math.isqrt(image.numel() // _SAMPLE))
    some = image[::step, ::step].flatten()
    middle = some.median()
    deviation = (some - middle).abs().median()
    if float(deviation) == 0:
        apart = (image - middle).abs()
        deviation = apart[apart > 0].median()
    return image.clamp(middle - _CLIP * deviation, middle + _CLIP * deviation)


def crop_lags(correlation: Tensor, reach: int) -> Tensor:
    """Lags from -reach to reach along both axes, shape (2 reach + 1, 2 reach + 1)."""
    rows = torch.cat([correlation[-reach:], correlation[: reach + 1]])
    return torch.cat([rows[:, -reach:], rows[:, : reach + 1]], dim=1)
