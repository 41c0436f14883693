"""The lattice constant and the lattice vectors of a frame, in pixels, from its autocorrelation."""

import math

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from drivers.contract.errors import InputError
from models.frames import frequencies

#: The smallest lattice constant that is looked for [px]; below it neighbouring columns (a / sqrt(3)) merge.
SMALLEST_LATTICE_PX = 5.0

#: The largest lattice constant that is looked for [px].
_LARGEST_LATTICE_PX = 160

#: A lag counts as a lattice vector if the autocorrelation there exceeds this fraction of its highest
#: side maximum.  At the distance of neighbouring columns, a / sqrt(3), it is AB / (A**2 + B**2) <= 1/2
#: of the value at a, for sublattices of brightness A and B.
_PEAK_FRACTION = 0.7

#: Structures above about this size [px] (contamination, a wedge) are damped before correlating.
_BACKGROUND_PX = 40.0

#: Lengths and angles of a sheared cell may differ from the hexagon's by this much.  Real scans: 15 %.
_LENGTH_TOLERANCE = 1.45


def autocorrelation(image: Tensor, weight: Tensor | None = None) -> Tensor:
    """Autocorrelation of a frame, zero lag first, divided by its value at zero lag.

    A Hann window keeps the edges out; slow background is damped.

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
    height, width = image.shape
    window = torch.outer(
        torch.hann_window(height, device=image.device), torch.hann_window(width, device=image.device)
    )
    if weight is not None:
        window = window * weight
    mean = (image * window).sum() / window.sum()
    power = torch.fft.rfft2((image - mean) * window).abs().square()
    rows, columns = frequencies((height, width), image.device)
    squared = rows.square() + columns.square()
    power = power * squared / (squared + _BACKGROUND_PX**-2)
    correlation: Tensor = torch.fft.irfft2(power, s=(height, width))
    return correlation / correlation[0, 0]


def radial_profile(correlation: Tensor) -> Tensor:
    """Mean of an autocorrelation over circles of 0, 1, 2, ... px around zero lag, to a third of the frame."""
    height, width = correlation.shape
    reach = min(height, width) // 3
    centred = _crop_lags(correlation, reach)
    lag = torch.arange(-reach, reach + 1, device=correlation.device)
    radius = torch.hypot(lag[:, None].float(), lag[None, :].float()).round().long().flatten()
    total = torch.bincount(radius, weights=centred.flatten())
    return (total / torch.bincount(radius).clamp(min=1))[: reach + 1]


def lattice_vectors(image: Tensor, weight: Tensor | None = None) -> Tensor:
    """Estimate two lattice vectors 60 degrees apart (for an unsheared scan) of the dominant grain.

    The shortest lags whose autocorrelation is nearly as high as the highest side maximum.  Real frames
    agree with the fitted lattice to better than 1 %.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Standardised frame.
    weight : Tensor of shape (M, N), optional
        Restricts the estimate to where it is large.

    Returns
    -------
    Tensor of shape (2, 2)
        Vectors a1, a2 as rows, (row, column) [px], on the CPU; going from a1 to a2 turns from the row
        axis towards the column axis.

    Raises
    ------
    InputError
        If no three side maxima form a lattice of triangles.
    """
    lags, heights = _side_maxima(autocorrelation(image, weight))
    if len(lags) >= 3:
        lags = lags[heights > _PEAK_FRACTION * heights.max()]
        lengths = torch.linalg.vector_norm(lags, dim=1)
        lags = lags[torch.argsort(lengths)]
        found = _triangle(lags[:12])
        if found is not None:
            return found
    raise InputError(
        "expected the repeating triangles of a hexagonal lattice, found no such period between "
        f"{SMALLEST_LATTICE_PX:g} px and a third of the frame (at most {_LARGEST_LATTICE_PX} px); "
        "check focus, dose and magnification "
        "(about 8 to 40 pixels a lattice constant suit)"
    )


def lattice_constant_px(vectors: Tensor) -> float:
    """Side of the equilateral cell with the area of the cell that two lattice vectors span [px]."""
    area = float(torch.linalg.det(vectors.double()).abs())
    return math.sqrt(area / (math.sqrt(3) / 2))


def _crop_lags(correlation: Tensor, reach: int) -> Tensor:
    """Lags from -reach to reach along both axes, shape (2 reach + 1, 2 reach + 1)."""
    rows = torch.cat([correlation[-reach:], correlation[: reach + 1]])
    return torch.cat([rows[:, -reach:], rows[:, : reach + 1]], dim=1)


def _side_maxima(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """Local maxima away from zero lag, one of each +/- pair: lags (K, 2) to sub-pixel [px], heights (K,)."""
    reach = min(min(correlation.shape) // 3, _LARGEST_LATTICE_PX)
    centred = _crop_lags(correlation, reach).cpu()
    peak = max_pool2d(centred[None], 5, stride=1, padding=2)[0] == centred
    lag = torch.arange(-reach, reach + 1)
    row, column = torch.meshgrid(lag, lag, indexing="ij")
    upper = (row > 0) | ((row == 0) & (column > 0))
    inside = (row.abs() < reach) & (column.abs() < reach) & (torch.hypot(row.float(), column.float()) >= 4)
    index = (peak & upper & inside & (centred > 0)).nonzero()
    positions, heights = refine_maxima(centred, index)
    return positions - reach, heights


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


def _triangle(lags: Tensor) -> Tensor | None:
    """The shortest two lags (or their opposites) whose difference is a lag too; None if there are none."""
    if len(lags) < 3:
        return None
    longest = _LENGTH_TOLERANCE * float(torch.linalg.vector_norm(lags[0]))
    near = lags[torch.linalg.vector_norm(lags, dim=1) <= longest]
    both = torch.cat([near, -near])
    angle = torch.atan2(both[:, 1], both[:, 0])
    turn = torch.rad2deg(angle[None, :] - angle[:, None]) % 360
    first, second = ((turn > 40) & (turn < 82)).nonzero().T
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        third = both[j] - both[i]
        miss = torch.linalg.vector_norm(both - third, dim=1).min()
        if miss < 0.15 * longest:
            return torch.stack([both[i], both[j]])
    return None
