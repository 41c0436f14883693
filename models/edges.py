"""Moments of columns whose disc is partly outside the frame, by the threefold symmetry of the honeycomb.

Turned by 120 degrees about a column, its surroundings look the same but for defects and noise.  So a point
of the disc that was not recorded is taken to be like its turned copies that were, and each circle around the
column is averaged over such triples.  A disc cut at its middle still has one of each triple.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from models.frames import filter_frame
from models.patches import Taps, kernel_prefilter, kernel_taps
from models.zernike import ORDERS, radial_polynomial, table_place

#: Circles around a column, at the nodes of Gauss and Legendre.
_CIRCLES = 8

#: Highest frequency that is read [cycles per disc radius].  Moments hold little from beyond, and the points
#: are too far apart for it: noise of pixels would count as often as there are points, not pixels in the disc.
_HIGHEST = 2.7

#: A circle of radius 1 has so many points, a smaller one fewer, always a multiple of three: as many as tell
#: its mean at that frequency.
_POINTS = 18


@dataclass(frozen=True)
class EdgePoints:
    """Points of the discs around S columns near the edge, T triples a disc.

    Parameters
    ----------
    recorded : Tensor of shape (R,)
        Which of the points, disc by disc and triple by triple, lie in the frame: their numbers, ascending.
    taps : Taps
        At those.
    seen : Tensor of shape (S, T)
        How many points of every triple lie in the frame.
    """

    recorded: Tensor
    taps: Taps
    seen: Tensor

    @classmethod
    def around(cls, positions: Tensor, disc: Tensor, shape: tuple[int, int]) -> "EdgePoints":
        """Points around positions (S, 2) [px] in a frame of some shape; `disc` as `disc_map` has it."""
        offsets, _ = _quadrature(positions.device)
        points = (positions.T[:, :, None] + (disc.to(positions).T @ offsets.T)[:, None]).flatten(1)
        row, column = points  # each (S x triples x 3,)
        inside = (row >= 0) & (row <= shape[0] - 1) & (column >= 0) & (column <= shape[1] - 1)
        recorded = inside.nonzero()[:, 0]
        taps = kernel_taps(shape, points.index_select(1, recorded).T)
        return cls(recorded, taps, inside.reshape(len(positions), -1, 3).sum(2))

    def moments(self, image: Tensor, entry: Tensor, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Moments of the discs.

        Parameters
        ----------
        image : Tensor of shape (M, N)
            Levelled frame.
        entry : Tensor of shape (M, N // 2 + 1)
            From `models.zernike.table_entry`, for the discs.
        spectrum : Tensor of shape (M, N // 2 + 1)
            The frame's `torch.fft.rfft2`.

        Returns
        -------
        moments : Tensor of shape (S, 6)
            As `models.zernike.zernike_moments` has them; what is not covered means nothing.
        covered : Tensor of shape (S,)
            Whether at least one of every triple of points lies in the frame.
        """
        prefilter = kernel_prefilter((image.shape[0], image.shape[1]), image.device)
        coefficients = filter_frame(image, prefilter * (entry <= table_place(_HIGHEST)), spectrum)
        values = image.new_zeros(3 * self.seen.numel())
        values.index_copy_(0, self.recorded, self.taps.sum(coefficients))
        means = values.reshape(*self.seen.shape, 3).sum(2) / self.seen.clamp(min=1)
        return means @ _quadrature(image.device)[1], (self.seen > 0).all(1)


@cache
def _quadrature(device: torch.device) -> tuple[Tensor, Tensor]:
    """Points of the unit disc, triple by triple, (3 T, 2); weight of each triple for each moment, (T, 6)."""
    nodes, weights = np.polynomial.legendre.leggauss(_CIRCLES)
    radii = (nodes + 1) / 2
    triples = np.maximum(1, np.ceil(_POINTS / 3 * radii)).astype(int)
    circle = np.repeat(np.arange(_CIRCLES), triples)
    first = np.concatenate([np.arange(number) / number for number in triples]) * 2 * math.pi / 3
    angle = torch.from_numpy(first[:, None] + np.arange(3) * 2 * math.pi / 3)
    radius = torch.from_numpy(radii[circle])
    unit = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    points = (radius[:, None, None] * unit).reshape(-1, 2)
    # The mean over the disc is the integral of the circles' means times 2 r dr.
    area = torch.from_numpy(weights[circle] / triples[circle]) * radius
    table = torch.stack([radial_polynomial(n, radius) * area for n in ORDERS], dim=1)
    return points.float().to(device), table.float().to(device)
