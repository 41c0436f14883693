"""A frame as it enters: checked, standardised, filtered in Fourier space."""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from drivers.contract.errors import InputError

#: The smallest edge of a frame [px]: four cells of the smallest lattice constant that `models.scale` finds.
SMALLEST_EDGE_PX = 32


def standardise(image: ArrayLike, device: torch.device | str = "cpu") -> Tensor:
    """Check a frame, then give it zero mean and unit deviation.

    Gain and offset of the detector end here: the sums run in float64, so that two frames that differ only
    by them give the same result to float32 rounding.

    Parameters
    ----------
    image : array_like of shape (M, N)
        Intensities of one frame in any real unit.  Not modified.
    device : torch.device or str
        Where the result lives.

    Returns
    -------
    Tensor of shape (M, N)
        float32, contiguous.

    Raises
    ------
    InputError
        If the image is not two-dimensional, smaller than `SMALLEST_EDGE_PX`, not finite, or constant.
    """
    array = np.asarray(image)
    _check(array)
    with np.errstate(over="ignore"):
        mean = float(array.mean(dtype=np.float64))
    if not math.isfinite(mean):
        bad = int((~np.isfinite(array)).sum())
        if bad == 0:  # their sum alone is beyond float64
            return standardise(array / np.abs(array).max(), device)
        raise InputError(
            f"expected finite intensities, found {bad} of {array.size} pixels that are NaN or infinite; "
            "crop the frame to its recorded part, or fill the rest with one value, in which no columns are "
            "sought; of counts that have overflowed, take a wider type"
        )
    frame = _less(array, mean, device)
    power = float(frame.square().mean())
    if not 0 < power < math.inf:  # squares of float32 end at 1e38 and 1e-38
        unit = float(np.abs(np.subtract(array, mean, dtype=np.float64)).max()) or 1.0
        mean /= unit
        frame = _less(array.astype(np.float64) / unit, mean, device)
        power = float(frame.square().mean())
    deviation = math.sqrt(power)
    # Rounding alone makes a constant scatter by less than this.
    least = 1e-12 if array.dtype == np.float64 or array.dtype.kind in "bui" else 1e-6
    if deviation <= least * abs(mean) or deviation == 0:
        raise InputError(
            f"expected an image with contrast, found the constant {mean:g}; "
            "check that the detector was inserted and the beam unblanked"
        )
    return frame / deviation


def _less(array: np.ndarray, mean: float, device: torch.device | str) -> Tensor:
    """A frame less its mean, float32; on a GPU the difference is taken there, in the same float64."""
    if torch.device(device).type == "cpu":
        return torch.from_numpy(np.subtract(array, mean, dtype=np.float64).astype(np.float32))
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 4  # else torch may lack the type
    # Of what is read-only, as frames of the wire are, torch wants a copy.
    pixels = torch.from_numpy(np.require(array, np.float32 if narrow else np.float64, ["C", "W"]))
    return (pixels.to(device).double() - mean).float()


def _check(array: np.ndarray) -> None:
    """Raise `InputError` unless the array is a real image of useful size."""
    if array.ndim != 2:
        raise InputError(
            f"expected one grey image of shape (rows, columns), found shape {array.shape}; "
            "pass a single frame, or one channel of a colour image"
        )
    if array.dtype.kind == "b":
        raise InputError("expected intensities, found values that are true or false: pass the image, no mask")
    if array.dtype.kind not in "uif":
        raise InputError(
            f"expected real intensities, found values of type {array.dtype}; take their magnitude"
        )
    if min(array.shape) < SMALLEST_EDGE_PX:
        raise InputError(
            f"expected at least {SMALLEST_EDGE_PX} x {SMALLEST_EDGE_PX} pixels, found "
            f"{array.shape[0]} x {array.shape[1]}; scan a larger field"
        )


def frequencies(
    shape: tuple[int, int], device: torch.device | str, *, half: bool = True
) -> tuple[Tensor, Tensor]:
    """Spatial frequencies of `torch.fft.rfft2` (or `fft2`) of a frame [cycles/px].

    Returns
    -------
    tuple of Tensor
        Along rows, shape (M, 1), and along columns, shape (1, N // 2 + 1), or (1, N) if not `half`.
    """
    rows = torch.fft.fftfreq(shape[0], device=device)[:, None]
    columns = (torch.fft.rfftfreq if half else torch.fft.fftfreq)(shape[1], device=device)[None, :]
    return rows, columns


def gaussian_filter(shape: tuple[int, int], device: torch.device | str, sigma_px: float) -> Tensor:
    """Transfer function of a Gaussian blur of standard deviation `sigma_px`, shape (M, N // 2 + 1).

    The frame is taken as periodic: within 3 `sigma_px` of an edge the result mixes in the opposite edge.
    """
    rows, columns = frequencies(shape, device)
    exponent = -2 * math.pi**2 * sigma_px**2
    return torch.exp(exponent * rows.square()) * torch.exp(exponent * columns.square())


def as_array(image: ArrayLike) -> np.ndarray:
    """Pixels as an array, whatever holds them.

    Raises
    ------
    InputError
        If they are no array of numbers, or partly masked.
    """
    if np.ma.is_masked(image):
        raise InputError(
            "expected a whole image, found one that is masked in part; crop it to what is not, or fill the "
            "rest with one value, in which no columns are sought"
        )
    try:
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"expected one grey image of shape (rows, columns), found what is no array ({error})"
        ) from error
    _check(array)
    return array


def middle_of(frame: Tensor, most: int) -> Tensor:
    """The middle of a frame (M, N), of this edge at most [px]."""
    rows, columns = (
        slice(max(0, (edge - most) // 2), max(0, (edge - most) // 2) + most) for edge in frame.shape
    )
    return frame[rows, columns]


def windowed(frame: Tensor) -> Tensor:
    """A frame (M, N) that falls off to nothing at its edges, which would leak into all frequencies."""
    rows, columns = (torch.hann_window(edge, periodic=False, device=frame.device) for edge in frame.shape)
    return (frame - frame.mean()) * torch.outer(rows, columns)


def blur(image: Tensor, sigma_px: float) -> Tensor:
    """Blur a frame (M, N), taken as periodic, by a Gaussian of standard deviation `sigma_px`."""
    transfer = gaussian_filter((image.shape[0], image.shape[1]), image.device, sigma_px)
    return filter_frame(image, transfer)


def filter_frame(image: Tensor, transfer: Tensor, spectrum: Tensor | None = None) -> Tensor:
    """Filter a frame (M, N), taken as periodic, by a real transfer function (M, N // 2 + 1).

    `spectrum` is the frame's `torch.fft.rfft2`, for who has it already.
    """
    spectrum = torch.fft.rfft2(image) if spectrum is None else spectrum
    return inverse_rfft2(spectrum * transfer, image.shape[1])


def inverse_rfft2(spectrum: Tensor, width: int) -> Tensor:
    """`torch.fft.irfft2` of a spectrum (..., M, N // 2 + 1) to N = `width` columns.

    In two steps, with a copy to row order between: its second step is slow on what its first leaves behind.
    """
    image: Tensor = torch.fft.irfft(torch.fft.ifft(spectrum, dim=-2).contiguous(), n=width)
    return image


def add_rows(total: Tensor, row: Tensor, values: Tensor) -> Tensor:
    """Add values (n, K) to the rows (n,) of a total (R, K), in place; rows may repeat.

    On a GPU `index_add_` takes them in whatever order they come, so that no two sums are the same to the bit.
    """
    if total.device.type == "cpu":
        return total.index_add_(0, row, values)
    return total.index_put_((row,), values, accumulate=True)


def at_nearest(image: Tensor, positions: Tensor) -> Tensor:
    """Values (S,) of the pixels of an image (M, N) nearest to positions (S, 2); beyond it, of its edge."""
    rows, columns = image.shape
    row, column = positions.round().long().T
    return image.flatten()[row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)]


def sample_bilinear(image: Tensor, positions: Tensor) -> Tensor:
    """Values of an image at positions between its pixels; positions outside are moved to the edge.

    Parameters
    ----------
    image : Tensor of shape (..., M, N)
    positions : Tensor of shape (S, 2)
        (row, column) [px].

    Returns
    -------
    Tensor of shape (..., S)
    """
    height, width = image.shape[-2:]
    row = positions[:, 0].clamp(0, height - 1.001)
    column = positions[:, 1].clamp(0, width - 1.001)
    row_floor, column_floor = row.floor(), column.floor()
    down, right = row - row_floor, column - column_floor
    corner = row_floor.to(torch.int32).mul_(width).add_(column_floor.to(torch.int32))
    flat = image.flatten(-2)
    corners = [flat.index_select(-1, corner + step) for step in (0, 1, width, width + 1)]
    top = corners[0] * (1 - right) + corners[1] * right
    bottom = corners[2] * (1 - right) + corners[3] * right
    return top * (1 - down) + bottom * down
