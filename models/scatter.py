"""What a frame's own scatter says of defects, beside what the network says.

A network sees one column at a time and cannot know how noisy its surroundings are.  The frame tells: along
which direction the first defect of a sublattice (single vacancy, dopant) stands out best from whole columns,
where these lie nearby, how far they scatter there, how heavy their tail is.  Both opinions rest on the same
moments, so they are pooled and not multiplied (`docs/decisions/0016-scatter.md`,
`0019-columns-like-none-before.md`, `0027-dopants-are-weighed-by-scatter-too.md`,
`0091-a-frames-own-axis.md`, `0093-a-frames-own-defects.md`).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.alignment import START_RARE, STRAY, TAIL_WIDTH
from models.calibration import USUAL_SPREAD
from models.encoding import MOMENTS
from models.normalise import gaussian_matrix
from models.templates import Templates

#: Weight of the frame's own scatter in the pool, where its axis tells no more than that of the templates; the
#: network's part of the rest falls as the square of what columns scatter less along the own axis.
_SHARE = 0.75

#: Part of the columns that may be unlike any that a network has learnt from: it has no surer a say than that.
_UNLIKE = 1e-3

#: Columns of a sublattice below which a frame does not tell.
_LEAST_COLUMNS = 100

#: No spread is smaller.
_LEAST_SPREAD = 0.02

#: Standard deviations of the Gaussian windows that a centre and a spread are taken over, in lattice
#: constants, and columns of the whole frame that are added to those of either window.
_CENTRE_REACH, _SPREAD_REACH, _FROM_FRAME = 2.0, 3.0, 15.0

#: Standard deviations beyond every class at which a column is as foreign as 1.
_BEYOND = 3.0

#: A metal column is neither metal nor dopant if it is so many standard deviations from both.
_BETWEEN = 6.0

#: Times that spreads and shares are found from one another, and after how many of these axes are found anew.
_ROUNDS, _TURNS = 5, 2

#: The shipped covariance counts for this part in a frame's own one, and the template of a defect for so many
#: columns in the frame's own defect.  Where other software has filtered the frame, hardly anything is left of
#: its scatter to make an axis of, and the shipped one counts in full.
_SHIPPED, _SHIPPED_IF_FILTERED, _AS_TEMPLATE = 0.3, 1.0, 30.0

#: Likelihoods are no smaller than this: nothing is excluded by a normal distribution's tail.  A column is
#: like none of the frame's if they all come to no more than so many times that.
_LEAST, _UNLIKE_ALL = 1e-12, 100.0

#: Widths of whole columns, their tail, and the two defects, over the spread.
_WIDTHS = np.array([1.0, TAIL_WIDTH, 1.0, 1.0])[:, None]


@dataclass(frozen=True)
class Scatter:
    """How the whole columns around each column of a frame scatter along the axis of its sublattice.

    Along the axis a whole column is expected at 0, and the first defect lies at 1; all of shape (S,).

    Parameters
    ----------
    depth : Tensor
        Where the column lies.
    centre : Tensor
        Where whole columns of the same sublattice lie nearby.
    spread : Tensor
        Their standard deviation.
    tail : Tensor
        Part of the sublattice's whole columns that scatters farther; nan if the frame does not tell.
    noise : Tensor
        Standard deviation of the chalcogen's whole columns along the axis of the templates: what a network's
        temperature goes by.
    second : Tensor
        Where the double vacancy lies; infinite on the metal sublattice, which has no second defect.
    say : Tensor
        Weight of all this beside a network's opinion, 0 to 1.
    """

    depth: Tensor
    centre: Tensor
    spread: Tensor
    tail: Tensor
    noise: Tensor
    second: Tensor
    say: Tensor


def find_scatter(
    contrast: Tensor,
    is_regular: Tensor,
    at: Tensor,
    templates: Templates,
    is_quiet: Tensor,
    *,
    is_filtered: bool = False,
) -> Scatter:
    """Measure a frame's scatter.

    Parameters
    ----------
    contrast : Tensor of shape (S, 8)
        Aligned moments and the flags of the sublattice.
    is_regular : Tensor of shape (S,)
        Columns that the scatter is learnt from.
    at : Tensor of shape (S, 2)
        Positions of the columns in lattice constants.
    templates : Templates
        Of the context.
    is_quiet : Tensor of shape (S,)
        Where columns scatter little (`models.quiet`): below carbon, another axis tells defects best.
    is_filtered : bool
        Whether the frame was denoised, or what lies between the lattice's spots was taken out.
    """
    shipped = _SHIPPED_IF_FILTERED if is_filtered else _SHIPPED
    moments = contrast[:, :MOMENTS].double().numpy()
    on_metal = (contrast[:, MOMENTS] > 0.5).numpy()
    regular, quiet = is_regular.numpy(), is_quiet.numpy()
    square, shape = _squares(at.double().numpy())
    windows = _Window.of(shape, _CENTRE_REACH), _Window.of(shape, _SPREAD_REACH)
    found, noise = np.empty((6, len(moments))), np.full(len(moments), USUAL_SPREAD)
    for k in (0, 1):
        mine = np.flatnonzero(on_metal == bool(k))
        columns = _Columns(moments[mine], square[mine], regular[mine], quiet[mine])
        fitted, usual = _fit(columns, _Expected.of(templates, k, shipped), windows)
        found[:, mine] = fitted
        if k == 0 and usual is not None:
            noise = usual[square]
    depth, centre, spread, tail, second, say = (torch.from_numpy(values).float() for values in found)
    return Scatter(depth, centre, spread, tail, torch.from_numpy(noise).float(), second, say)


def pool_scatter(logits: Tensor, scatter: Scatter) -> Tensor:
    """Logits of columns, those of the classes of each sublattice pooled with their frame's own scatter.

    The sum of the classes' evidence stays the network's, and all of it where a column is like none of the
    frame's: as a dopant of another element than was said, deeper than expected by many deviations.

    Parameters
    ----------
    logits : Tensor of shape (S, 5)
        Calibrated, of the network.
    scatter : Scatter
        Around these columns, which may be of several frames.

    Returns
    -------
    Tensor of shape (S, 5)
    """
    told = (~scatter.tail.isnan()).nonzero()[:, 0].numpy()
    depth, centre, spread, tail, second, say = (
        values.double().numpy()[told]
        for values in (
            scatter.depth,
            scatter.centre,
            scatter.spread,
            scatter.tail,
            scatter.second,
            scatter.say,
        )
    )
    on_metal = np.isinf(second)
    core, far, first, deepest = _densities(depth - centre, spread, second)
    likeness = np.maximum(np.stack([(1 - tail) * core + tail * far, first, deepest]), _LEAST)  # (3, n)
    own, say = np.log(likeness), np.where(likeness.sum(0) > _UNLIKE_ALL * _LEAST, say, 0.0)
    every = logits.double().numpy()[told].T
    network = np.where(on_metal, np.stack([every[3], every[4], np.full(len(told), -np.inf)]), every[:3])
    total = _log_sum(network)
    guarded = np.log((1 - _UNLIKE) * np.exp(network - total) + _UNLIKE)
    pooled = (1 - say) * guarded + say * (own - _log_sum(own))
    pooled[2, on_metal] = -np.inf  # there is one defect on the metal sublattice
    pooled = torch.from_numpy(pooled - _log_sum(pooled) + total).T.to(logits)
    result = logits.clone()
    metal = torch.from_numpy(on_metal)
    places = torch.from_numpy(told)
    result[places[~metal], :3] = pooled[~metal]
    result[places[metal], 3:] = pooled[metal, :2]
    return result


def find_beyond(scatter: Scatter, *, is_doped: bool) -> Tensor:
    """How far columns lie beyond every class of their sublattice, as a foreignness (S,), >= 0.

    Beyond are a metal column that is missing, an atom too many, a dopant that nobody named: all classes lie
    between the whole column and the deepest defect, and the frame tells how far they scatter.

    Parameters
    ----------
    scatter : Scatter
    is_doped : bool
        Whether there may be dopants.
    """
    depth = scatter.depth - scatter.centre
    deepest = torch.where(scatter.second.isinf(), float(is_doped), scatter.second)
    beyond = torch.maximum(-depth, depth - deepest).clamp(min=0)
    return torch.where(scatter.tail.isnan(), 0.0, beyond / (_BEYOND * scatter.spread))


def find_between(scatter: Scatter) -> Tensor:
    """Which metal columns stand between metal and dopant, far from both, (S,).

    Of a linear detector and the dopant that was said there are none.
    """
    depth, far = scatter.depth - scatter.centre, _BETWEEN * scatter.spread
    is_metal = scatter.second.isinf() & ~scatter.tail.isnan()
    between: Tensor = is_metal & (depth > far) & (depth < 1 - far)
    return between


@dataclass(frozen=True)
class _Expected:
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
    def of(cls, templates: Templates, sublattice: int, shipped: float) -> "_Expected":
        """Of the chalcogen sublattice, 0, or of the metal's, 1; so much of the covariance counts."""
        here = templates.common
        return cls(
            templates.whole[here, sublattice].numpy(),
            templates.first[here, sublattice].numpy(),
            templates.second[here].numpy() if sublattice == 0 else None,
            templates.axes[here, sublattice].numpy(),
            shipped * templates.scatter[sublattice].numpy(),
        )

    def along(self, axis: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.float64]:
        """How deep columns (n, 6) lie along an axis, and where the second defect does, (2, n)."""
        depth = moments @ axis - self.whole @ axis
        second = np.inf if self.second is None else self.second @ axis
        return np.stack([depth, np.full_like(depth, second)])


@dataclass(frozen=True)
class _Columns:
    """Columns of one sublattice, n of them.

    Parameters
    ----------
    moments : ndarray of shape (n, 6)
    square : ndarray of shape (n,)
        Number of the square that each lies in.
    is_regular, is_quiet : ndarray of shape (n,)
        As for `find_scatter`.
    """

    moments: NDArray[np.float64]
    square: NDArray[np.int64]
    is_regular: NDArray[np.bool_]
    is_quiet: NDArray[np.bool_]


def _fit(
    columns: _Columns, expected: _Expected, windows: tuple["_Window", "_Window"]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Depth, centre, spread, tail, second and say of the columns of a sublattice, (6, n), as `Scatter` has
    them; and how far whole ones scatter in each square along the templates' axis, None if the frame does not
    tell.
    """
    depth, second = expected.along(expected.axis, columns.moments)
    used = columns.is_regular
    if used.sum() < _LEAST_COLUMNS:
        same = np.ones_like(depth)
        return np.stack([depth, 0 * same, USUAL_SPREAD * same, np.nan * same, second, _SHARE * same]), None
    told, square, is_quiet = columns.moments[used], columns.square[used], columns.is_quiet[used]
    by_templates = own = depth[used]
    axis, first = expected.axis, expected.first
    rare = 3 if expected.second is not None else 2
    shares = np.array([1 - rare * START_RARE] + rare * [START_RARE])
    centre, spread = np.zeros_like(own), np.full_like(own, _usual_spread(own))
    for turn in range(_ROUNDS):
        joint = shares[:, None] * _densities(own - centre, spread, second[used])[: len(shares)]
        parts = joint / (joint.sum(0) + STRAY)
        middle, width = _whole_columns(own, parts, square, windows)
        centre, spread = middle[square], width[square]
        shares = parts.mean(1)
        if turn < _TURNS:
            if turn:  # not before the axis is this frame's
                first = _own_defect(told[is_quiet], parts[:, is_quiet], axis, expected)
            for group, every in ((~is_quiet, ~columns.is_quiet), (is_quiet, columns.is_quiet)):
                if not group.any():
                    continue
                learnt = group if group.sum() >= _LEAST_COLUMNS else np.ones_like(group)
                axis = _own_axis(told[learnt], parts[:, learnt], first, expected)
                depth[every], second[every] = expected.along(axis, columns.moments[every])
            own = depth[used]
    usual = _whole_columns(by_templates, parts, square, windows)[1]
    centre, spread = middle[columns.square], width[columns.square]
    say = 1 - (1 - _SHARE) * np.minimum(1.0, spread / usual[columns.square]) ** 2
    tail = np.full_like(depth, shares[1] / max(shares[:2].sum(), 1e-9))
    return np.stack([depth, centre, spread, tail, second, say]), usual


def _whole_columns(
    depth: NDArray[np.float64],
    parts: NDArray[np.float64],
    square: NDArray[np.int64],
    windows: tuple["_Window", "_Window"],
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
    moments: NDArray[np.float64],
    parts: NDArray[np.float64],
    axis: NDArray[np.float64],
    expected: _Expected,
) -> NDArray[np.float64]:
    """First defect (6,), less the whole column, as this frame shows it.

    Columns that are chosen by their depth along an axis are too deep along it.  If the axis is the one that
    tells the defect best, they are off by some of that very defect: that part is left to the template.

    Parameters
    ----------
    moments : ndarray of shape (n, 6)
        Where the frame is quiet.
    parts : ndarray of shape (3 or 4, n)
        Probability that each is a whole one, one of the tail, or a defect.
    axis : ndarray of shape (6,)
        From `_own_axis`.
    expected : _Expected
    """
    whole, defect = parts[0] + parts[1], parts[2]
    if len(moments) < _LEAST_COLUMNS or not (whole.any() and defect.any()):
        return expected.first
    seen = defect @ moments / defect.sum() - whole @ moments / whole.sum()
    aside = seen - (axis @ seen) * expected.first
    return np.asarray(expected.first + aside * defect.sum() / (defect.sum() + _AS_TEMPLATE))


def _own_axis(
    moments: NDArray[np.float64],
    parts: NDArray[np.float64],
    first: NDArray[np.float64],
    expected: _Expected,
) -> NDArray[np.float64]:
    """Axis (6,) along which the first defect stands out best in this frame; it has length 1 along it.

    Columns scatter about their classes as the frame's dose, pixels and neighbours have it.  Those of all
    classes count: the axis shall know of columns that carbon has made as dim as a defect, and what carbon has
    in common with one does not change it.

    Parameters
    ----------
    moments : ndarray of shape (n, 6)
        To learn from.
    parts : ndarray of shape (3 or 4, n)
        Probability that each is a whole one, one of the tail, or a defect.
    first : ndarray of shape (6,)
        The defect, of the templates or from `_own_defect`.
    expected : _Expected
    """
    classes = np.stack([parts[0] + parts[1], *parts[2:]])
    count = classes.sum(1)
    means = classes @ moments / np.maximum(count, 1e-9)[:, None]
    squares = (classes.sum(0) * moments.T) @ moments - (count * means.T) @ means
    axis = np.linalg.solve(squares / count.sum() + expected.scatter, first)
    return np.asarray(axis / (axis @ first))


def _usual_spread(depth: NDArray[np.float64]) -> float:
    """Where to start from: standard deviation of the columns near the whole one."""
    near = np.abs(depth[np.abs(depth) < 0.5])
    return max(1.4826 * float(np.median(near)), _LEAST_SPREAD) if len(near) else 0.5


def _densities(
    depth: NDArray[np.float64], spread: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Densities (4, n) of the whole column, its tail, the first and the second defect, at depths (n,)."""
    centre = np.zeros((4, len(depth)))
    centre[2], centre[3] = 1.0, second
    narrowness = 1 / (_WIDTHS * spread)
    distance = (depth - centre) * narrowness
    distance *= distance
    distance *= -0.5
    return np.asarray(np.exp(distance, out=distance) * narrowness / math.sqrt(2 * math.pi))


def _log_sum(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm (n,) of the sum of what logarithms (K, n) stand for."""
    highest = logs.max(axis=0)
    return np.asarray(highest + np.log(np.exp(logs - highest).sum(axis=0)))


def _squares(at: NDArray[np.float64]) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """Numbers (S,), row by row, of the squares of one lattice constant that positions (S, 2) lie in; and how
    many rows and columns of squares there are.
    """
    cell = (at - at.min(axis=0, initial=np.inf)).astype(np.int64)
    rows, columns = (cell.max(axis=0, initial=0) + 1).tolist()
    return cell[:, 0] * columns + cell[:, 1], (rows, columns)


@dataclass(frozen=True)
class _Window:
    """What local means over a frame's columns are taken with.

    Parameters
    ----------
    along_rows, along_columns : ndarray of shape (R, R), (C, C)
        What makes a Gaussian sum of the squares, from either side.
    added : float
        Weight of the sublattice's usual value, see `_FROM_FRAME`.
    """

    along_rows: NDArray[np.float64]
    along_columns: NDArray[np.float64]
    added: float

    @classmethod
    def of(cls, shape: tuple[int, int], reach: float) -> "_Window":
        """Gaussian window over squares, of a standard deviation in lattice constants."""
        rows, columns = (gaussian_matrix(edge, reach) for edge in shape)
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
        sums = (np.bincount(square, values, math.prod(shape)) for values in (weight, weighed))
        counted, total = (self.along_rows @ one.reshape(shape) @ self.along_columns for one in sums)
        return np.asarray(((total + self.added * usual) / (counted + self.added)).ravel())
