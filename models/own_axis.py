"""The axis along which the defects of a sublattice stand out best in a frame, and how columns scatter on it.

Found from the frame's own columns and the templates of its context
(`docs/decisions/0091-a-frames-own-axis.md`, `0093-a-frames-own-defects.md`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.alignment import STRAY, TAIL_WIDTH, normal_density
from models.calibration import USUAL_SPREAD
from models.normalise import gaussian_matrix
from models.templates import Templates

#: Weight of the frame's own scatter in the pool, where its axis tells no more than that of the templates; the
#: network's part of the rest falls as the square of what columns scatter less along the own axis.
_SHARE = 0.75

#: Columns of a sublattice below which a frame does not tell.
_LEAST_COLUMNS = 100

#: No spread is smaller.
_LEAST_SPREAD = 0.02

#: Standard deviations of the Gaussian windows that a centre and a spread are taken over, in lattice
#: constants, and columns of the whole frame that are added to those of either window.
_CENTRE_REACH, _SPREAD_REACH, _FROM_FRAME = 2.0, 3.0, 15.0

#: Times that spreads and shares are found from one another, and after how many of these axes are found anew.
_ROUNDS, _TURNS = 5, 2

#: Shares of the tail and of each defect to start from.  So few rounds take little off a share that is too
#: large, and a tail that is takes columns from the defects.
_START_TAIL, _START_DEFECT = 0.04, 0.05

#: The shipped covariance counts for this part in a frame's own one, and the template of a defect for so many
#: columns in the frame's own defect.  Where other software has filtered the frame, hardly anything is left of
#: its scatter to make an axis of, and the shipped one counts in full.
_SHIPPED, _SHIPPED_IF_FILTERED, _AS_TEMPLATE = 0.3, 1.0, 30.0

#: Widths of whole columns, their tail, and the two defects, over the spread.
_WIDTHS = np.array([1.0, TAIL_WIDTH, 1.0, 1.0], np.float32)[:, None]


@dataclass(frozen=True)
class Expected:
    """What templates expect of a sublattice, all of shape (6,).

    Parameters
    ----------
    whole : ndarray
        The whole column.
    first, second : ndarray
        Its defects, less the whole column; the metal sublattice has no second one.
    axis : ndarray
        Along which the first defect has length 1.
    scatter : ndarray of shape (6, 6)
        What counts of the covariance of columns about their class.
    """

    whole: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64] | None
    axis: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def of(cls, templates: Templates, sublattice: int, *, is_filtered: bool) -> "Expected":
        """Of the chalcogen sublattice, 0, or of the metal's, 1."""
        here, shipped = templates.common, _SHIPPED_IF_FILTERED if is_filtered else _SHIPPED
        return cls(
            templates.whole[here, sublattice].numpy(),
            templates.first[here, sublattice].numpy(),
            templates.second[here].numpy() if sublattice == 0 else None,
            templates.axes[here, sublattice].numpy(),
            shipped * templates.scatter[sublattice].numpy(),
        )

    def along(self, axis: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.float64]:
        """How deep columns (6, n) lie along an axis, and where the second defect does, (2, n)."""
        depth = axis @ moments - self.whole @ axis
        second = np.inf if self.second is None else self.second @ axis
        return np.stack([depth, np.full_like(depth, second)])


@dataclass(frozen=True)
class SublatticeColumns:
    """Columns of one sublattice, n of them, those that are alike beside each other.

    Parameters
    ----------
    moments : ndarray of shape (6, n)
    square : ndarray of shape (n,)
        Number of the square that each lies in.
    regular : slice
        Columns that the scatter is learnt from.
    loud, quiet : slice
        Where the frame scatters much or little (`models.quiet`); both together are all columns.
    """

    moments: NDArray[np.float64]
    square: NDArray[np.int64]
    regular: slice
    loud: slice
    quiet: slice

    def regular_of(self, group: slice) -> slice:
        """The regular ones of `loud` or `quiet`."""
        return slice(max(group.start, self.regular.start), min(group.stop, self.regular.stop))


def group_columns(
    mine: NDArray[np.int64],
    moments: NDArray[np.float64],
    square: NDArray[np.int64],
    is_regular: NDArray[np.bool_],
    is_quiet: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], SublatticeColumns]:
    """Put columns of a sublattice in the order of `SublatticeColumns`, so that groups of them are slices.

    Parameters
    ----------
    mine : ndarray of shape (n,)
        Places of the sublattice's columns among those of the frame.
    moments, square, is_regular, is_quiet
        Of all columns of the frame, (6, S) and (S,) each.

    Returns
    -------
    ndarray of shape (n,)
        The places in the new order.
    SublatticeColumns
    """
    regular, quiet = is_regular[mine], is_quiet[mine]
    kind = np.where(quiet, 3 - regular, regular * 1)  # from the loud ones; the regular ones in the middle
    sizes = np.bincount(kind, minlength=4)
    first, loud, last = int(sizes[0]), int(sizes[:2].sum()), int(sizes[:3].sum())
    mine = mine[np.argsort(kind, kind="stable")]
    columns = SublatticeColumns(
        moments.take(mine, axis=1),
        square[mine],
        regular=slice(first, last),
        loud=slice(0, loud),
        quiet=slice(loud, len(mine)),
    )
    return mine, columns


def fit_sublattice(
    columns: SublatticeColumns, expected: Expected, windows: tuple["Window", "Window"]
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
    if len(square) < _LEAST_COLUMNS:
        untold = np.array([0.0, USUAL_SPREAD, np.nan])[:, None] + np.zeros_like(lies[0])
        return np.stack([lies[0], *untold, lies[1], np.full_like(lies[0], _SHARE)]), None
    by_templates, first, axis = lies[0, used].copy(), expected.first, expected.axis
    defects = (2 if expected.second is not None else 1) * [_START_DEFECT]
    shares = np.array([1 - _START_TAIL - sum(defects), _START_TAIL, *defects])
    depth, second = lies[:, used]
    centre, spread = np.zeros_like(depth), np.full_like(depth, _usual_spread(depth))
    parts = np.zeros((len(shares), lies.shape[1]))
    for turn in range(_ROUNDS):
        joint = densities(depth - centre, spread, second)[: len(shares)] * shares[:, None].astype(np.float32)
        parts[:, used] = joint / (joint.sum(0) + STRAY)
        middle, width = _whole_columns(depth, parts[:, used], square, windows)
        centre, spread = middle[square], width[square]
        shares = parts[:, used].mean(1)
        if turn < _TURNS:
            if turn:  # not before the axis is this frame's
                first = _own_defect(columns, parts, axis, expected)
            axis = _turn(lies, columns, parts, first, expected)
    usual = _whole_columns(by_templates, parts[:, used], square, windows)[1]
    centre, spread = middle[columns.square], width[columns.square]
    say = 1 - (1 - _SHARE) * np.minimum(1.0, spread / usual[columns.square]) ** 2
    tail = np.full_like(spread, shares[1] / max(shares[:2].sum(), 1e-9))
    return np.stack([lies[0], centre, spread, tail, lies[1], say]), usual


def _turn(
    lies: NDArray[np.float64],
    columns: SublatticeColumns,
    parts: NDArray[np.float64],
    first: NDArray[np.float64],
    expected: Expected,
) -> NDArray[np.float64]:
    """Measure anew, in place, how deep columns and their second defect lie, (2, n), along axes of their own:
    one where the frame is quiet, which is returned, and one elsewhere.
    """
    axis = expected.axis
    for group in (columns.loud, columns.quiet):
        if group.start == group.stop:
            continue
        own = columns.regular_of(group)
        if own.stop - own.start < _LEAST_COLUMNS:
            own = columns.regular
        axis = _own_axis(columns.moments[:, own], parts[:, own], first, expected)
        lies[:, group] = expected.along(axis, columns.moments[:, group])
    return axis


def _whole_columns(
    depth: NDArray[np.float64],
    parts: NDArray[np.float64],
    square: NDArray[np.int64],
    windows: tuple["Window", "Window"],
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


def _own_defect(
    columns: SublatticeColumns,
    parts: NDArray[np.float64],
    axis: NDArray[np.float64],
    expected: Expected,
) -> NDArray[np.float64]:
    """First defect (6,), less the whole column, as this frame shows it.

    Columns that are chosen by their depth along an axis are too deep along it.  If the axis is the one that
    tells the defect best, they are off by some of that very defect: that part is left to the template.

    Parameters
    ----------
    columns : SublatticeColumns
        The regular ones are looked at, where the frame is quiet.
    parts : ndarray of shape (3 or 4, n)
        Probability that each is a whole one, one of the tail, or a defect.
    axis : ndarray of shape (6,)
        From `_own_axis`.
    expected : Expected
    """
    own = columns.regular_of(columns.quiet)
    moments, parts = columns.moments[:, own], parts[:, own]
    whole, defect = parts[0] + parts[1], parts[2]
    if len(whole) < _LEAST_COLUMNS or not (whole.any() and defect.any()):
        return expected.first
    seen = moments @ defect / defect.sum() - moments @ whole / whole.sum()
    aside = seen - (axis @ seen) * expected.first
    return np.asarray(expected.first + aside * defect.sum() / (defect.sum() + _AS_TEMPLATE))


def _own_axis(
    moments: NDArray[np.float64],
    parts: NDArray[np.float64],
    first: NDArray[np.float64],
    expected: Expected,
) -> NDArray[np.float64]:
    """Axis (6,) along which the first defect stands out best in this frame; it has length 1 along it.

    Columns scatter about their classes as the frame's dose, pixels and neighbours have it.  Those of all
    classes count: the axis shall know of columns that carbon has made as dim as a defect, and what carbon has
    in common with one does not change it.

    Parameters
    ----------
    moments : ndarray of shape (6, n)
        To learn from.
    parts : ndarray of shape (3 or 4, n)
        Probability that each is a whole one, one of the tail, or a defect.
    first : ndarray of shape (6,)
        The defect, of the templates or from `_own_defect`.
    expected : Expected
    """
    classes = np.stack([parts[0] + parts[1], *parts[2:]])
    count = classes.sum(1)
    means = classes @ moments.T / np.maximum(count, 1e-9)[:, None]
    squares = (classes.sum(0) * moments) @ moments.T - (count * means.T) @ means
    axis = np.linalg.solve(squares / count.sum() + expected.scatter, first)
    return np.asarray(axis / (axis @ first))


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


@dataclass(frozen=True)
class Window:
    """What local means over a frame's columns are taken with.

    Parameters
    ----------
    along_rows, along_columns : ndarray of shape (R, R), (C, C)
        What makes a Gaussian sum of the squares, from either side; float32.
    added : float
        Weight of the sublattice's usual value, see `_FROM_FRAME`.
    """

    along_rows: NDArray[np.float32]
    along_columns: NDArray[np.float32]
    added: float

    @classmethod
    def of(cls, shape: tuple[int, int], reach: float) -> "Window":
        """Gaussian window over squares, of a standard deviation in lattice constants."""
        rows, columns = (gaussian_matrix(edge, reach).astype(np.float32) for edge in shape)
        return cls(rows, columns, _FROM_FRAME / (4 * np.pi * reach**2))

    def mean(
        self,
        square: NDArray[np.int64],
        weight: NDArray[np.float64],
        weighed: NDArray[np.float64],
        usual: float,
    ) -> NDArray[np.float64]:
        """Means in all squares, (R C,), of weights and weighed values (n,) of columns in some of them."""
        shape = len(self.along_rows), len(self.along_columns)
        sums = np.empty((2, math.prod(shape)), np.float32)
        for k, values in enumerate((weight, weighed)):
            sums[k] = np.bincount(square, values, math.prod(shape))
        counted, total = self.along_rows @ sums.reshape(2, *shape) @ self.along_columns
        mean = (total + self.added * usual) / (counted + self.added)
        return np.asarray(mean.ravel(), np.float64)


def windows_over(at: NDArray[np.float64]) -> tuple[NDArray[np.int64], tuple[Window, Window]]:
    """Squares of one lattice constant over a frame, and the windows that centres and spreads are taken over.

    Parameters
    ----------
    at : ndarray of shape (2, S)
        Positions of columns in lattice constants.

    Returns
    -------
    square : ndarray of shape (S,)
        Number of the square that each lies in, row by row.
    windows : tuple of Window
    """
    row, column = (at - at.min(axis=1, initial=np.inf)[:, None]).astype(np.int64)
    rows, columns = (int(places.max(initial=0)) + 1 for places in (row, column))
    windows = Window.of((rows, columns), _CENTRE_REACH), Window.of((rows, columns), _SPREAD_REACH)
    return row * columns + column, windows
