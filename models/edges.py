"""Moments of columns whose disc is partly outside the frame, by the threefold symmetry of the honeycomb.

Turned by 120 degrees about a column, its surroundings look the same but for defects and noise.  So a point
of the disc that was not recorded is taken to be like its turned copies that were, and each circle around the
column is averaged over such triples.  A disc cut at its middle still has one of each triple.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from models.frames import filter_frame
from models.patches import kernel_prefilter, kernel_taps
from models.zernike import ORDERS, radial_polynomial

#: Circles around a column, at the nodes of Gauss and Legendre, and points on each, a multiple of three.
_CIRCLES, _POINTS = 8, 18


def edge_moments(
    image: Tensor, positions: Tensor, disc: Tensor, spectrum: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Moments of the discs around columns near the edge.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Normalised frame.
    positions : Tensor of shape (S, 2)
        (row, column) [px].
    disc : Tensor of shape (2, 2)
        From `models.patches.disc_map`.
    spectrum : Tensor of shape (M, N // 2 + 1), optional
        The frame's `torch.fft.rfft2`, for who has it already.

    Returns
    -------
    moments : Tensor of shape (S, 6)
        As `models.zernike.zernike_moments` has them; what is not covered means nothing.
    covered : Tensor of shape (S,)
        Whether at least one of every triple of points lies in the frame.
    """
    offsets, weights = _quadrature(image.device)
    shape = (image.shape[0], image.shape[1])
    points = (positions.T[:, :, None] + (disc.to(image).T @ offsets.T)[:, None]).flatten(1)
    row, column = points  # each (S x circles x points,)
    recorded = (row >= 0) & (row <= shape[0] - 1) & (column >= 0) & (column <= shape[1] - 1)
    there = recorded.nonzero()[:, 0]
    taps = kernel_taps(shape, points.index_select(1, there).T)
    coefficients = filter_frame(image, kernel_prefilter(shape, image.device), spectrum)
    values = torch.zeros_like(row).index_copy_(0, there, taps.sum(coefficients))
    triples = (len(positions), _CIRCLES, 3, _POINTS // 3)
    seen = recorded.reshape(triples).sum(2)  # (S, circles, points / 3)
    means = values.reshape(triples).sum(2) / seen.clamp(min=1)
    return means.mean(-1) @ weights, (seen > 0).flatten(1).all(1)


@cache
def _quadrature(device: torch.device) -> tuple[Tensor, Tensor]:
    """Points of the unit disc, circle by circle, (C P, 2); weights of the circles for each moment, (C, 6)."""
    nodes, weights = np.polynomial.legendre.leggauss(_CIRCLES)
    radius = torch.from_numpy((nodes + 1) / 2).float()
    angle = torch.arange(_POINTS) * (2 * math.pi / _POINTS)
    unit = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    points = (radius[:, None, None] * unit).reshape(-1, 2)
    # The mean over the disc is the integral of the circles' means times 2 r dr.
    area = torch.from_numpy(weights).float() * radius
    table = torch.stack([radial_polynomial(n, radius) * area for n in ORDERS], dim=1)
    return points.to(device), table.to(device)
