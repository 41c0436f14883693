"""A frame's moments in the measure of its context: whole columns where they are expected, defects as deep.

What differs from frame to frame and is told to nobody (source size, focus, the true annulus, filters of other
software) moves all columns of a frame alike.  The frame itself tells of it: most columns of a sublattice are
whole, and the defects, if there are enough, gather at one depth.  No label enters
(`docs/decisions/0015-alignment.md`).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.depths import BIN, fit_shares, kinds_of
from models.levels import densest_half
from models.quiet import find_quiet
from models.templates import Templates

#: Depths of defects over the expected ones that are tried: logarithms, evenly spaced.
_LOG_DEPTHS = np.arange(-40, 21, dtype=np.float64) * np.float64(0.03)

#: After the first round only depths this many places from the last best are tried.
_NEAR = 8

#: How far the logarithm of the depth strays: scale of a Laplace distribution, wide in its tails because
#: filters of other software halve the contrast of rare columns.  Simulated frames: deviation 0.08.
_DEPTH_SCALE = 0.06

#: The same in frames whose denoising was undone with components that are not exactly known: mean of its size
#: over 40 simulated ones, where the depths of the two sublattices stray together (deviation 0.07).
_UNDONE_DEPTH_SCALE = 0.12

#: How likely dopants are others than was said.  If they were so more often, a frame blurred far beyond the
#: usual, in which both sublattices are off together, would not be known for that.
_MISNAMED = 1e-3

#: What is open of the depth is so many times what likelihoods leave open.  Probabilities of simulated frames
#: fit better the more it is, up to 1.75 times, but those of recorded pairs do not (decision 0095).
_WIDER = 0.6

#: Columns of a sublattice that count as much as the context's expectation of where its common column lies.
_LEAST_COLUMNS = 4.0

#: Times that common columns and depth are found from one another.
_ROUNDS = 3


@dataclass(frozen=True)
class Alignment:
    """How a frame's moments are brought to the measure of its context.

    Parameters
    ----------
    centre : Tensor of shape (2, 6)
        Moments of the common column of the chalcogen and of the metal sublattice, as measured.
    gain : float
        Expected size of the common columns' moments over the measured one.
    depth : float
        Depth of the frame's defects over the expected one, after that gain; 1 if the frame does not tell.
    source : int
        Place of the source size, among those of the templates, that fits the common columns best.
    doubt : float
        What the depth may yet be off by: standard deviation of its logarithm.
    """

    centre: Tensor
    gain: float
    depth: float
    source: int
    doubt: float

    def apply(self, moments: Tensor, is_metal: Tensor, templates: Templates) -> Tensor:
        """Aligned moments (S, 6) of columns (S, 6) of the given sublattices (S,)."""
        here, common = self.source, templates.common
        change = templates.first[common] - templates.first[here]  # (2, 6)
        turn = (
            torch.eye(moments.shape[1], dtype=change.dtype)
            + templates.axes[here][:, :, None] * change[:, None]
        )
        turn = (turn * (self.gain / self.depth)).to(moments)
        offset = templates.whole[common].to(moments) - (self.centre.to(moments)[:, None] @ turn)[:, 0]
        chalcogen, metal = (torch.addmm(offset[k], moments, turn[k]) for k in (0, 1))
        return torch.where(is_metal[:, None], metal, chalcogen)


@dataclass(frozen=True)
class Aligned:
    """Columns of a frame in the measure of their context.

    Parameters
    ----------
    moments : Tensor of shape (S, 6)
        Aligned.
    is_quiet : Tensor of shape (S,)
        Which lie where the frame scatters little (`models.quiet`): the alignment was learnt from these.
    depth, doubt
        See `Alignment`.
    """

    moments: Tensor
    is_quiet: Tensor
    depth: float
    doubt: float


def align(
    moments: Tensor,
    is_metal: Tensor,
    is_regular: Tensor,
    at: Tensor,
    templates: Templates,
    *,
    is_doped: bool = True,
    is_undone: bool = False,
) -> Aligned:
    """Bring a frame's columns to the measure of its context.

    Parameters
    ----------
    moments : Tensor of shape (S, 6)
        From `models.reading`.
    is_metal : Tensor of shape (S,)
        bool.
    is_regular : Tensor of shape (S,)
        Columns to learn from: whole, off boundaries and rims.
    at : Tensor of shape (S, 2)
        Positions of the columns in lattice constants.
    templates, is_doped, is_undone
        As for `find_alignment`.
    """
    is_quiet = find_quiet(moments, is_metal, at, templates)
    used = is_regular & is_quiet
    found = find_alignment(moments[used], is_metal[used], templates, is_doped=is_doped, is_undone=is_undone)
    return Aligned(found.apply(moments, is_metal, templates), is_quiet, found.depth, found.doubt)


def find_alignment(
    moments: Tensor, is_metal: Tensor, templates: Templates, *, is_doped: bool, is_undone: bool = False
) -> Alignment:
    """Find out where a frame's common columns and its defects lie.

    Parameters
    ----------
    moments : Tensor of shape (S, 6)
        Of the frame's columns, from `models.reading`, whole and off boundaries.
    is_metal : Tensor of shape (S,)
        bool.
    templates : Templates
        Moments expected under the context.
    is_doped : bool
        Whether there may be dopants.
    is_undone : bool
        Whether the frame was denoised, and that undone.
    """
    # Arrays: on this few numbers a call of torch costs several times what it computes.
    every, on_metal = moments.double().numpy(), is_metal.numpy()
    sides = [every[np.flatnonzero(on_metal == bool(side))] for side in (0, 1)]
    counts = np.array([len(side) for side in sides])[:, None]
    source, gain, log_depths, log_depth, doubt = templates.common, 1.0, _LOG_DEPTHS, 0.0, 0.0
    found = [_densest_half(side, templates.axes[source, k].numpy()) for k, side in enumerate(sides)]
    centre, spread = np.stack([one for one, _ in found]), [width for _, width in found]
    for _ in range(_ROUNDS):
        source, gain = _fit_source(centre, counts > 0, templates)
        axes = gain * templates.axes[source].numpy()
        defects = [(1.0, float(templates.double[source])), (1.0,) if is_doped else ()]
        likelihood = -np.abs(log_depths) / (_UNDONE_DEPTH_SCALE if is_undone else _DEPTH_SCALE)
        along = [side @ axes[k] for k, side in enumerate(sides)]
        depths = [values - centre[k] @ axes[k] for k, values in enumerate(along)]
        shares = []
        for k, depth in enumerate(depths):
            share, log_likelihood = fit_shares(depth, max(spread[k], BIN), defects[k], log_depths)
            shares.append(share)
            likelihood = likelihood + (_if_named_right(log_likelihood) if k == 1 else log_likelihood)
        best = int(likelihood.argmax())
        log_depth, doubt = _mean_and_deviation(likelihood, log_depths)
        for k, side in enumerate(sides):
            if len(side) == 0:
                continue
            scale, width = float(np.exp(log_depth)), max(spread[k], BIN)
            part = kinds_of(depths[k], shares[k][best], scale, width, defects[k])[0]
            centre[k] = (part @ side) / max(part.sum(), 1e-9)
            spread[k] = _deviation(along[k] - centre[k] @ axes[k], part)
        near = max(int(np.abs(_LOG_DEPTHS - log_depth).argmin()) - _NEAR, 0)
        log_depths = _LOG_DEPTHS[near : near + 2 * _NEAR + 1]
    trust = counts / (counts + _LEAST_COLUMNS)
    centre = trust * centre + (1 - trust) * templates.whole[source].numpy() / gain
    return Alignment(torch.from_numpy(centre).float(), gain, math.exp(log_depth), source, _WIDER * doubt)


def _mean_and_deviation(
    log_likelihood: NDArray[np.float64], places: NDArray[np.float64]
) -> tuple[float, float]:
    """Of what has such log likelihoods (D,) at evenly spaced places (D,)."""
    weight = np.exp(log_likelihood - log_likelihood.max())
    weight /= weight.sum()
    mean = float(weight @ places)
    return mean, math.sqrt(float(weight @ (places - mean) ** 2))


def _if_named_right(log_likelihood: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log likelihoods (D,) of the metal sublattice if its dopant may be another than was said.

    Then its depth says nothing of the vacancies'.
    """
    highest = log_likelihood.max()
    relative = np.exp(log_likelihood - highest)
    return np.asarray(highest + np.log((1 - _MISNAMED) * relative + _MISNAMED * relative.mean()))


def _fit_source(
    centre: NDArray[np.float64], is_present: NDArray[np.bool_], templates: Templates
) -> tuple[int, float]:
    """Source size (its place) whose common columns are the most like the measured ones, and the gain."""
    if not is_present.any():
        return templates.common, 1.0
    whole, seen = templates.whole.numpy() * is_present, centre * is_present
    gain = (whole * seen).sum((1, 2)) / max(float((seen * seen).sum()), 1e-6)
    misfit = ((whole - gain[:, None, None] * seen) ** 2).sum((1, 2)) / gain**2
    source = int(misfit.argmin())
    return source, min(max(float(gain[source]), 0.2), 5.0)


def _deviation(along: NDArray[np.float64], part: NDArray[np.float64]) -> float:
    """Standard deviation of the core of whole columns: the median of the sizes of the weighed deviations."""
    size = np.abs(along)
    order = size.argsort()
    reached = part[order].cumsum()
    middle = int(np.searchsorted(reached, reached[-1] / 2))
    return 1.4826 * float(size[order[min(middle, len(order) - 1)]])


def _densest_half(
    moments: NDArray[np.float64], axis: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Mean moments (6,) of the densest half of a sublattice along an axis (6,), and its spread along it."""
    if len(moments) == 0:
        return np.zeros(moments.shape[1]), 0.0
    along = moments @ axis
    half = densest_half(along)
    low, high = half[0], half[-1]
    chosen = np.flatnonzero((along >= low) & (along <= high))
    # Half of a normal distribution lies within 0.6745 deviations of its mean.
    return moments[chosen].mean(0), float(high - low) / (2 * 0.6745)
