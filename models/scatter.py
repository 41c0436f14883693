"""What a frame's own scatter says of defects, beside what the network says.

A network sees one column at a time and cannot know how noisy its surroundings are.  Along the direction in
which the first defect of a sublattice (single vacancy, dopant) differs from whole columns, the frame tells:
where its whole columns lie nearby, how far they scatter there, how heavy their tail is.  Both opinions rest
on the same moments, so they are pooled and not multiplied (`docs/decisions/0016-scatter.md`,
`0019-columns-like-none-before.md`, `0027-dopants-are-weighed-by-scatter-too.md`).
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

#: Weight of the frame's own scatter in the pool.
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

#: Times that spreads and shares are found from one another.
_ROUNDS = 4

#: Likelihoods are no smaller than this: nothing is excluded by a normal distribution's tail.
_LEAST = 1e-12

#: Widths of whole columns, their tail, and the two defects, over the spread.
_WIDTHS = np.array([1.0, TAIL_WIDTH, 1.0, 1.0])[:, None]


@dataclass(frozen=True)
class Scatter:
    """How the whole columns around each column of a frame scatter along the axis of its sublattice.

    The first defect lies at 1.  All tensors of shape (S,).

    Parameters
    ----------
    centre : Tensor
        Where whole columns of the same sublattice lie; 0 is expected.
    spread : Tensor
        Their standard deviation.
    tail : Tensor
        Part of the sublattice's whole columns that scatters farther; nan if the frame does not tell.
    noise : Tensor
        Standard deviation of the chalcogen's whole columns: what a network's temperature goes by.
    """

    centre: Tensor
    spread: Tensor
    tail: Tensor
    noise: Tensor


def find_scatter(contrast: Tensor, is_regular: Tensor, at: Tensor, templates: Templates) -> Scatter:
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
    """
    every_side = (contrast[:, MOMENTS] > 0.5).long().numpy()
    regular = is_regular.numpy()
    tells = np.bincount(every_side[regular], minlength=2) >= _LEAST_COLUMNS
    used = regular & tells[every_side]
    centre, spread, tail = np.zeros(len(used)), np.full(len(used), USUAL_SPREAD), np.full(2, np.nan)
    noise = spread
    if used.any():
        depth, side = _depths(contrast, templates)[used], every_side[used]
        cells = _Cells.of(at.double().numpy(), every_side, used)
        near_by, around = cells.window(_CENTRE_REACH), cells.window(_SPREAD_REACH)
        second = _second_defect(templates)[side]
        usual = np.array([_usual_spread(depth[side == k]) for k in (0, 1)])
        shares = START_RARE * np.array([[1 / START_RARE - 3, 1, 1, 1], [1 / START_RARE - 2, 1, 1, 0]])
        centre, spread = np.zeros(len(used)), usual[every_side]
        for _ in range(_ROUNDS):
            joint = shares[side].T * _densities(depth - centre[used], spread[used], second)
            parts = joint / (joint.sum(0) + STRAY)
            core, far = parts[:2]
            # In the tail columns scatter farther by a known factor.
            weight = core + far / TAIL_WIDTH**2
            centre = cells.of_own_side(near_by.mean(weight, depth * weight, np.zeros(2)))
            square = (depth - centre[used]) ** 2 * weight
            whole, squares = (np.bincount(side, values, 2) for values in (core + far, square))
            field = around.mean(core + far, square, squares / np.maximum(whole, 1e-9))
            field = np.sqrt(np.maximum(field, _LEAST_SPREAD**2))
            spread = cells.of_own_side(field)
            count = np.maximum(np.bincount(side, minlength=2), 1)
            shares = np.stack([np.bincount(side, part, 2) for part in parts], axis=1) / count[:, None]
        tail = np.where(tells, shares[:, 1] / np.maximum(shares[:, :2].sum(1), 1e-9), np.nan)
        noise = field[0][cells.number] if tells[0] else np.full(len(used), USUAL_SPREAD)
    found = (centre, spread, tail[every_side], noise)
    return Scatter(*(torch.from_numpy(values).float() for values in found))


def pool_scatter(logits: Tensor, contrast: Tensor, scatter: Scatter, templates: Templates) -> Tensor:
    """Logits of columns, those of the classes of each sublattice pooled with their frame's own scatter.

    The sum of the classes' evidence stays the network's.

    Parameters
    ----------
    logits : Tensor of shape (S, 5)
        Calibrated, of the network.
    contrast : Tensor of shape (S, 8)
        Aligned moments and the flags of the sublattice.
    scatter : Scatter
        Around these columns, which may be of several frames.
    templates : Templates
        Of the context.

    Returns
    -------
    Tensor of shape (S, 5)
    """
    told = (~scatter.tail.isnan()).nonzero()[:, 0].numpy()
    depth = _depths(contrast, templates)[told] - scatter.centre.double().numpy()[told]
    on_metal = (contrast[:, MOMENTS] > 0.5).numpy()[told]
    spread, tail = (values.double().numpy()[told] for values in (scatter.spread, scatter.tail))
    core, far, first, second = _densities(depth, spread, _second_defect(templates)[on_metal.astype(np.int64)])
    own = np.log(np.maximum(np.stack([(1 - tail) * core + tail * far, first, second]), _LEAST))  # (3, n)
    every = logits.double().numpy()[told].T
    network = np.where(on_metal, np.stack([every[3], every[4], np.full(len(told), -np.inf)]), every[:3])
    own[2, on_metal] = -np.inf  # there is one defect on the metal sublattice
    total = _log_sum(network)
    guarded = np.log((1 - _UNLIKE) * np.exp(network - total) + _UNLIKE)
    pooled = (1 - _SHARE) * guarded + _SHARE * (own - _log_sum(own))
    pooled = torch.from_numpy(pooled - _log_sum(pooled) + total).T.to(logits)
    result = logits.clone()
    metal = torch.from_numpy(on_metal)
    places = torch.from_numpy(told)
    result[places[~metal], :3] = pooled[~metal]
    result[places[metal], 3:] = pooled[metal, :2]
    return result


def find_beyond(contrast: Tensor, scatter: Scatter, templates: Templates, *, is_doped: bool) -> Tensor:
    """How far columns lie beyond every class of their sublattice, as a foreignness (S,), >= 0.

    Beyond are a metal column that is missing, an atom too many, a dopant that nobody named: all classes lie
    between the whole column and the deepest defect, and the frame tells how far they scatter.

    Parameters
    ----------
    contrast, scatter, templates
        As for `pool_scatter`.
    is_doped : bool
        Whether there may be dopants.
    """
    depth = _depths(contrast, templates) - scatter.centre.double().numpy()
    on_metal = (contrast[:, MOMENTS] > 0.5).numpy()
    deepest = np.where(on_metal, float(is_doped), _second_defect(templates)[0])
    beyond = np.maximum(-depth, depth - deepest).clip(min=0)
    told = ~scatter.tail.isnan().numpy()
    return torch.from_numpy(np.where(told, beyond / (_BEYOND * scatter.spread.double().numpy()), 0.0)).float()


def find_between(contrast: Tensor, scatter: Scatter, templates: Templates) -> Tensor:
    """Which metal columns stand between metal and dopant, far from both, (S,).

    Of a linear detector and the dopant that was said there are none.

    Parameters
    ----------
    contrast, scatter, templates
        As for `pool_scatter`.
    """
    depth = torch.from_numpy(_depths(contrast, templates)) - scatter.centre
    far = _BETWEEN * scatter.spread
    is_metal = (contrast[:, MOMENTS] > 0.5) & ~scatter.tail.isnan()
    between: Tensor = is_metal & (depth > far) & (depth < 1 - far)
    return between


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
    width = _WIDTHS * spread
    distance = (depth - centre) / width
    return np.asarray(np.exp(-0.5 * distance * distance) / (width * math.sqrt(2 * math.pi)))


def _second_defect(templates: Templates) -> NDArray[np.float64]:
    """Depths of the double vacancy, and, as metal columns have no second defect, of none."""
    return np.array([float(templates.double[templates.common]), np.inf])


def _log_sum(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm (n,) of the sum of what logarithms (K, n) stand for."""
    highest = logs.max(axis=0)
    return np.asarray(highest + np.log(np.exp(logs - highest).sum(axis=0)))


def _depths(contrast: Tensor, templates: Templates) -> NDArray[np.float64]:
    """How deep columns (S, 8) lie along the axis of their sublattice, (S,)."""
    whole, axes = templates.whole[templates.common], templates.axes[templates.common]  # (2, 6) each
    along = contrast[:, :MOMENTS].double() @ axes.T - (whole * axes).sum(1)  # (S, 2)
    return torch.where(contrast[:, MOMENTS] > 0.5, along[:, 1], along[:, 0]).numpy()


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
