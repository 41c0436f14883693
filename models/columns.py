"""Candidate columns: the maxima of a frame filtered at the scale of its lattice."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.frames import filter_frame, frequencies, gaussian_filter
from models.maxima import local_maxima, refine_maxima

#: Standard deviation of the Laplacian-of-Gaussian filter over the lattice constant.  Measured on the
#: labelled TiWSe2 pairs by the founders (0.16); half the distance of neighbours is 0.29.
LOG_SCALE = 0.16


@dataclass(frozen=True)
class Maxima:
    """Maxima of the filtered frame: candidates, not yet columns.

    Parameters
    ----------
    positions : Tensor of shape (K, 2)
        (row, column) [px], sub-pixel.
    response : Tensor of shape (K,)
        Filtered frame at the maximum, > 0.
    """

    positions: Tensor
    response: Tensor

    def to(self, device: torch.device | str) -> "Maxima":
        """The same on another device."""
        return Maxima(self.positions.to(device), self.response.to(device))


def filter_columns(image: Tensor, lattice_px: float, spectrum: Tensor | None = None) -> Tensor:
    """Negative Laplacian of Gaussian of a frame: positive on columns, negative between, blind to background.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Standardised frame, taken as periodic.
    lattice_px : float
        Lattice constant [px].
    spectrum : Tensor of shape (M, N // 2 + 1), optional
        The frame's `torch.fft.rfft2`, for who has it already.

    Returns
    -------
    Tensor of shape (M, N)
        Scaled by the filter's variance, so that its size depends little on `lattice_px`.
    """
    shape = (image.shape[0], image.shape[1])
    sigma_px = LOG_SCALE * lattice_px
    rows, columns = frequencies(shape, image.device)
    laplacian = (2 * torch.pi * sigma_px) ** 2 * (rows.square() + columns.square())
    transfer = laplacian * gaussian_filter(shape, image.device, sigma_px)
    return filter_frame(image, transfer, spectrum)


def find_maxima(filtered: Tensor, lattice_px: float) -> Maxima:
    """Find all positive local maxima (3 x 3) of a filtered frame, refined to sub-pixel.

    Noise and hexagon centres are among them: `models.honeycomb` sorts them out.  Within two standard
    deviations of the filter from the edge of the frame, where it mixes in the opposite edge, there are none.

    Parameters
    ----------
    filtered : Tensor of shape (M, N)
        From `filter_columns`.
    lattice_px : float
        Lattice constant [px].
    """
    margin = max(1, round(2 * LOG_SCALE * lattice_px))
    inner = filtered[margin - 1 : 1 - margin or None, margin - 1 : 1 - margin or None]
    index = local_maxima(inner) + margin - 1
    index = index[filtered[index[:, 0], index[:, 1]] > 0]
    positions, response = refine_maxima(filtered, index)
    return Maxima(positions, response)
