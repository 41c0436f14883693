"""What a frame's own scatter says of vacancies, beside what the network says.

A network sees one column at a time and cannot know how noisy its surroundings are.  Along the direction in
which vacancies differ from whole columns, the frame tells: how far its whole columns scatter nearby, how
heavy their tail is.  Both opinions rest on the same moments, so they are not multiplied but pooled
(`docs/decisions/0016-scatter.md`).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.alignment import Mixture
from models.calibration import USUAL_SPREAD
from models.encoding import CONTRAST_FEATURES
from models.normalise import blur_cells
from models.templates import Templates

#: Weight of the frame's own scatter in the pool.
_SHARE = 0.75

#: Columns of the chalcogen sublattice below which a frame does not tell.
_LEAST_COLUMNS = 100

#: No spread is smaller.
_LEAST_SPREAD = 0.02

#: Standard deviation of the Gaussian window that a spread is taken over, in lattice constants, and columns of
#: the whole frame's spread that are added to those of the window.
_REACH, _FROM_FRAME = 4.0, 15.0

#: Times that spreads and shares are found from one another.
_ROUNDS = 4

#: Likelihoods are no smaller than this: nothing is excluded by a normal distribution's tail.
_LEAST = 1e-12


@dataclass(frozen=True)
class Scatter:
    """How the whole chalcogen columns of a frame scatter about where they are expected, the vacancy at 1.

    Parameters
    ----------
    spread : Tensor of shape (S,)
        Standard deviation around each column of the frame, of either sublattice.
    tail : Tensor of shape (S,)
        Part of the frame's whole columns that scatters farther; nan if the frame does not tell.
    """

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
        return Scatter(*(torch.full((len(contrast),), value) for value in (USUAL_SPREAD, torch.nan)))
    depth, cell = _depths(contrast, templates).numpy()[used], _Cells.of(at.double().numpy())
    near = np.abs(depth[np.abs(depth) < 0.5])
    usual = max(1.4826 * float(np.median(near)), _LEAST_SPREAD) if len(near) else 0.5
    mixture = Mixture.start(np.full(len(depth), usual), _defects(templates))
    spread = np.full(len(contrast), usual)
    for _ in range(_ROUNDS):
        parts = mixture.parts(depth)
        core, tail = parts[:2]
        # In the tail columns scatter farther by a known factor.
        whole, square = core + tail, depth * depth * (core + tail / Mixture.TAIL_WIDTH**2)
        spread = cell.local_deviation(used, whole, square)
        shares = parts.sum(1) / len(depth)
        mixture = replace(mixture, shares=shares, spread=spread[used])
    part = float(mixture.shares[1] / max(mixture.shares[:2].sum(), 1e-9))
    return Scatter(torch.from_numpy(spread).float(), torch.full((len(contrast),), part))


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
    depth, spread = _depths(contrast, templates)[side].numpy(), scatter.spread[side].double().numpy()
    core, tail, *rest = Mixture.start(spread, _defects(templates)).density(depth)
    part = scatter.tail[side].double().numpy()
    own = np.stack([(1 - part) * core + part * tail, *rest], axis=1)
    network = logits[side, :3].double()
    total = network.logsumexp(1, keepdim=True)
    said = torch.log_softmax(torch.from_numpy(own).clamp(min=_LEAST).log(), 1)
    pooled = (1 - _SHARE) * (network - total) + _SHARE * said
    result = logits.clone()
    result[side, :3] = (torch.log_softmax(pooled, 1) + total).to(logits)
    return result


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
    rows, columns : int
        Of squares.
    """

    number: NDArray[np.int64]
    rows: int
    columns: int

    @classmethod
    def of(cls, at: NDArray[np.float64]) -> "_Cells":
        """Squares of columns at some positions (S, 2)."""
        cell = (at - at.min(axis=0)).astype(np.int64)
        rows, columns = (cell.max(axis=0) + 1).tolist()
        return cls(cell[:, 0] * columns + cell[:, 1], rows, columns)

    def local_deviation(
        self, used: NDArray[np.bool_], weight: NDArray[np.float64], square: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Deviation around each column (S,) from weights and weighed squares of the columns that are used."""
        size, number = self.rows * self.columns, self.number[used]
        sums = np.stack([np.bincount(number, values, size) for values in (weight, square)])
        blurred = blur_cells(torch.from_numpy(sums).reshape(2, self.rows, self.columns), _REACH).numpy()
        counted, squares = blurred.reshape(2, -1)[:, self.number]
        added = _FROM_FRAME / (4 * np.pi * _REACH**2)
        mean = square.sum() / max(weight.sum(), 1e-9)
        variance = (squares + added * mean) / (counted + added)
        return np.asarray(np.maximum(np.sqrt(np.maximum(variance, 0.0)), _LEAST_SPREAD))
