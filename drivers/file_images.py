"""From the arrays of a file to single images: which are micrographs, which not, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.errors import InputError
from drivers.contract.units import is_reciprocal, is_time
from drivers.file_metadata import Tag

#: The smallest edge of an image [px]: four cells of the smallest lattice that can be read.
SMALLEST_EDGE_PX = 32

_COLOUR_AXES = ("color", "colour", "channel", "rgb", "lambda", "wavelength", "sample")
_ENERGY_UNITS = ("ev", "kev", "mev")


@dataclass(frozen=True)
class Axis:
    """One axis of an array, as the file describes it."""

    name: str
    scale: float
    unit: str | None
    is_navigation: bool = False
    """Whether the file says that it runs from one signal to the next, not within one."""


@dataclass(frozen=True)
class RawSignal:
    """One array of a file with its description.  `axes` is empty where the file describes none."""

    data: NDArray[np.generic]
    axes: tuple[Axis, ...]
    tags: Mapping[str, Tag]
    title: str = ""
    path: str = ""
    """Where in the file the array lies, if the file is a hierarchy."""
    others: tuple[str, ...] = ()
    """Where the other images of the hierarchy lie."""


def frames_of(signal: RawSignal) -> tuple[NDArray[np.generic], tuple[Axis, Axis] | None]:
    """Return the frames of a signal as an array (frame, row, column), and the axes of rows and columns.

    Axes of length 1 are dropped.  Three axes are a series if the file says so: the first runs over time,
    or is marked as navigation and has no unit.

    Raises
    ------
    InputError
        If the signal is neither an image nor a series of images.
    """
    data = signal.data
    _check_values_are_intensities(data)
    axes = signal.axes if len(signal.axes) == data.ndim else ()
    kept = [index for index, size in enumerate(data.shape) if size != 1]
    axes = tuple(axes[index] for index in kept) if axes else ()
    data = data.reshape([data.shape[index] for index in kept])
    for axis in axes:
        _check_axis_is_spatial_or_time(axis)
    if data.ndim == 2:
        if axes and axes[0].is_navigation and not axes[1].is_navigation:
            raise InputError(
                "expected an image, found a line of one-dimensional signals; pass the survey image"
            )
        return data[np.newaxis], (axes[0], axes[1]) if axes else None
    if data.ndim == 3:
        _check_is_series(data.shape, axes)
        return data, (axes[1], axes[2])
    raise InputError(
        f"expected one grey image of shape (rows, columns) or a series of them, found shape "
        f"{signal.data.shape}; pass a single frame"
    )


def grey_of_colour(data: NDArray[Any]) -> NDArray[np.generic]:
    """A picture whose colours are all one grey as that grey; every other array as it is.

    Parameters
    ----------
    data : ndarray
        Of shape (M, N, C), or of any shape with fields among R, G, B and A.  The last of two or four channels
        is opacity, which does not count if it is the most there can be everywhere.
    """
    names = data.dtype.names
    if names and set(names) <= set("RGBA"):
        channels = [data[name] for name in names]
    elif data.ndim == 3 and 2 <= data.shape[2] <= 4:
        channels = list(np.moveaxis(data, 2, 0))
    else:
        return data
    if len(channels) % 2 == 0:
        opaque = channels.pop()
        if opaque.dtype.kind != "u" or (opaque != np.iinfo(opaque.dtype).max).any():
            return data
    is_grey = all(np.array_equal(channels[0], other) for other in channels[1:])
    return channels[0] if is_grey else data


def _check_is_series(shape: tuple[int, ...], axes: tuple[Axis, ...]) -> None:
    """Raise unless three axes are (frame, row, column)."""
    if 2 <= shape[2] <= 4 or (2 <= shape[0] <= 4 and not axes):
        raise InputError(
            f"expected a grey image, found shape {shape}, which looks like a colour image; "
            "save it as grey, from the microscope's own file rather than from a screenshot"
        )
    if not axes:
        raise InputError(
            f"expected one grey image of shape (rows, columns), found shape {shape} and nothing that says "
            "that it is a series; save each frame as a file of its own, or as .hspy with a time axis"
        )
    first = axes[0]
    is_pile = first.is_navigation and not _is_length(first) and not axes[1].is_navigation
    if not (is_pile or _runs_over_time(first)) or axes[2].is_navigation:
        described = ", ".join(f"{axis.name or '?'} [{axis.unit or '-'}]" for axis in axes)
        raise InputError(
            f"expected an image or a series over time, found a stack of shape {shape} along ({described}); "
            "pass the slice that is the micrograph"
        )


def _check_axis_is_spatial_or_time(axis: Axis) -> None:
    """Raise for axes of a spectrum, of colours or of reciprocal space."""
    unit = (axis.unit or "").strip()
    name = axis.name.lower()
    if unit.lower() in _ENERGY_UNITS or "energy" in name:
        raise InputError(
            f"expected a micrograph, found a spectrum along {axis.name!r} [{unit}]; pass the survey image"
        )
    if any(word in name for word in _COLOUR_AXES):
        raise InputError(
            f"expected a grey image, found an axis {axis.name!r} of colours; save one channel as grey"
        )
    if is_reciprocal(unit):
        raise InputError(
            f"expected a micrograph, found the reciprocal unit {unit!r} along {axis.name!r}: this is a "
            "diffraction pattern or a Fourier transform; pass the image itself"
        )


def _is_length(axis: Axis) -> bool:
    unit = (axis.unit or "").strip()
    return bool(unit) and not _runs_over_time(axis)


def _runs_over_time(axis: Axis) -> bool:
    unit = (axis.unit or "").strip()
    return is_time(unit) if unit else axis.name.lower() in ("time", "t", "frame", "frames")


def _check_values_are_intensities(data: NDArray[np.generic]) -> None:
    """Raise for colour, complex and any other values that are no real numbers."""
    if data.dtype.names:
        names = ", ".join(data.dtype.names)
        what = "a colour image" if set(data.dtype.names) <= set("RGBArgba") else "records"
        raise InputError(
            f"expected a grey image, found {what} with the fields {names}; save one channel as grey"
        )
    if data.dtype.kind == "c":
        raise InputError(
            f"expected real intensities, found complex values ({data.dtype}): a Fourier transform or a "
            "phase; pass the image that it was made from"
        )
    if data.dtype.kind not in "buif":
        raise InputError(
            f"expected real intensities, found values of type {data.dtype}; "
            "save the image as integers or floating point"
        )


def checked_image(frame: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return one frame as a contiguous array in the machine's byte order, if it can be a micrograph.

    Some pixels may be NaN; `models.frames.standardise` says what to do about these.

    Raises
    ------
    InputError
        If it is tiny, constant, all NaN, or has infinite values.
    """
    rows, columns = frame.shape
    if min(rows, columns) < SMALLEST_EDGE_PX:
        raise InputError(
            f"expected at least {SMALLEST_EDGE_PX} x {SMALLEST_EDGE_PX} pixels, found {rows} x {columns}; "
            "scan a larger field"
        )
    kind = np.float64 if frame.dtype.kind == "f" and frame.dtype.itemsize > 8 else frame.dtype
    image = np.ascontiguousarray(frame, dtype=np.dtype(kind).newbyteorder("="))
    if image.dtype.kind == "f":
        bad = int(np.isinf(image).sum())
        if bad:
            below = int(np.isneginf(image).sum())
            raise InputError(
                f"expected finite intensities, found {bad} infinite pixels of {image.size} ({below} of them "
                "negative); take the linear scale, not the logarithm, and replace dead pixels"
            )
        if np.isnan(image).all():
            raise InputError(
                "expected an image, found NaN in every pixel; the file was written before anything was "
                "recorded, or by a computation that failed"
            )
    low, high = np.nanmin(image), np.nanmax(image)
    if low == high:
        raise InputError(
            f"expected an image with contrast, found the constant {low}; "
            "check that the detector was inserted and the beam unblanked"
        )
    return image
