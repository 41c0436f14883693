"""What a frame's own scatter says of defects, beside what the network says.

A network sees one column at a time and cannot know how noisy its surroundings are.  The frame tells: along
which direction the first defect of a sublattice (single vacancy, dopant) stands out best from whole columns,
where these lie nearby, how far they scatter there, how heavy their tail is.  Both opinions rest on the same
moments, so they are pooled and not multiplied (`docs/decisions/0016-scatter.md`,
`0019-columns-like-none-before.md`, `0027-dopants-are-weighed-by-scatter-too.md`,
`0091-a-frames-own-axis.md`, `0093-a-frames-own-defects.md`).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.calibration import USUAL_SPREAD
from models.encoding import MOMENTS
from models.local_means import windows_over
from models.mixture import densities, fit_sublattice
from models.own_axis import Expected, group_columns
from models.templates import Templates

#: Part of the columns that may be unlike any that a network has learnt from: it has no surer a say than that.
_UNLIKE = 1e-3

#: Standard deviations beyond every class at which a column is as foreign as 1.
_BEYOND = 3.0

#: A metal column is neither metal nor dopant if it is so many standard deviations from both.
_BETWEEN = 6.0

#: Likelihoods are no smaller than this: nothing is excluded by a normal distribution's tail.  A column is
#: like none of the frame's if they all come to no more than so many times that.
_LEAST, _UNLIKE_ALL = 1e-12, 100.0


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

    def if_deeper(self, factor: float) -> "Scatter":
        """The same, if the frame's defects lie so many times as deep as the alignment has it."""
        return replace(self, depth=self.centre + (self.depth - self.centre) / factor)


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
    moments = contrast[:, :MOMENTS].T.double().contiguous().numpy()
    on_metal = (contrast[:, MOMENTS] > 0.5).numpy()
    regular, quiet = is_regular.numpy(), is_quiet.numpy()
    square, windows = windows_over(at.T.double().contiguous().numpy())
    found, noise = np.empty((6, len(square))), np.full(len(square), USUAL_SPREAD)
    for k in (0, 1):
        mine, columns = group_columns(np.flatnonzero(on_metal == bool(k)), moments, square, regular, quiet)
        fitted, usual = fit_sublattice(columns, Expected.of(templates, k, is_filtered=is_filtered), windows)
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
    depth, centre, spread, tail, second, say = (
        values.numpy()
        for values in (
            scatter.depth,
            scatter.centre,
            scatter.spread,
            scatter.tail,
            scatter.second,
            scatter.say,
        )
    )
    on_metal, is_told = np.isinf(second), ~np.isnan(tail)
    core, far, first, deepest = densities(depth - centre, spread, second)
    likeness = np.maximum(np.stack([(1 - tail) * core + tail * far, first, deepest]), _LEAST)  # (3, S)
    own, say = np.log(likeness), np.where(likeness.sum(0) > _UNLIKE_ALL * _LEAST, say, 0.0)
    every = logits.T.float().clone(memory_format=torch.contiguous_format).numpy()
    network = every[:3].copy()
    np.copyto(network[:2], every[3:], where=on_metal)
    np.copyto(network[2], -np.inf, where=on_metal)
    total = _log_sum(network)
    guarded = np.log((1 - _UNLIKE) * np.exp(network - total) + _UNLIKE)
    pooled = (1 - say) * guarded + say * (own - _log_sum(own))
    pooled[2, on_metal] = -np.inf  # there is one defect on the metal sublattice
    pooled += total - _log_sum(pooled)
    np.copyto(every[:3], pooled, where=is_told & ~on_metal)
    np.copyto(every[3:], pooled[:2], where=is_told & on_metal)
    return torch.from_numpy(every).T.to(logits)


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


def _log_sum(logs: NDArray[np.floating]) -> NDArray[np.floating]:
    """Logarithm (n,) of the sum of what logarithms (K, n) stand for."""
    highest = logs.max(axis=0)
    return np.asarray(highest + np.log(np.exp(logs - highest).sum(axis=0)))
