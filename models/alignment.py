"""A frame's moments in the measure of its context: whole columns where they are expected, defects as deep.

What differs from frame to frame and is told to nobody (source size, focus, the true annulus, filters of other
software) moves all columns of a frame alike.  The frame itself tells of it: most columns of a sublattice are
whole, and the defects, if there are enough, gather at one depth.  No label enters
(`docs/decisions/0015-alignment.md`).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.levels import densest_half
from models.templates import Templates

#: Depths of defects over the expected ones that are tried: logarithms, evenly spaced.
_LOG_DEPTHS = torch.linspace(-1.2, 0.6, 61, dtype=torch.float64)

#: How far the logarithm of the depth strays: scale of a Laplace distribution, wide in its tails because
#: filters of other software halve the contrast of rare columns.  Simulated frames: deviation 0.08.
_DEPTH_SCALE = 0.06

#: Columns of a sublattice count as this many independent ones at most: the model of their scatter is not
#: exact.
_MOST_EFFECTIVE = 200.0

#: Some whole columns scatter this many times as far as most: real frames have heavy tails.
_TAIL_WIDTH = 2.5

#: Columns of a sublattice that count as much as the context's expectation of where its common column lies.
_LEAST_COLUMNS = 4.0

#: Width of a bin of depth, and the outermost bins; 0 is the whole column, 1 the expected defect.
_BIN, _LOWEST, _HIGHEST = 0.04, -1.5, 3.5

#: Times that common columns and depth are found from one another.
_ROUNDS = 3

#: Share of the tail and of each defect to start from, and rounds of expectation maximisation for each depth.
_START_RARE, _SHARE_ROUNDS = 0.05, 10

#: Part of the columns that may be of no class.
_OUTLIERS = 0.01


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
    """

    centre: Tensor
    gain: float
    depth: float
    source: int

    def apply(self, moments: Tensor, is_metal: Tensor, templates: Templates) -> Tensor:
        """Aligned moments (S, 6) of columns (S, 6) of the given sublattices (S,)."""
        here, common = self.source, templates.common
        change = templates.first[common] - templates.first[here]  # (2, 6)
        turn = (
            torch.eye(moments.shape[1], dtype=change.dtype)
            + templates.axes[here][:, :, None] * change[:, None]
        )
        turn = turn.to(moments)
        side = is_metal.long()
        deviation = (moments - self.centre.to(moments)[side]) * (self.gain / self.depth)
        turned = torch.where(is_metal[:, None], deviation @ turn[1], deviation @ turn[0])
        return templates.whole[common].to(moments)[side] + turned


def align(
    moments: Tensor, is_metal: Tensor, is_regular: Tensor, templates: Templates, *, is_doped: bool = True
) -> Tensor:
    """Moments (S, 6) of a frame in the measure of its context, learnt from its regular columns (S,)."""
    found = find_alignment(moments[is_regular], is_metal[is_regular], templates, is_doped=is_doped)
    return found.apply(moments, is_metal, templates)


def find_alignment(moments: Tensor, is_metal: Tensor, templates: Templates, *, is_doped: bool) -> Alignment:
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
    """
    moments = moments.double()
    sides = [moments[is_metal == bool(side)] for side in (0, 1)]
    counts = moments.new_tensor([len(side) for side in sides])[:, None]
    source, gain, best = templates.common, 1.0, len(_LOG_DEPTHS) // 2
    found = [_densest_half(*pair) for pair in zip(sides, templates.axes[source], strict=True)]
    centre, spread = torch.stack([one for one, _ in found]), [width for _, width in found]
    for _ in range(_ROUNDS):
        source, gain = _fit_source(centre, counts > 0, templates)
        axes = gain * templates.axes[source]
        defects = [(1.0, float(templates.double[source])), (1.0,) if is_doped else ()]
        likelihood = -_LOG_DEPTHS.abs() / _DEPTH_SCALE
        depths = [(side - centre[k]) @ axes[k] for k, side in enumerate(sides)]
        shares = []
        for k, depth in enumerate(depths):
            share, log_likelihood = _fit_shares(depth, max(spread[k], _BIN), defects[k])
            shares.append(share)
            likelihood = likelihood + log_likelihood
        best = int(likelihood.argmax())
        for k, side in enumerate(sides):
            if len(side) == 0:
                continue
            part = _part_whole(depths[k], max(spread[k], _BIN), defects[k], shares[k], best)
            centre[k] = (part @ side) / part.sum().clamp(min=1e-9)
            spread[k] = _deviation((side - centre[k]) @ axes[k], part)
    trust = counts / (counts + _LEAST_COLUMNS)
    centre = trust * centre + (1 - trust) * templates.whole[source] / gain
    return Alignment(centre.float(), gain, float(_LOG_DEPTHS[best].exp()), source)


def _fit_source(centre: Tensor, is_present: Tensor, templates: Templates) -> tuple[int, float]:
    """Source size (its place) whose common columns are the most like the measured ones, and the gain."""
    if not bool(is_present.any()):
        return templates.common, 1.0
    whole = templates.whole * is_present
    gain = (whole * centre).sum((1, 2)) / (centre * centre * is_present).sum().clamp(min=1e-6)
    misfit = (whole - gain[:, None, None] * centre * is_present).square().sum((1, 2)) / gain.square()
    source = int(misfit.argmin())
    return source, min(max(float(gain[source]), 0.2), 5.0)


def _deviation(along: Tensor, part: Tensor) -> float:
    """Standard deviation of the core of whole columns: the median of the sizes of the weighed deviations."""
    order = along.abs().argsort()
    reached = part[order].cumsum(0)
    middle = int(torch.searchsorted(reached, reached[-1:] / 2))
    return 1.4826 * float(along[order[min(middle, len(order) - 1)]].abs())


def _densest_half(moments: Tensor, axis: Tensor) -> tuple[Tensor, float]:
    """Mean moments (6,) of the densest half of a sublattice along an axis (6,), and its spread along it."""
    if len(moments) == 0:
        return moments.new_zeros(moments.shape[1]), 0.0
    along = moments @ axis
    chosen = densest_half(along)
    # Half of a normal distribution lies within 0.6745 deviations of its mean.
    return moments[chosen].mean(0), float(along[chosen[-1]] - along[chosen[0]]) / (2 * 0.6745)


def _density(depth: Tensor, scale: Tensor, spread: float, defects: tuple[float, ...]) -> Tensor:
    """Densities (..., K, n) at depths (n,) of the whole column, its tail, and the defects, scaled by (...).

    Parameters
    ----------
    depth : Tensor of shape (n,)
        0 for the whole column, 1 for the first expected defect.
    scale : Tensor
        Depth of the frame's defects over the expected one.
    spread : float
        Standard deviation of a class.
    defects : tuple of float
        Expected depths of the defects.
    """
    centres = scale[..., None] * depth.new_tensor([0.0, 0.0, *defects])
    width = spread * depth.new_tensor([1.0, _TAIL_WIDTH, *[1.0] * len(defects)])[:, None]
    distance = (depth - centres[..., None]) / width
    return torch.exp(-0.5 * distance.square()) / (width * math.sqrt(2 * math.pi))


def _fit_shares(depth: Tensor, spread: float, defects: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Shares (D, K) of the densities that fit a sublattice best, for each depth, and log likelihoods (D,)."""
    bins = torch.arange(_LOWEST, _HIGHEST, _BIN, dtype=torch.float64)
    number = ((depth - _LOWEST) / _BIN).round().long().clamp(0, len(bins) - 1)
    counts = torch.bincount(number, minlength=len(bins)).double()
    bins, counts = bins[counts > 0], counts[counts > 0]
    density = _density(bins, _LOG_DEPTHS.exp(), spread, defects)  # (D, K, B)
    share = torch.full(density.shape[:2], _START_RARE, dtype=torch.float64)
    share[:, 0] = 1 - _START_RARE * (1 + len(defects))
    for _ in range(_SHARE_ROUNDS):
        total = torch.einsum("dk,dkb->db", share, density) + _OUTLIERS / (_HIGHEST - _LOWEST)
        share = share * torch.einsum("dkb,db->dk", density, counts / total) / max(len(depth), 1)
    total = torch.einsum("dk,dkb->db", share, density) + _OUTLIERS / (_HIGHEST - _LOWEST)
    return share, total.log() @ counts * min(1.0, _MOST_EFFECTIVE / max(len(depth), 1))


def _part_whole(
    depth: Tensor, spread: float, defects: tuple[float, ...], shares: Tensor, best: int
) -> Tensor:
    """Probability that each column is whole and not in the tail, shape (n,)."""
    part = shares[best][:, None] * _density(depth, _LOG_DEPTHS[best].exp(), spread, defects)  # (K, n)
    probability: Tensor = part[0] / (part.sum(0) + _OUTLIERS / (_HIGHEST - _LOWEST))
    return probability


@dataclass(frozen=True)
class Scatter:
    """How the columns of a sublattice scatter along its axis.

    Parameters
    ----------
    spread : float
        Standard deviation of a class.
    tail : float
        Part of the whole columns that scatters farther.
    defects : tuple of float
        Depths of the defects.
    """

    spread: float
    tail: float
    defects: tuple[float, ...]

    def likelihoods(self, depth: Tensor) -> Tensor:
        """Densities of columns (n,) as whole ones and as each defect, shape (n, 1 + defects)."""
        core, tail, *rest = _density(depth, torch.ones((), dtype=depth.dtype), self.spread, self.defects)
        return torch.stack([(1 - self.tail) * core + self.tail * tail, *rest], dim=1)


def fit_scatter(depth: Tensor, defects: tuple[float, ...]) -> Scatter:
    """Scatter of aligned columns (n,): 0 is the whole one, defects lie where they are expected."""
    near = depth[depth.abs() < 0.5]
    spread = max(1.4826 * float(near.abs().median()), _BIN / 2) if len(near) else 0.5
    shares, _ = _fit_shares(depth, spread, defects)
    core, tail = shares[int(_LOG_DEPTHS.abs().argmin())][:2].tolist()
    return Scatter(spread, tail / max(core + tail, 1e-9), defects)
