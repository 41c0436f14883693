"""Jumps that one layer scanned evenly does not make: of brightness between grains, of contrast between lines.

A second layer makes a grain brighter as a whole, whatever its columns look like.  A gain, a dwell time or a
current that changes while a frame is scanned, and edges that fewer of summed frames have reached, make all
columns of some lines brighter or dimmer at once.  Both would be read as other columns.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.spatial import cKDTree
from torch import Tensor

from models.frames import at_nearest
from models.lattice import Lattice

#: Brightness is averaged over squares of this edge, and of sites of two grains no further apart than this
#: [lattice constants], so many of either at least.
_SQUARE, _BESIDE, _FEWEST = 2.0, 8.0, 9

#: Grains beside each other differ by this part of what common columns stand out by if one has a second layer:
#: then by 0.54 to 0.64 in HAADF and 1.0 to 1.8 in MAADF (3R bilayers), else by 0.00, under a gradient of 30 %
#: over the frame by 0.05 and 0.24; recorded grains of MoSe2 by 0.07.
_LAYER = 0.35

#: Medians are compared over lines between these distances from a jump [lattice constants], of so many columns
#: either side at least in each quarter of the lines.
_NEAR, _FAR, _LEAST = 0.3, 2.5, 6

#: A jump is told if the logarithm of the contrast changes by this much, and by this part of that in all
#: quarters: carbon, other grains and alloys differ from place to place, not all along a line.
_JUMP, _IN_ALL = 0.2, 0.55

#: It is so many times its uncertainty, too.
_NO_CHANCE = 3.0

#: Lines that are looked at closely, of those half a lattice constant apart.
_TRIED = 10


@dataclass(frozen=True)
class Jumps:
    """What jumps in a frame.

    Parameters
    ----------
    layers : tuple
        Grains beside each other of which one is too bright to be of the same layer: the dimmer one, the
        brighter one, and by how much of what common columns stand out by.
    rows, columns : tuple of float
        Where the contrast jumps from row to row of pixels, or from column to column, and the logarithm of
        that after over that before; 0 where it does not.
    """

    layers: tuple[tuple[int, int, float], ...] = ()
    rows: tuple[float, float] = (0.0, 0.0)
    columns: tuple[float, float] = (0.0, 0.0)

    def moved(self, rows: int, columns: int) -> "Jumps":
        """The same, so many pixels further down and to the right."""
        at_row, at_column = self.rows[0] + rows, self.columns[0] + columns
        return replace(self, rows=(at_row, self.rows[1]), columns=(at_column, self.columns[1]))


def find_jumps(
    frame: Tensor, empty: Tensor, levelled: Tensor, contrast: Tensor, lattice: Lattice, whole: Tensor
) -> Jumps:
    """Look for jumps.

    Parameters
    ----------
    frame : Tensor of shape (M, N)
    empty, levelled : Tensor of shape (M, N)
        From `models.levels`.
    contrast : Tensor of shape (S,)
        How far each column stands out (`models.levels.above_empty`).
    lattice : Lattice
        Of the frame.
    whole : Tensor of shape (S,)
        Sites away from the edges.
    """
    inner = ((lattice.grain == 0) & ~lattice.boundary & ~lattice.rim).cpu().numpy()
    values, side = contrast.double().cpu().numpy(), lattice.sublattice.cpu().numpy()
    sides = [inner & (side == k) for k in (0, 1)]
    bright = max(sides, key=lambda one: float(np.median(values[one])) if one.any() else -np.inf)
    places = lattice.positions.double().cpu().numpy()[bright]
    rows, columns = (
        jump_along(places[:, k], places[:, 1 - k], values[bright], lattice.lattice_px) for k in (0, 1)
    )
    if len(lattice.vectors) == 1:
        return Jumps((), rows, columns)
    above, common = ((image[::4, ::4]).abs().median() for image in (frame - empty, levelled))
    unit = float(above / common.clamp(min=1e-6))
    return Jumps(tuple(layered(frame, unit, lattice, whole)), rows, columns)


def layered(frame: Tensor, unit: float, lattice: Lattice, whole: Tensor) -> list[tuple[int, int, float]]:
    """Grains beside each other of which one is too bright to be of the same layer.

    Parameters
    ----------
    frame : Tensor of shape (M, N)
    unit : float
        How far common columns stand out in the frame.
    lattice : Lattice
        Of the frame.
    whole : Tensor of shape (S,)
        Sites away from the edges.

    Returns
    -------
    list of tuple
        The dimmer grain, the brighter one, and the difference in that unit.
    """
    number, lattice_px = len(lattice.vectors), lattice.lattice_px
    mean = uniform_filter(frame.cpu().numpy(), max(1, round(_SQUARE * lattice_px)))
    inner = (whole & ~lattice.boundary & ~lattice.rim).cpu().numpy()
    places, grain = lattice.positions.cpu(), lattice.grain.cpu().numpy()[inner]
    bright, places = at_nearest(torch.from_numpy(mean), places).numpy()[inner], places.numpy()[inner]
    of = [np.nonzero(grain == k)[0] for k in range(number)]
    trees = [cKDTree(places[one]) if len(one) >= _FEWEST else None for one in of]
    found = []
    for one in range(number):
        for other in range(one + 1, number):
            first, second = trees[one], trees[other]
            if first is None or second is None:
                continue
            apart, back = first.query(places[of[other]])[0], second.query(places[of[one]])[0]
            sides = [bright[of[k]][d < _BESIDE * lattice_px] for k, d in ((one, back), (other, apart))]
            if min(len(side) for side in sides) < _FEWEST:
                continue
            step = float(np.median(sides[1]) - np.median(sides[0])) / unit
            if abs(step) > _LAYER:
                found.append((one, other, step) if step > 0 else (other, one, -step))
    return found


def jump_along(
    lines: NDArray[np.float64],
    across: NDArray[np.float64],
    contrast: NDArray[np.float64],
    lattice_px: float,
) -> tuple[float, float]:
    """The largest jump of contrast from line to line.

    Parameters
    ----------
    lines, across : ndarray of shape (K,)
        Where columns of one kind lie, counted in lines and along them [px].
    contrast : ndarray of shape (K,)
        How far each stands out.
    lattice_px : float

    Returns
    -------
    line, jump : float
        Where it is, and the logarithm of the contrast after over that before; 0 where none is told.
    """
    best = (0.0, 0.0)
    candidates = _candidates(lines, contrast, lattice_px / 2)
    if not len(candidates):
        return best
    order = np.argsort(lines)
    lines, across, contrast = lines[order], across[order], contrast[order]
    quarter = np.searchsorted(np.quantile(across, [0.25, 0.5, 0.75]), across)
    for line in candidates:
        a, b, c, d = np.searchsorted(lines, line + lattice_px * np.array([-_FAR, -_NEAR, _NEAR, _FAR]))
        if min(b - a, d - c) < 4 * _LEAST:
            continue
        step = _log_ratio(contrast[a:b], contrast[c:d])
        chance = math.hypot(_uncertainty(contrast[a:b]), _uncertainty(contrast[c:d]))
        if abs(step) <= max(_JUMP, _NO_CHANCE * chance, abs(best[1])):
            continue
        parts = [
            _log_ratio(contrast[a:b][quarter[a:b] == k], contrast[c:d][quarter[c:d] == k]) for k in range(4)
        ]
        if min(part * np.sign(step) for part in parts) > _IN_ALL * abs(step):
            best = (float(line), step)
    return best


def _candidates(
    lines: NDArray[np.float64], contrast: NDArray[np.float64], band_px: float
) -> NDArray[np.float64]:
    """Lines, the likeliest first, from which on the contrast may differ: by means in bands of lines.

    Parameters
    ----------
    lines, contrast : ndarray of shape (K,)
    band_px : float
    """
    if not len(lines):
        return lines
    start = lines.min()
    band = ((lines - start) / band_px).astype(np.int64)
    count = np.bincount(band)
    total = np.append(0.0, np.cumsum(np.bincount(band, contrast)))
    number, reach = np.append(0, np.cumsum(count)), round(2 * _FAR)
    at = np.arange(1, len(count))
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach, len(count))
    before = (total[at] - total[low]) / np.maximum(number[at] - number[low], 1)
    after = (total[high] - total[at]) / np.maximum(number[high] - number[at], 1)
    known = (before > 0) & (after > 0)
    step = np.where(known, np.log(np.where(known, after, 1.0) / np.where(known, before, 1.0)), 0.0)
    likeliest = np.argsort(-np.abs(step))[:_TRIED]
    found: NDArray[np.float64] = start + band_px * at[likeliest[np.abs(step[likeliest]) > _JUMP / 2]]
    return found


def _uncertainty(values: NDArray[np.float64]) -> float:
    """Of the logarithm of the median of some values (n,)."""
    median = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - median)))
    return 1.25 * deviation / max(median, 1e-9) / math.sqrt(len(values))


def _log_ratio(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    if min(len(before), len(after)) < _LEAST:
        return 0.0
    one, other = float(np.median(before)), float(np.median(after))
    return float(np.log(other / one)) if min(one, other) > 0 else 0.0
