"""Lost pixels and scan lines and spikes, replaced by what is beside them before a frame is read.

Three lines of zeros in 420 ruin a map, also far from them (docs/decisions/0084-lost-lines-and-spikes.md).
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.maps import MapFlag
from models.borders import repeated_lines
from models.cut_off import CutOff

#: Longer runs of constant lines are no lost ones but padding, a frame around the image, or vacuum.
_MOST_ADJACENT = 3

#: A line is lost if, going by each line beside it, its pixels all have one value by chance with at most this
#: log probability [nats].  In vacuum few electrons come, and lines without any are no wonder.
_NO_CHANCE = 40.0

#: A line that repeats the one before is stuck if so many of its pixels differ from its lowest (few electrons
#: repeat by chance), unless there are more such places than this part of all lines, and of all columns of
#: pixels: then the frame was enlarged by repeating pixels.
_LEAST_ALIVE, _DOUBLED = 20, 0.05

#: A spike stands this many times as far above the median as where the brightest of all pixels begin, and
#: its neighbours not a quarter as far as itself.  On the recorded micrographs the brightest pixel stands 1.7
#: times as far at most; counts of single electrons, and pulses whose height is distributed exponentially,
#: stay below ten too.
_FAR_ABOVE, _AROUND = 10.0, 0.25

#: Part of the sample that counts as brightest where most hold nothing; elsewhere so many pixels of it do,
#: 0.4 % of a frame: a few spikes of a small window are not to be its brightest pixels.
_BRIGHTEST, _BRIGHT_AT_LEAST = 0.001, 64

#: Pixels that are NaN are replaced in so many rounds, from neighbours of which so many are known:
#: as dead pixels and lines are, and no area in which columns may have been.
_ROUNDS, _KNOWN = 2, 3

#: So many pixels tell the median and where the brightest begin.
_SAMPLE = 2**14


@dataclass(frozen=True)
class Mended:
    """A frame to read, and what its reader should know of how it came to be.

    Parameters
    ----------
    pixels : ndarray of shape (M, N)
    flags : tuple of MapFlag
    cut_off : CutOff
        What the range of its values cuts off.
    is_laid : bool
        Whether a window was laid into its field: lines at the edges are mirrored then, and no padding.
    """

    pixels: NDArray[Any]
    flags: tuple[MapFlag, ...] = ()
    cut_off: CutOff = field(default_factory=CutOff)
    is_laid: bool = False


def mend(pixels: NDArray[Any]) -> Mended:
    """Mend a frame by `mend_pixels`, and look what the range of its values cuts off.

    Parameters
    ----------
    pixels : ndarray of shape (M, N)
        Intensities in any real unit.  Not modified.

    Returns
    -------
    Mended
        With `pixels` itself if nothing was to be mended, or if this is no image; else a floating copy.

    Raises
    ------
    InputError
        See `CutOff.of`.
    """
    if pixels.ndim != 2 or pixels.dtype.kind not in "uif" or min(pixels.shape) < 3:
        return Mended(pixels)
    mended, flags = mend_pixels(pixels)
    return Mended(mended, flags, CutOff.of(pixels, mended))


def mend_pixels(pixels: NDArray[Any]) -> tuple[NDArray[Any], tuple[MapFlag, ...]]:
    """Replace lost pixels and spikes by the median of their neighbours, lost scan lines by what lies between.

    The image (M, N) itself, if nothing is to be mended or too much is lost; and what to tell of that.
    """
    flags = []
    if np.isnan(pixels.max()):  # as it is if any pixel is
        row, column = np.nonzero(np.isnan(pixels))
        filled = _filled(pixels, row, column)
        if filled is None:
            return pixels, ()
        pixels = filled
        flags.append(_told_lost(row, column))
    row, column, values = _spikes(pixels)
    if len(row):
        pixels = pixels if flags else _floating(pixels)
        pixels[row, column] = values
        flags.append(_told_spikes(row, column))
    runs = _lost_rows(pixels)
    stuck = _stuck_rows(pixels)
    lost = [(first, end) for first, end in stuck if end - first > _MOST_ADJACENT]
    runs = sorted({*runs, *stuck} - {*lost})
    if runs:
        pixels = pixels if flags else _floating(pixels)
        for first, end in runs:
            _interpolate(pixels, first, end)
        flags.append(_told_rows(runs))
    if lost:
        flags.append(_told_stuck(lost))
    return pixels, tuple(flags)


def _filled(pixels: NDArray[Any], row: NDArray[np.intp], column: NDArray[np.intp]) -> NDArray[Any] | None:
    """A frame with values where it is NaN, or None if some of that lies too far from any that is known."""
    pixels = _floating(pixels)
    for _ in range(_ROUNDS):
        around = _neighbours(pixels, row, column)
        is_near = np.isfinite(around).sum(axis=1) >= _KNOWN
        pixels[row[is_near], column[is_near]] = np.nanmedian(around[is_near], axis=1)
        row, column = row[~is_near], column[~is_near]
        if not len(row):
            return pixels
    return None


def _told_lost(row: NDArray[np.intp], column: NDArray[np.intp]) -> MapFlag:
    return MapFlag(
        kind="lost_pixels",
        message=f"{_counted(len(row), 'pixel')} of no value (NaN; the first in row {row[0]}, column "
        f"{column[0]}), replaced by the median of those around; columns there are less sure than they look",
    )


def _neighbours(pixels: NDArray[Any], row: NDArray[np.intp], column: NDArray[np.intp]) -> NDArray[np.float64]:
    """The eight pixels around each of some (n,), mirrored at the edges, (n, 8)."""
    around = [
        pixels[_inside(row + down, pixels.shape[0]), _inside(column + right, pixels.shape[1])]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if down or right
    ]
    return np.stack(around, axis=1).astype(np.float64)


def _told_spikes(row: NDArray[np.intp], column: NDArray[np.intp]) -> MapFlag:
    return MapFlag(
        kind="spikes",
        message=f"{_counted(len(row), 'pixel')} (the first in row {row[0]}, column {column[0]}) far above "
        "all others, as cosmic rays and X-rays leave them, replaced by the median of those around; if many "
        "come, look for what sheds X-rays on the detector",
    )


def _told_rows(runs: list[tuple[int, int]]) -> MapFlag:
    return MapFlag(
        kind="lost_rows",
        message=f"{_lines(runs)} of one value throughout, or the one before again, replaced by what is "
        "between the lines beside; columns there are less sure than they look: scan again if they matter, "
        "and check the scan and the detector's signal if more lines are lost",
    )


def _told_stuck(lost: list[tuple[int, int]]) -> MapFlag:
    return MapFlag(
        kind="lost_rows",
        message=f"{_lines(lost)} the one before again, too many side by side to be replaced: what is said of "
        "columns there is wrong; scan again, and check the scan and the detector's signal",
    )


def _lines(runs: list[tuple[int, int]]) -> str:
    """How many scan lines there are in runs from a first one to an end, and where they begin."""
    number = sum(end - first for first, end in runs)
    return f"{_counted(number, 'scan line')} (the first in row {runs[0][0]})"


def _floating(pixels: NDArray[Any]) -> NDArray[Any]:
    """A copy whose type holds all values and what is between them."""
    narrow = np.float32 if pixels.dtype.itemsize <= 2 else np.float64
    return pixels.copy() if pixels.dtype.kind == "f" and pixels.dtype.itemsize >= 4 else pixels.astype(narrow)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _spikes(pixels: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Rows and columns of spikes, and the medians of their neighbours."""
    none = np.empty(0, np.intp)
    sample = _sample(pixels)
    at_half, at_top = len(sample) // 2, int((1 - _BRIGHTEST) * len(sample))
    at_least = max(min(at_top, len(sample) - 1 - _BRIGHT_AT_LEAST), at_half)
    parted = np.partition(sample, (0, at_half, at_least, at_top))
    median = float(parted[at_half])
    bright = float(parted[at_least if median > parted[0] else at_top])
    least = median + _FAR_ABOVE * (bright - median)
    if not (bright > median and float(pixels.max()) > least):
        return none, none, np.empty(0)
    row, column = np.nonzero(pixels > least)
    around = _neighbours(pixels, row, column)
    height = pixels[row, column].astype(np.float64) - median
    alone = np.isfinite(height) & (around.max(axis=1) - median < _AROUND * height)
    return row[alone], column[alone], np.median(around[alone], axis=1)


def _sample(pixels: NDArray[Any]) -> NDArray[Any]:
    """Pixels at equal steps, from every column alike."""
    step = max(1, pixels.size // _SAMPLE)
    while math.gcd(step, pixels.shape[1]) > 1:
        step += 1
    row, column = np.divmod(np.arange(0, pixels.size, step), pixels.shape[1])
    sample: NDArray[Any] = pixels[row, column]
    return sample


def _inside(place: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Places one beyond either edge, mirrored."""
    place = np.abs(place)
    return np.where(place < size, place, 2 * size - 2 - place)


def _lost_rows(pixels: NDArray[Any]) -> list[tuple[int, int]]:
    """First row and end of every run of lost scan lines."""
    rows = np.arange(len(pixels))
    for step in (max(1, pixels.shape[1] // 8), 8, 1):  # few columns rule most rows out
        some = pixels[rows, ::step]
        rows = rows[(some == some[:, :1]).all(axis=1)]
    rows = rows[np.isfinite(pixels[rows, 0])]
    if not len(rows):
        return []
    gaps = np.nonzero(np.diff(rows) > 1)[0]
    first, end = rows[np.append(0, gaps + 1)], rows[np.append(gaps, len(rows) - 1)] + 1
    is_short = (end - first <= _MOST_ADJACENT) & (first > 0) & (end < len(pixels))
    first, end = first[is_short], end[is_short]
    above = (pixels[first - 1] == pixels[first, :1]).sum(axis=1)
    below = (pixels[end] == pixels[end - 1, :1]).sum(axis=1)
    width = pixels.shape[1]
    chance = width * np.log((np.maximum(above, below) + 1) / (width + 2))
    is_lost = chance < -_NO_CHANCE
    return list(zip(first[is_lost].tolist(), end[is_lost].tolist(), strict=True))


def _stuck_rows(pixels: NDArray[Any]) -> list[tuple[int, int]]:
    """First row and end of every run of scan lines that are the one before again, but at the edges."""
    rows = repeated_lines(pixels)
    if len(rows):
        rows = rows[(pixels[rows] > pixels[rows].min(axis=1, keepdims=True)).sum(axis=1) >= _LEAST_ALIVE]
    runs = [run for run in np.split(rows, np.nonzero(np.diff(rows) > 1)[0] + 1) if len(run)]
    is_often = len(runs) > _DOUBLED * len(pixels)
    if is_often and len(repeated_lines(pixels.T)) > _DOUBLED * (pixels.shape[1] - 1):
        return []
    ends = [(int(run[0]), int(run[-1]) + 1) for run in runs]
    ends = [(first, end) for first, end in ends if first > 1 and end < len(pixels)]
    # Where a frame was mirrored to fill its edges, the lines on both sides of the seam are alike, too.
    return [(first, end) for first, end in ends if (pixels[first - 2] != pixels[end]).any()]


def _interpolate(pixels: NDArray[Any], first: int, end: int) -> None:
    """Replace rows from `first` up to `end` by what lies between the rows before and after."""
    above, below = pixels[first - 1], pixels[end]
    for row in range(first, end):
        part = (row - first + 1) / (end - first + 1)
        pixels[row] = above * (1 - part) + below * part
