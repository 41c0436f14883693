"""Discs and patches around columns, in the metric of the lattice, so that a sheared scan counts as unsheared."""

import math

import torch
from torch import Tensor

from models.frames import frequencies

#: Side of a patch and diameter of its disc over the lattice constant; the three neighbours lie at 1 / sqrt(3).
PATCH_SCALE = math.sqrt(3)


def disc_map(vectors: Tensor) -> Tensor:
    """Map from the unit disc to pixels that undoes the shear of a scan.

    Parameters
    ----------
    vectors : Tensor of shape (2, 2)
        Lattice vectors a1, a2 as rows, 60 degrees apart in the crystal, (row, column) [px].

    Returns
    -------
    Tensor of shape (2, 2)
        Symmetric and positive.  A point rho (row, column) of the unit disc lies at ``rho @ disc_map`` [px] from
        the column.  Without shear it is the identity times half the side of the patch.
    """
    hexagon = vectors.new_tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)]], dtype=torch.float64)
    deformation = torch.linalg.inv(hexagon) @ vectors.double()
    values, axes = torch.linalg.eigh(deformation.T @ deformation)
    return (PATCH_SCALE / 2 * (axes * values.sqrt()) @ axes.T).float()


def is_whole(positions: Tensor, disc: Tensor, shape: tuple[int, int]) -> Tensor:
    """Whether the disc around each position lies inside the frame, shape (S,).

    Parameters
    ----------
    positions : Tensor of shape (S, 2)
        (row, column) [px].
    disc : Tensor of shape (2, 2)
        From `disc_map`.
    shape : tuple of int
        Rows and columns of the frame.
    """
    extent = torch.linalg.vector_norm(disc, dim=0).to(positions)
    last = positions.new_tensor([shape[0] - 1, shape[1] - 1])
    return ((positions >= extent) & (positions <= last - extent)).all(dim=1)


def cut_patches(image: Tensor, positions: Tensor, disc: Tensor, size: int = 32) -> Tensor:
    """Cut a patch of one fixed size around each column.

    Parameters
    ----------
    image : Tensor of shape (M, N)
    positions : Tensor of shape (S, 2)
        (row, column) [px]; patches that leave the frame continue with its edge pixels.
    disc : Tensor of shape (2, 2)
        From `disc_map`.
    size : int
        Samples along an edge of the patch; their centres divide the side evenly.

    Returns
    -------
    Tensor of shape (S, size, size)
    """
    edge = (torch.arange(size, device=image.device) + 0.5) * 2 / size - 1
    grid = torch.stack(torch.meshgrid(edge, edge, indexing="ij"), dim=-1).reshape(-1, 2)
    offset = grid @ disc.to(image)
    points = (positions[:, None, :] + offset).reshape(-1, 2)
    shape = (image.shape[0], image.shape[1])
    coefficients = torch.fft.irfft2(torch.fft.rfft2(image) * spline_prefilter(shape, image.device), s=shape)
    return sample_spline(coefficients[None], points)[0].reshape(-1, size, size)


def spline_prefilter(shape: tuple[int, int], device: torch.device | str) -> Tensor:
    """Transfer function from samples to cubic B-spline coefficients, shape (M, N // 2 + 1), of a periodic frame.

    Source: Unser, 10.1109/79.799930.
    """
    rows, columns = frequencies(shape, device)
    return 9 / ((2 + torch.cos(2 * math.pi * rows)) * (2 + torch.cos(2 * math.pi * columns)))


def sample_spline(coefficients: Tensor, positions: Tensor) -> Tensor:
    """Values of cubic splines at positions between pixels.

    Parameters
    ----------
    coefficients : Tensor of shape (C, M, N)
        Of C images, from `spline_prefilter`.
    positions : Tensor of shape (S, 2)
        (row, column) [px]; beyond the edge the outermost coefficients repeat.

    Returns
    -------
    Tensor of shape (C, S)
    """
    height, width = coefficients.shape[-2:]
    corner = positions.floor()
    row_weights, column_weights = _cubic_weights(positions - corner)
    taps = torch.arange(-1, 3, device=positions.device)[:, None]
    row = (corner[:, 0].long() + taps).clamp(0, height - 1) * width  # (4, S)
    column = (corner[:, 1].long() + taps).clamp(0, width - 1)
    index = row[:, None] + column  # (4, 4, S)
    weight = row_weights[:, None] * column_weights
    return torch.stack([(channel.flatten()[index] * weight).sum((0, 1)) for channel in coefficients])


def _cubic_weights(fraction: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the four nearest coefficients along rows and along columns, each (4, S)."""
    t = fraction.T  # (2, S)
    weights = torch.stack(
        [
            (1 - t) ** 3,
            3 * t**3 - 6 * t**2 + 4,
            -3 * t**3 + 3 * t**2 + 3 * t + 1,
            t**3,
        ]
    )
    return weights[:, 0] / 6, weights[:, 1] / 6
