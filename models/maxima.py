"""Local maxima of images, refined below the pixel."""

import torch
from torch import Tensor


def local_maxima(image: Tensor) -> Tensor:
    """Pixels off the edge that no pixel of their 3 x 3 neighbourhood exceeds: (row, column), (K, 2)."""
    across = torch.maximum(torch.maximum(image[:, :-2], image[:, 2:]), image[:, 1:-1])
    highest = torch.maximum(torch.maximum(across[:-2], across[2:]), across[1:-1])
    return (image[1:-1, 1:-1] == highest).nonzero() + 1


def refine_maxima(image: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Refine pixel maxima to the vertex of the paraboloid through their 3 x 3 neighbourhood.

    Parameters
    ----------
    image : Tensor of shape (M, N)
    index : Tensor of shape (K, 2)
        (row, column) of maxima, at least one pixel from the edge.

    Returns
    -------
    positions : Tensor of shape (K, 2)
        (row, column) [px], at most half a pixel from `index` along each axis.
    heights : Tensor of shape (K,)
        The image at `index`.
    """
    width = image.shape[1]
    flat = image.flatten()
    centre = index[:, 0] * width + index[:, 1]
    here = flat[centre]
    up, down, left, right = flat[centre - width], flat[centre + width], flat[centre - 1], flat[centre + 1]
    cross = (
        flat[centre + width + 1]
        - flat[centre + width - 1]
        - flat[centre - width + 1]
        + flat[centre - width - 1]
    ) / 4
    slope_row, slope_column = (down - up) / 2, (right - left) / 2
    curve_row, curve_column = up + down - 2 * here, left + right - 2 * here
    determinant = (curve_row * curve_column - cross.square()).clamp(min=1e-12)
    shift = torch.stack(
        [
            (cross * slope_column - curve_column * slope_row) / determinant,
            (cross * slope_row - curve_row * slope_column) / determinant,
        ],
        dim=1,
    )
    return index + shift.clamp(-0.5, 0.5), here
