"""What a frame's own scatter says of vacancies, beside what the network says.

A network sees one column at a time and cannot know how noisy its surroundings are.  Along the direction in
which vacancies differ from whole columns, the frame tells: where its whole columns lie nearby, how far they
scatter there, how heavy their tail is.  Both opinions rest on the same moments, so they are pooled and not
multiplied (`docs/decisions/0016-scatter.md`, `0019-columns-like-none-before.md`).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.alignment import TAIL_WIDTH, Mixture
from models.calibration import USUAL_SPREAD
from models.encoding import CONTRAST_FEATURES
from models.normalise import gaussian_matrix
from models.templates import Templates

#: Weight of the frame's own scatter in the pool.
_SHARE = 0.75

#: Part of the columns that may be unlike any that a network has learnt from: it has no surer a say than that.
_UNLIKE = 1e-3

#: Columns of the chalcogen sublattice below which a frame does not tell.
_LEAST_COLUMNS = 100

#: No spread is smaller.
_LEAST_SPREAD = 0.02

#: Standard deviations of the Gaussian windows that a centre and a spread are taken over, in lattice
#: constants, and columns of the whole frame that are added to those of either window.
_CENTRE_REACH, _SPREAD_REACH, _FROM_FRAME = 2.0, 3.0, 15.0

#: Times that spreads and shares are found from one another.
_ROUNDS = 4

#: Likelihoods are no smaller than this: nothing is excluded by a normal distribution's tail.
_LEAST = 1e-12


@dataclass(frozen=True)
class Scatter:
    """How the whole chalcogen columns of a frame scatter along the axis of the vacancy, which lies at 1.

    Parameters
    ----------
    centre : Tensor of shape (S,)
        Where whole columns lie around each column of the frame, of either sublattice; 0 is expected.
    spread : Tensor of shape (S,)
        Their standard deviation there.
    tail : Tensor of shape (S,)
        Part of the frame's whole columns that scatters farther; nan if the frame does not tell.
    """

    centre: Tensor
    spread: Tensor
    tail: Tensor


def find_scatter(contrast: Tensor, is_regular: Tensor, at: Tensor, templates: Templates) -> Scatter:
    """Measure a frame's scatter.

    Parameters
    ----------
    contrast : Tensor of shape (S, 8)
        Aligned moments and the flag of the metal's sublattice.
    is_regular : Tensor of shape (S,)
        Columns that the scatter is learnt from.
    at : Tensor of shape (S, 2)
        Positions of the columns in lattice constants.
    templates : Templates
        Of the context.
    """
    used = ((contrast[:, CONTRAST_FEATURES - 1] > 0.5) & is_regular).numpy()
    if used.sum() < _LEAST_COLUMNS:
        return Scatter(*(torch.full((len(contrast),), value) for value in (0.0, USUAL_SPREAD, torch.nan)))
    depth, cells = _depths(contrast, templates).numpy()[used], _Cells.of(at.double().numpy(), used)
    near_by, around = cells.window(_CENTRE_REACH), cells.window(_SPREAD_REACH)
    near = np.abs(depth[np.abs(depth) < 0.5])
    usual = max(1.4826 * float(np.median(near)), _LEAST_SPREAD) if len(near) else 0.5
    mixture = Mixture.start(np.full(len(depth), usual), _defects(templates))
    centre, spread = np.zeros(len(contrast)), np.full(len(contrast), usual)
    for _ in range(_ROUNDS):
        parts = mixture.parts(depth - centre[used])
        core, tail = parts[:2]
        # In the tail columns scatter farther by a known factor.
        weight = core + tail / TAIL_WIDTH**2
        centre = near_by.mean(weight, depth * weight, 0.0)
        square = (depth - centre[used]) ** 2 * weight
        usual = square.sum() / max((core + tail).sum(), 1e-9)
        spread = np.sqrt(np.maximum(around.mean(core + tail, square, usual), _LEAST_SPREAD**2))
        shares = parts.sum(1) / len(depth)
        mixture = replace(mixture, shares=shares, spread=spread[used])
    part = float(mixture.shares[1] / max(mixture.shares[:2].sum(), 1e-9))
    found = [torch.from_numpy(values).float() for values in (centre, spread)]
    return Scatter(found[0], found[1], torch.full((len(contrast),), part))


def pool_scatter(logits: Tensor, contrast: Tensor, scatter: Scatter, templates: Templates) -> Tensor:
    """Logits of columns, those of X2 and the vacancies pooled with their frame's own scatter.

    The sum of the three classes' evidence stays the network's.

    Parameters
    ----------
    logits : Tensor of shape (S, 5)
        Calibrated, of the network.
    contrast : Tensor of shape (S, 8)
        Aligned moments and the flag of the metal's sublattice.
    scatter : Scatter
        Around these columns, which may be of several frames.
    templates : Templates
        Of the context.

    Returns
    -------
    Tensor of shape (S, 5)
    """
    side = (contrast[:, CONTRAST_FEATURES - 1] > 0.5) & ~scatter.tail.isnan()
    depth = (_depths(contrast, templates) - scatter.centre.double())[side].numpy()
    spread = scatter.spread[side].double().numpy()
    core, tail, *rest = Mixture.start(spread, _defects(templates)).density(depth)
    part = scatter.tail[side].double().numpy()
    own = np.log(np.maximum(np.stack([(1 - part) * core + part * tail, *rest]), _LEAST))  # (3, n)
    network = logits[side, :3].double().T.numpy()
    total = _log_sum(network)
    guarded = np.log((1 - _UNLIKE) * np.exp(network - total) + _UNLIKE)
    pooled = (1 - _SHARE) * guarded + _SHARE * (own - _log_sum(own))
    result = logits.clone()
    result[side, :3] = torch.from_numpy(pooled - _log_sum(pooled) + total).T.to(logits)
    return result


def _log_sum(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm (n,) of the sum of what logarithms (K, n) stand for."""
    highest = logs.max(axis=0)
    return np.asarray(highest + np.log(np.exp(logs - highest).sum(axis=0)))


def _defects(templates: Templates) -> tuple[float, ...]:
    """Depths of single and double vacancies that are expected of aligned columns."""
    return 1.0, float(templates.double[templates.common])


def _depths(contrast: Tensor, templates: Templates) -> Tensor:
    """How deep columns (S, 8) lie along the chalcogen's axis, (S,), float64."""
    moments = contrast[:, : CONTRAST_FEATURES - 2].double()
    return (moments - templates.whole[templates.common, 0]) @ templates.axes[templates.common, 0]


@dataclass(frozen=True)
class _Cells:
    """Squares of one lattice constant that a frame's columns (S,) lie in.

    Parameters
    ----------
    number : ndarray of shape (S,)
        Of each column's square, row by row.
    used : ndarray of shape (S,)
        Whether the column tells of its surroundings.
    rows, columns : int
        Of squares.
    """

    number: NDArray[np.int64]
    used: NDArray[np.bool_]
    rows: int
    columns: int

    @classmethod
    def of(cls, at: NDArray[np.float64], used: NDArray[np.bool_]) -> "_Cells":
        """Squares of columns at some positions (S, 2)."""
        cell = (at - at.min(axis=0)).astype(np.int64)
        rows, columns = (cell.max(axis=0) + 1).tolist()
        return cls(cell[:, 0] * columns + cell[:, 1], used, rows, columns)

    def window(self, reach: float) -> "_Window":
        """Gaussian window of a standard deviation in lattice constants."""
        return _Window(self, gaussian_matrix(self.rows, reach), gaussian_matrix(self.columns, reach), reach)


@dataclass(frozen=True)
class _Window:
    """What local means over a frame's columns are taken with; R x C squares.

    Parameters
    ----------
    cells : _Cells
    along_rows, along_columns : ndarray of shape (R, R), (C, C)
        What makes a Gaussian sum of the squares, from either side.
    reach : float
        Standard deviation in lattice constants.
    """

    cells: _Cells
    along_rows: NDArray[np.float64]
    along_columns: NDArray[np.float64]
    reach: float

    def mean(
        self, weight: NDArray[np.float64], weighed: NDArray[np.float64], usual: float
    ) -> NDArray[np.float64]:
        """Mean around each column (S,), from weights and weighed values of the columns that are used.

        Columns of the usual value are added, see `_FROM_FRAME`.
        """
        shape, number = (self.cells.rows, self.cells.columns), self.cells.number[self.cells.used]
        sums = [np.bincount(number, values, math.prod(shape)).reshape(shape) for values in (weight, weighed)]
        counted, total = (self.along_rows @ squares @ self.along_columns for squares in sums)
        added = _FROM_FRAME / (4 * np.pi * self.reach**2)
        mean = (total + added * usual) / (counted + added)
        return np.asarray(mean.ravel()[self.cells.number])
