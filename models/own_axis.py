"""The axis along which the defects of a sublattice stand out best in a frame.

Found from the frame's own columns and the templates of its context
(`docs/decisions/0091-a-frames-own-axis.md`, `0093-a-frames-own-defects.md`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.templates import Templates

#: Columns of a sublattice below which a frame does not tell.
LEAST_COLUMNS = 100

#: The shipped covariance counts for this part in a frame's own one, and the template of a defect for so many
#: columns in the frame's own defect.  Where other software has filtered the frame, hardly anything is left of
#: its scatter to make an axis of, and the shipped one counts in full.
_SHIPPED, _SHIPPED_IF_FILTERED, _AS_TEMPLATE = 0.3, 1.0, 30.0


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


def turn_axis(
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
        if own.stop - own.start < LEAST_COLUMNS:
            own = columns.regular
        axis = _own_axis(columns.moments[:, own], parts[:, own], first, expected)
        lies[:, group] = expected.along(axis, columns.moments[:, group])
    return axis


def own_defect(
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
    if len(whole) < LEAST_COLUMNS or not (whole.any() and defect.any()):
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
        The defect, of the templates or from `own_defect`.
    expected : Expected
    """
    classes = np.stack([parts[0] + parts[1], *parts[2:]])
    count = classes.sum(1)
    means = classes @ moments.T / np.maximum(count, 1e-9)[:, None]
    squares = (classes.sum(0) * moments) @ moments.T - (count * means.T) @ means
    axis = np.linalg.solve(squares / max(count.sum(), 1e-9) + expected.scatter, first)
    return np.asarray(axis / (axis @ first))
