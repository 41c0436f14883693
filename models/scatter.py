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
#: columns in the frame's own defect.
_SHIPPED, _AS_TEMPLATE = 0.3, 30.0

#: Likelihoods are no smaller than this: nothing is excluded by a normal distribution's tail.
_LEAST = 1e-12

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
    """
    moments = contrast[:, :MOMENTS].double().numpy()
    every_side = (contrast[:, MOMENTS] > 0.5).long().numpy()
    regular = is_regular.numpy()
    tells = np.bincount(every_side[regular], minlength=2) >= _LEAST_COLUMNS
    used = regular & tells[every_side]
    quiet = is_quiet.numpy()
    axes, firsts = (values[templates.common].numpy() for values in (templates.axes, templates.first))
    depths, second = _along(axes, moments, every_side, templates)
    centre, spread, tail = np.zeros(len(used)), np.full(len(used), USUAL_SPREAD), np.full(2, np.nan)
    noise, say = spread, np.full(len(used), _SHARE)
    if used.any():
        depth, side, told_by = depths[used], every_side[used], moments[used]
        cells = _Cells.of(at.double().numpy(), every_side, used)
        windows = cells.window(_CENTRE_REACH), cells.window(_SPREAD_REACH)
        usual = np.array([_usual_spread(depth[side == k]) for k in (0, 1)])
        shares = START_RARE * np.array([[1 / START_RARE - 3, 1, 1, 1], [1 / START_RARE - 2, 1, 1, 0]])
        spread = usual[every_side]
        by_templates = depth
        for turn in range(_ROUNDS):
            joint = shares[side].T * _densities(depth - centre[used], spread[used], second[used])
            parts = joint / (joint.sum(0) + STRAY)
            centre, field = _whole_columns(depth, parts, cells, windows)
            spread = cells.of_own_side(field)
            count = np.maximum(np.bincount(side, minlength=2), 1)
            shares = np.stack([np.bincount(side, part, 2) for part in parts], axis=1) / count[:, None]
            if turn < _TURNS:
                if turn:  # not before the axes are this frame's
                    firsts = _own_defects(told_by, side, parts, axes, quiet[used], templates)
                for group in (one for one in (~quiet, quiet) if one[used].any()):
                    own = group[used]
                    if np.bincount(side[own], minlength=2).min() < _LEAST_COLUMNS:
                        own = np.ones_like(own)
                    axes = _own_axes(told_by[own], side[own], parts[:, own], firsts, templates)
                    depths[group], second[group] = _along(axes, moments[group], every_side[group], templates)
                depth = depths[used]
        usual_field = _whole_columns(by_templates, parts, cells, windows)[1]
        if tells[0]:
            noise = usual_field[0][cells.number]
        sharper = np.minimum(1.0, spread / cells.of_own_side(usual_field))
        say = 1 - (1 - _SHARE) * sharper**2
        tail = np.where(tells, shares[:, 1] / np.maximum(shares[:, :2].sum(1), 1e-9), np.nan)
    found = (depths, centre, spread, tail[every_side], noise, second, say)
    return Scatter(*(torch.from_numpy(values).float() for values in found))


def pool_scatter(logits: Tensor, scatter: Scatter) -> Tensor:
    """Logits of columns, those of the classes of each sublattice pooled with their frame's own scatter.

    The sum of the classes' evidence stays the network's.

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
    own = np.log(np.maximum(np.stack([(1 - tail) * core + tail * far, first, deepest]), _LEAST))  # (3, n)
    every = logits.double().numpy()[told].T
    network = np.where(on_metal, np.stack([every[3], every[4], np.full(len(told), -np.inf)]), every[:3])
    own[2, on_metal] = -np.inf  # there is one defect on the metal sublattice
    total = _log_sum(network)
    guarded = np.log((1 - _UNLIKE) * np.exp(network - total) + _UNLIKE)
    pooled = (1 - say) * guarded + say * (own - _log_sum(own))
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


def _whole_columns(
    depth: NDArray[np.float64],
    parts: NDArray[np.float64],
    cells: "_Cells",
    windows: tuple["_Window", "_Window"],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where whole columns lie around each column, (S,), and how far they scatter in each square, (2, R C).

    Parameters
    ----------
    depth : ndarray of shape (n,)
        Of the columns that are used.
    parts : ndarray of shape (4, n)
        Probability that each is a whole one, one of the tail, or a defect.
    cells, windows
        Squares of the frame, and those that centre and spread are taken over.
    """
    core, far = parts[:2]
    side = cells.side[cells.used]
    # In the tail columns scatter farther by a known factor.
    weight = core + far / TAIL_WIDTH**2
    centre = cells.of_own_side(windows[0].mean(weight, depth * weight, np.zeros(2)))
    square = (depth - centre[cells.used]) ** 2 * weight
    whole, squares = (np.bincount(side, values, 2) for values in (core + far, square))
    field = windows[1].mean(core + far, square, squares / np.maximum(whole, 1e-9))
    return centre, np.sqrt(np.maximum(field, _LEAST_SPREAD**2))


def _own_defects(
    moments: NDArray[np.float64],
    side: NDArray[np.int64],
    parts: NDArray[np.float64],
    axes: NDArray[np.float64],
    is_quiet: NDArray[np.bool_],
    templates: Templates,
) -> NDArray[np.float64]:
    """First defects (2, 6) of both sublattices, less the whole column, as this frame shows them.

    Columns that are chosen by their depth along an axis are too deep along it.  If the axis is the one that
    tells a defect best, they are off by some of that very defect: that part is left as the templates have it.

    Parameters
    ----------
    moments : ndarray of shape (n, 6)
        Of the columns that are used.
    side : ndarray of shape (n,)
        Their sublattices.
    parts : ndarray of shape (4, n)
        Probability that each is a whole one, one of the tail, or a defect.
    axes : ndarray of shape (2, 6)
        From `_own_axes`.
    is_quiet : ndarray of shape (n,)
        Where to look.
    templates : Templates
    """
    firsts = templates.first[templates.common].numpy().copy()
    for k in (0, 1):
        at = is_quiet & (side == k)
        whole, defect = parts[0, at] + parts[1, at], parts[2, at]
        if at.sum() < _LEAST_COLUMNS or not (whole.any() and defect.any()):
            continue
        seen = defect @ moments[at] / defect.sum() - whole @ moments[at] / whole.sum()
        aside = seen - (axes[k] @ seen) * firsts[k]
        firsts[k] += aside * defect.sum() / (defect.sum() + _AS_TEMPLATE)
    return firsts


def _own_axes(
    moments: NDArray[np.float64],
    side: NDArray[np.int64],
    parts: NDArray[np.float64],
    firsts: NDArray[np.float64],
    templates: Templates,
) -> NDArray[np.float64]:
    """Axes (2, 6) along which the first defect of each sublattice stands out best in this frame.

    Its columns scatter about their classes as its dose, pixels and neighbours have it.  Those of all classes
    count: the axis shall know of columns that carbon has made as dim as a defect, and what carbon has in
    common with one does not change it.

    Parameters
    ----------
    moments, side, parts
        As for `_own_defects`.
    firsts : ndarray of shape (2, 6)
        Of the templates, or from there.
    templates : Templates
    """
    axes = templates.axes[templates.common].numpy().copy()
    for k in np.flatnonzero(np.bincount(side, minlength=2) >= _LEAST_COLUMNS):
        own, of = moments[side == k], parts[:, side == k]
        of = np.stack([of[0] + of[1], of[2], of[3]])
        count = of.sum(1)
        means = of @ own / np.maximum(count, 1e-9)[:, None]
        squares = (of.sum(0) * own.T) @ own - (count * means.T) @ means
        covariance = squares / count.sum() + _SHIPPED * templates.scatter[k].numpy()
        axis = np.linalg.solve(covariance, firsts[k])
        axes[k] = axis / (axis @ firsts[k])
    return axes


def _along(
    axes: NDArray[np.float64], moments: NDArray[np.float64], side: NDArray[np.int64], templates: Templates
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How deep columns (S, 6) lie along the axis of their sublattice (S,), and its second defect, (S,)."""
    whole = templates.whole[templates.common].numpy()
    along = moments @ axes.T - (whole * axes).sum(1)  # (S, 2)
    double = float(templates.second[templates.common].numpy() @ axes[0])
    return np.where(side == 1, along[:, 1], along[:, 0]), np.where(side == 1, np.inf, double)


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


@dataclass(frozen=True)
class _Cells:
    """Squares of one lattice constant that a frame's columns (S,) lie in.

    Parameters
    ----------
    number, side : ndarray of shape (S,)
        Of each column's square, row by row, and of its sublattice.
    used : ndarray of shape (S,)
        Whether the column tells of its surroundings.
    rows, columns : int
        Of squares.
    """

    number: NDArray[np.int64]
    side: NDArray[np.int64]
    used: NDArray[np.bool_]
    rows: int
    columns: int

    @classmethod
    def of(cls, at: NDArray[np.float64], side: NDArray[np.int64], used: NDArray[np.bool_]) -> "_Cells":
        """Squares of columns at some positions (S, 2)."""
        cell = (at - at.min(axis=0)).astype(np.int64)
        rows, columns = (cell.max(axis=0) + 1).tolist()
        return cls(cell[:, 0] * columns + cell[:, 1], side, used, rows, columns)

    def window(self, reach: float) -> "_Window":
        """Gaussian window of a standard deviation in lattice constants."""
        place = (self.side * self.rows * self.columns + self.number)[self.used]
        along = gaussian_matrix(self.rows, reach), gaussian_matrix(self.columns, reach)
        return _Window((2, self.rows, self.columns), place, *along, reach)

    def of_own_side(self, field: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a window has found (2, R C) around each column, for its sublattice, (S,)."""
        return np.asarray(field[self.side, self.number])


@dataclass(frozen=True)
class _Window:
    """What local means over a frame's columns are taken with.

    Parameters
    ----------
    shape : tuple of int
        Sublattices, rows and columns of squares.
    place : ndarray of shape (n,)
        Of each column that is used, in an array of that shape.
    along_rows, along_columns : ndarray of shape (R, R), (C, C)
        What makes a Gaussian sum of the squares, from either side.
    reach : float
        Standard deviation in lattice constants.
    """

    shape: tuple[int, int, int]
    place: NDArray[np.int64]
    along_rows: NDArray[np.float64]
    along_columns: NDArray[np.float64]
    reach: float

    def mean(
        self, weight: NDArray[np.float64], weighed: NDArray[np.float64], usual: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Means in all squares, (2, R C), of weights and weighed values (n,) of the columns that are used.

        Columns of the sublattice's usual value (2,) are added, see `_FROM_FRAME`.
        """
        cells = math.prod(self.shape)
        sums = [np.bincount(self.place, values, cells).reshape(self.shape) for values in (weight, weighed)]
        counted, total = (self.along_rows @ squares @ self.along_columns for squares in sums)
        added = _FROM_FRAME / (4 * np.pi * self.reach**2)
        mean = (total + added * usual[:, None, None]) / (counted + added)
        return np.asarray(mean.reshape(2, -1))
