"""How the columns of a sublattice scatter: a mixture of whole columns, their tail, and one or two defects.

Fitted by expectation maximisation along an axis that is found anew meanwhile (`models.own_axis`): centre and
spread of the whole columns from place to place, shares for the frame.
"""

import numpy as np
from numpy.typing import NDArray

from models.calibration import USUAL_SPREAD
from models.depths import STRAY, TAIL_WIDTH, normal_density
from models.local_means import Window
from models.own_axis import LEAST_COLUMNS, Expected, SublatticeColumns, own_defect, turn_axis

#: Weight of the frame's own scatter in the pool, where its axis tells no more than that of the templates; the
#: network's part of the rest falls as the square of what columns scatter less along the own axis.
_SHARE = 0.75

#: No spread is smaller.
_LEAST_SPREAD = 0.02

#: Times that spreads and shares are found from one another, and after how many of these axes are found anew.
_ROUNDS, _TURNS = 5, 2

#: Shares of the tail and of each defect to start from.  So few rounds take little off a share that is too
#: large, and a tail that is takes columns from the defects.
_START_TAIL, _START_DEFECT = 0.04, 0.05

#: Widths of whole columns, their tail, and the two defects, over the spread.
_WIDTHS = np.array([1.0, TAIL_WIDTH, 1.0, 1.0], np.float32)[:, None]


def fit_sublattice(
    columns: SublatticeColumns, expected: Expected, windows: tuple[Window, Window]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Measure how the columns of a sublattice scatter.

    Parameters
    ----------
    columns : SublatticeColumns
        n of them.
    expected : Expected
    windows : tuple of Window
        From `windows_over`.

    Returns
    -------
    ndarray of shape (6, n)
        Depth, centre, spread, tail, second and say, as `models.scatter.Scatter` has them.
    ndarray of shape (R C,) or None
        How far whole columns scatter in each square along the templates' axis; None if the frame does not
        tell.
    """
    lies, used = expected.along(expected.axis, columns.moments), columns.regular
    square = columns.square[used]
    if len(square) < LEAST_COLUMNS:
        untold = np.array([0.0, USUAL_SPREAD, np.nan])[:, None] + np.zeros_like(lies[0])
        return np.stack([lies[0], *untold, lies[1], np.full_like(lies[0], _SHARE)]), None
    by_templates, first, axis = lies[0, used].copy(), expected.first, expected.axis
    defects = (2 if expected.second is not None else 1) * [_START_DEFECT]
    shares = np.array([1 - _START_TAIL - sum(defects), _START_TAIL, *defects])
    depth, second = lies[:, used]
    centre, spread = np.zeros_like(depth), np.full_like(depth, _usual_spread(depth))
    parts = np.zeros((len(shares), lies.shape[1]))
    for number in range(_ROUNDS):
        joint = densities(depth - centre, spread, second)[: len(shares)] * shares[:, None].astype(np.float32)
        parts[:, used] = joint / (joint.sum(0) + STRAY)
        middle, width = _whole_columns(depth, parts[:, used], square, windows)
        centre, spread = middle[square], width[square]
        shares = parts[:, used].mean(1)
        if number < _TURNS:
            if number:  # not before the axis is this frame's
                first = own_defect(columns, parts, axis, expected)
            axis = turn_axis(lies, columns, parts, first, expected)
    usual = _whole_columns(by_templates, parts[:, used], square, windows)[1]
    centre, spread = middle[columns.square], width[columns.square]
    say = 1 - (1 - _SHARE) * np.minimum(1.0, spread / usual[columns.square]) ** 2
    tail = np.full_like(spread, shares[1] / max(shares[:2].sum(), 1e-9))
    return np.stack([lies[0], centre, spread, tail, lies[1], say]), usual


def _whole_columns(
    depth: NDArray[np.float64],
    parts: NDArray[np.float64],
    square: NDArray[np.int64],
    windows: tuple[Window, Window],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where whole columns lie in each square, and how far they scatter there, (R C,) each.

    Parameters
    ----------
    depth : ndarray of shape (n,)
        Of the columns that are used.
    parts : ndarray of shape (3 or 4, n)
        Probability that each is a whole one, one of the tail, or a defect.
    square : ndarray of shape (n,)
    windows
        What centre and spread are taken over.
    """
    core, far = parts[:2]
    # In the tail columns scatter farther by a known factor.
    weight = core + far / TAIL_WIDTH**2
    centre = windows[0].mean(square, weight, depth * weight, 0.0)
    squares = (depth - centre[square]) ** 2 * weight
    whole = core + far
    field = windows[1].mean(square, whole, squares, squares.sum() / max(whole.sum(), 1e-9))
    return centre, np.sqrt(np.maximum(field, _LEAST_SPREAD**2))


def _usual_spread(depth: NDArray[np.float64]) -> float:
    """Where to start from: standard deviation of the columns near the whole one."""
    near = np.abs(depth[np.abs(depth) < 0.5])
    return max(1.4826 * float(np.median(near)), _LEAST_SPREAD) if len(near) else 0.5


def densities(
    depth: NDArray[np.floating], spread: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Densities (4, n) of the whole column, its tail, the first and the second defect, at depths (n,).

    float32: four times as fast.
    """
    centre = np.zeros((4, len(depth)), np.float32)
    centre[2], centre[3] = 1.0, second
    narrowness = np.float32(1) / (_WIDTHS * spread.astype(np.float32))
    return normal_density(depth.astype(np.float32) - centre, narrowness)
