"""Rotation-invariant Zernike moments of the disc around a column.

With m = 0 the moments are integrals of the image times a radial kernel, that is, convolutions.  The Fourier
transform of R_n^0 on the unit disc is a Bessel function (Noll, 10.1364/JOSA.66.000207), so the moments come
from the frame's spectrum without any discretised disc: exactly those of infinitely fine patches of the
frame's band-limited interpolation.  On discs of 14 px summed pixel by pixel, the moment of a constant would
be 0.81.
"""

import math
from collections import deque
from contextlib import suppress
from functools import cache

import numpy as np
import torch
from scipy.special import jv
from torch import Tensor

from models.frames import frequencies, inverse_rfft2
from models.patches import Taps, kernel_prefilter
from models.threads import Helper

#: Radial orders n of the moments, m = 0.
ORDERS = (0, 2, 4, 6, 8, 10)

#: The table of transfer functions: entries a unit of frequency (so that the nearest is right to 3e-4), and
#: where it ends [cycles per disc radius]; a 31 mrad probe of 100 keV or less passes 4.5 at most.
_TABLE_DENSITY, _TABLE_END = 8192, 32


def radial_polynomial(order: int, radius: Tensor) -> Tensor:
    """R_n^0 of the radius, normalised by sqrt(n + 1): mean square 1 over the unit disc, 0 beyond it.

    Parameters
    ----------
    order : int
        n, even.
    radius : Tensor
        Distance from the centre over the disc's radius.
    """
    half = order // 2
    total = torch.zeros_like(radius)
    for k in range(half + 1):
        factor = math.factorial(order - k) / (math.factorial(k) * math.factorial(half - k) ** 2)
        total = total + (-1) ** k * factor * radius ** (order - 2 * k)
    return torch.where(radius <= 1, math.sqrt(order + 1) * total, 0.0)


def zernike_moments(
    image: Tensor, taps: Taps, entry: Tensor, spectrum: Tensor | None = None, helper: Helper | None = None
) -> Tensor:
    """Moments of the discs around columns: means over the disc of image times `radial_polynomial`.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Levelled frame, taken as periodic: discs must lie inside (`models.patches.is_whole`).
    taps : Taps
        At the columns' positions.
    entry : Tensor of shape (M, N // 2 + 1)
        From `table_entry`, for the discs.
    spectrum : Tensor of shape (M, N // 2 + 1), optional
        The frame's `torch.fft.rfft2`, for who has it already.
    helper : Helper, optional
        Takes its share of the moments.

    Returns
    -------
    Tensor of shape (S, 6)
        One column for each of `ORDERS`.
    """
    shape = (image.shape[0], image.shape[1])
    spectrum = torch.fft.rfft2(image) if spectrum is None else spectrum
    spectrum = spectrum * kernel_prefilter(shape, image.device)
    spectrum[0, 0] = 0  # the mean is added at the end, as sampling between pixels would ripple on it
    table = _transfer_table(image.device)
    moments = image.new_empty(len(ORDERS), taps.weight.shape[1])
    left = deque(range(len(ORDERS)))

    def take() -> None:
        with suppress(IndexError):
            while True:
                k = left.popleft()
                transfer = table[k].index_select(0, entry.flatten()).reshape(spectrum.shape)
                moments[k] = taps.sum(inverse_rfft2(spectrum * transfer, shape[1]))

    others = (helper or Helper()).start(take)
    take()
    others()
    moments[0] += image.mean()
    return moments.T.contiguous()


def table_entry(shape: tuple[int, int], disc: Tensor, device: torch.device | str) -> Tensor:
    """Where the transfer functions of discs are looked up for each frequency of a frame.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the frame.
    disc : Tensor of shape (2, 2)
        From `models.patches.disc_map`.
    device : torch.device or str

    Returns
    -------
    Tensor of shape (M, N // 2 + 1)
        int32.
    """
    rows, columns = frequencies(shape, device)
    (a, b), (c, d) = disc.tolist()
    frequency = torch.hypot(a * rows + b * columns, c * rows + d * columns)
    return (frequency * _TABLE_DENSITY + 0.5).clamp_(max=_TABLE_END * _TABLE_DENSITY).to(torch.int32)


def table_place(frequency: float) -> int:
    """What `table_entry` says of a frequency [cycles per disc radius]."""
    return round(min(frequency, _TABLE_END) * _TABLE_DENSITY)


@cache
def _transfer_table(device: torch.device) -> Tensor:
    """Transfer functions by frequency [cycles per disc radius], shape (6, table length), 0 at the end."""
    coarse = np.linspace(0, _TABLE_END, _TABLE_END * _TABLE_DENSITY // 32 + 1)
    fine = np.linspace(0, _TABLE_END, _TABLE_END * _TABLE_DENSITY + 1)
    safe = np.maximum(coarse, 1e-9)
    rows = [
        math.sqrt(n + 1) / math.pi * (-1) ** (n // 2) * jv(n + 1, 2 * math.pi * safe) / safe for n in ORDERS
    ]
    table = torch.tensor(np.array([np.interp(fine, coarse, row) for row in rows]), dtype=torch.float32)
    table[:, -1] = 0
    return table.to(device)
