"""What of a frame was not recorded: lines at its edges that hold nothing new, and areas of one value.

Aligned, turned and padded frames have them, and scans whose first lines were lost.  Taken for an image, they
make defects of the columns beside.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter
from torch import Tensor

from models.frames import at_nearest

#: So many pixels tell how bright a frame is, and so many whether one value is common.
_SAMPLE, _FEW = 2**14, 2**12

#: A line at the edge is flyback or a fault if its median lies beyond all but this part of the pixels, either
#: way, by this part of the range between.
_BEYOND, _FAR = 0.01, 0.25

#: Lines at one edge that are left out for their brightness, at most.
_MOST_BRIGHT = 8

#: Lines that repeat any other, as where a frame was mirrored or wrapped around to fill its edges: this part
#: of all at one edge at most, since what has a period repeats itself everywhere.
_MOST_REPEATED = 0.125

#: Where more than this part of the lines within a frame repeat the next one, it was enlarged by repeating
#: them, and those at its edges are no padding.
_ENLARGED = 0.25

#: Lines that are left at least: what leaves fewer is no border.
_LEAST_LEFT = 0.5

#: A value that this part of the pixels has may be that of what was not recorded ...
_COMMON = 0.005

#: ... where it fills a square of this edge [lattice constants].
_SOLID = 1.2

Part = tuple[slice, slice]


def recorded_part(pixels: NDArray[Any]) -> Part:
    """The rows and columns of a frame less those at its edges that hold nothing new.

    Those are lines of one value, lines that repeat the next one or any other, and lines that as a whole are
    far brighter or darker than nearly all other pixels.

    Parameters
    ----------
    pixels : ndarray of shape (M, N)
        Intensities in any real unit.

    Returns
    -------
    rows, columns : slice
        All of them if less than half would be left along either axis.
    """
    whole = (slice(0, pixels.shape[0]), slice(0, pixels.shape[1]))
    part, before = whole, None
    while part != before:
        before = part
        part = _trimmed(pixels, part)
    are_enough = all(
        kept.stop - kept.start >= _LEAST_LEFT * size for kept, size in zip(part, pixels.shape, strict=True)
    )
    return part if are_enough else whole


def _trimmed(pixels: NDArray[Any], part: Part) -> Part:
    """A part of a frame less the lines at its edges that hold nothing new, rows first."""
    rows, columns = part
    low, high = _usual(pixels[part])
    first, end = _ends(pixels[part], low, high)
    rows = slice(rows.start + first, rows.start + end)
    first, end = _ends(pixels[rows, columns].T, low, high)
    return rows, slice(columns.start + first, columns.start + end)


def _usual(pixels: NDArray[Any]) -> tuple[float, float]:
    """Between which values no line's median is a wonder."""
    step = max(1, math.isqrt(pixels.size // _SAMPLE))
    sample = pixels[::step, ::step].ravel()
    at = int(_BEYOND * len(sample))
    parted = np.partition(sample, (at, len(sample) - 1 - at))
    low, high = float(parted[at]), float(parted[-1 - at])
    return low - _FAR * (high - low), high + _FAR * (high - low)


def _ends(lines: NDArray[Any], low: float, high: float) -> tuple[int, int]:
    """First line and end of those that are left."""
    counts, repeats_tell = [], not _is_enlarged(lines)
    for ordered in (lines, lines[::-1]):
        number = bright = 0
        while number < len(ordered) - 1:
            line, others = ordered[number], ordered[number + 1 :]
            if not ((line == line[0]).all() or (repeats_tell and (line == others[0]).all())):
                if bright < _MOST_BRIGHT and not low <= float(np.median(line)) <= high:
                    bright += 1
                elif (
                    not repeats_tell or number >= _MOST_REPEATED * len(ordered) or not _is_among(line, others)
                ):
                    break
            number += 1
        counts.append(number)
    return counts[0], max(len(lines) - counts[1], counts[0] + 1)


def _is_enlarged(lines: NDArray[Any]) -> bool:
    """Whether many lines within a frame repeat the next one."""
    middle = lines[len(lines) // 4 : len(lines) - len(lines) // 4]
    return len(repeated_lines(middle)) > _ENLARGED * (len(middle) - 1)


def repeated_lines(lines: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers, rising, of those of lines (n, m) that are the one before again."""
    again = np.arange(1, len(lines))
    for step in (max(1, lines.shape[1] // 8), 8, 1):  # a few pixels tell most that are not
        again = again[(lines[again, ::step] == lines[again - 1, ::step]).all(axis=1)]
    return again


def _is_among(line: NDArray[Any], others: NDArray[Any]) -> bool:
    """Whether a line is one of the others again."""
    step = max(1, len(line) // 8)
    alike = (others[:, ::step] == line[::step]).all(axis=1).nonzero()[0]
    return bool((others[alike] == line).all(axis=1).any())


def blank_areas(pixels: NDArray[Any], lattice_px: float) -> NDArray[np.bool_] | None:
    """Where a frame has one value throughout, over more than a cell, as outside of an image that was turned.

    Parameters
    ----------
    pixels : ndarray of shape (M, N)
    lattice_px : float
        Lattice constant [px].

    Returns
    -------
    ndarray of shape (M, N), or None
        None if there is no such area.
    """
    step = max(1, math.isqrt(pixels.size // _FEW))
    values, numbers = np.unique(pixels[::step, ::step], return_counts=True)
    if numbers.max() < _COMMON * numbers.sum():
        return None
    has_value = pixels == values[numbers.argmax()]
    edge = math.ceil(_SOLID * lattice_px)
    apart = max(1, edge // 3)  # of three such pixels in a row all lie in the square in their middle
    if not minimum_filter(has_value[::apart, ::apart], 3, mode="nearest").any():
        return None
    solid = minimum_filter(has_value, edge, mode="nearest")
    if not solid.any():
        return None
    blank: NDArray[np.bool_] = maximum_filter(solid, edge, mode="nearest", origin=-1 + edge % 2) & has_value
    return blank


def distance_from(blank: NDArray[np.bool_], places: Tensor) -> Tensor:
    """Distance of places (K, 2) from the nearest blank pixel, shape (K,) [px]; 0 inside."""
    away = torch.from_numpy(distance_transform_edt(~blank))
    return at_nearest(away, places.cpu()).to(places)
