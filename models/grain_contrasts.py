"""Contrasts of a grain's columns, and how likely they are under one context or another.

The ratio of the two sublattices' contrasts, and the populations of columns that are dimmer or brighter than
their sublattice: vacancies are common and lie at known fractions of X2, dopants are rare and lie at a known
fraction of M.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from models.contrasts import ExpectedContrast
from models.lattice import Lattice

# The two spreads, the outliers and `MOST_EFFECTIVE` were set from simulated frames of all contexts alone, by
# `columnist derive sublattice` (decision 0011).  Spreads are twice the deviations found there: a microscope
# differs from the simulated ones in more than the study varies.

#: Standard deviation of the logarithm of measured over expected contrast ratio (simulated: 0.067).  Source
#: size, residual aberrations and the annulus are never those of the calculation.
_RATIO_SPREAD = 0.13

#: Fractions of a sublattice that are single vacancies, double vacancies and dopants: median and standard
#: deviation of the logarithm.  Vacancies wide around 2.3 to 5.4 %, as found over 30 labelled frames; dopants,
#: 0.04 to 0.19 % there, are put in on purpose, from traces to alloys (decision 0011).
_PRIOR_VAC1 = (0.035, 0.7)
_PRIOR_VAC2 = (0.003, 1.2)
_PRIOR_DOPANT = (0.005, 2.0)

#: No spread of whole columns over their median is smaller: what few electrons do not scatter, neighbours do.
_LEAST_SPREAD = 0.06

#: How much deeper or shallower all defects may look than expected, standard deviation of the logarithm
#: (simulated: 0.114).
_DEPTH_SPREAD = 0.23

#: Columns count as this many independent ones at most: the model of their scatter is not exact.  Of 25 to
#: 1600, doubling, the one whose margins were the best calibrated odds.
MOST_EFFECTIVE = 100

#: A grain with fewer columns of either sublattice says nothing.
_LEAST_COLUMNS = 5

#: Width of a bin of relative contrast, and the outermost bins: what lies beyond (Re in TiS2 is six times as
#: bright as Ti) counts as lying there, expected or measured.
_BIN, _LOWEST, _HIGHEST = 0.03, -0.5, 2.5

#: Part of the columns, and spread, that belong to no class.
_OUTLIERS, _OUTLIER_SPREAD = 0.016, 0.41


class GrainContrasts:
    """Contrasts of a grain's columns, and what they say under one context or another.

    Parameters
    ----------
    pair : list of Tensor
        Contrasts of the columns of sublattice 0 and of sublattice 1, float64.
    most_effective : float
        See `MOST_EFFECTIVE`.

    Attributes
    ----------
    ratio : float
        Contrast of sublattice 1 over sublattice 0; nan where it cannot be measured.
    """

    def __init__(self, pair: list[Tensor], *, most_effective: float = MOST_EFFECTIVE) -> None:
        self._are_enough = min(len(side) for side in pair) >= _LEAST_COLUMNS
        self.ratio, self._log_ratio = contrast_ratio(pair) if self._are_enough else (math.nan, 0.0)
        self._columns = [] if math.isnan(self.ratio) else _histograms(pair, most_effective)
        self._defects: dict[ExpectedContrast, tuple[float, float]] = {}

    def for_one(self, expected: ExpectedContrast) -> tuple[float, float]:
        """Evidence for sublattice 1 being the metal, from brightness and from defects [nats]."""
        if not self._are_enough:
            return 0.0, 0.0
        zero, one = self._with_defects(expected)
        return 2 * math.log(expected.metal) * self._log_ratio / _RATIO_SPREAD**2, one - zero

    def for_context(self, expected: ExpectedContrast) -> float:
        """Log probability of the contrasts under a context, either side being the metal.

        Up to a constant that is the same for all contexts.
        """
        if not self._are_enough:
            return 0.0
        expected_log = math.log(expected.metal)
        brightness = [
            -0.5 * ((self._log_ratio - sign * expected_log) / _RATIO_SPREAD) ** 2 for sign in (-1, 1)
        ]
        total = [one + other for one, other in zip(brightness, self._with_defects(expected), strict=True)]
        return float(torch.logsumexp(torch.tensor(total, dtype=torch.float64), 0))

    def _with_defects(self, expected: ExpectedContrast) -> tuple[float, float]:
        """Log likelihoods of `_defect_likelihoods`, worked out once; nothing if no ratio can be measured."""
        if not self._columns:
            return 0.0, 0.0
        if expected not in self._defects:
            self._defects[expected] = _defect_likelihoods(self._columns, expected)
        return self._defects[expected]


def grain_contrasts(contrast: Tensor, lattice: Lattice) -> list[GrainContrasts]:
    """Contrasts (S,) of the sites of a lattice, from `models.levels.level`, by grain, off boundaries."""
    contrast = contrast.double()
    inner, found = ~lattice.boundary, []
    for number in range(len(lattice.vectors)):
        of_grain = (lattice.grain == number) & inner
        pair = [contrast[of_grain & (lattice.sublattice == side)] for side in (0, 1)]
        found.append(GrainContrasts(pair))
    return found


def contrast_ratio(pair: list[Tensor]) -> tuple[float, float]:
    """Contrast of sublattice 1 over sublattice 0, nan if one is too weak to measure, and its logarithm."""
    level = [float(side.median()) for side in pair]
    if min(level) <= 0.02 * max(level) or max(level) <= 0:
        return math.nan, math.copysign(math.log(50), -1 if level[1] < level[0] else 1)
    return level[1] / level[0], math.log(level[1] / level[0])


def _defect_likelihoods(columns: list["_Histogram"], expected: ExpectedContrast) -> tuple[float, float]:
    """Log likelihood of the columns dimmer or brighter than their side, if sublattice 0 or 1 is the metal."""
    as_metal = [_log_likelihood_metal(side, expected) for side in columns]
    as_chalcogen = [_log_likelihood_chalcogen(side, expected) for side in columns]
    prior = -0.5 * (_depths().log() / _DEPTH_SPREAD).square()
    zero = torch.logsumexp(prior + as_metal[0] + as_chalcogen[1], 0)
    one = torch.logsumexp(prior + as_metal[1] + as_chalcogen[0], 0)
    return float(zero), float(one)


@cache
def _depths() -> Tensor:
    """Depths of defects over the expected ones that are tried, shape (D,)."""
    return torch.exp(torch.linspace(-1.2, 0.6, 37, dtype=torch.float64))


@cache
def _fractions(prior: tuple[float, float], count: int) -> tuple[Tensor, Tensor]:
    """Fractions of a population within two deviations of its prior, and their log weights, (count,) each."""
    deviation = torch.linspace(-2.5, 2.5, count, dtype=torch.float64)
    weight = torch.log_softmax(-0.5 * deviation.square(), 0)
    return (prior[0] * torch.exp(prior[1] * deviation)).clamp(max=0.3), weight


def _log_likelihood_metal(columns: "_Histogram", expected: ExpectedContrast) -> Tensor:
    """Log likelihood of a sublattice if it is M with some D, for each depth, (D,)."""
    if expected.dopant is None:
        return columns.log_likelihood(columns.host).expand(len(_depths()))
    centre = 1 - _depths() * (1 - expected.dopant)
    dopant = _density(columns.bins, centre[:, None, None], columns.spread)  # (D, 1, B)
    fraction, weight = _fractions(_PRIOR_DOPANT, 17)
    mixture = (1 - fraction[:, None]) * columns.host + fraction[:, None] * dopant  # (D, F, B)
    return torch.logsumexp(columns.log_likelihood(mixture) + weight, 1)


def _log_likelihood_chalcogen(columns: "_Histogram", expected: ExpectedContrast) -> Tensor:
    """Log likelihood of a sublattice if it is X2 with vacancies, for each depth, (D,)."""
    centres = [1 - _depths() * (1 - ratio) for ratio in (expected.vacancy1, expected.vacancy2)]
    single, double = (_density(columns.bins, c[:, None, None, None], columns.spread) for c in centres)
    first, first_weight = _fractions(_PRIOR_VAC1, 9)
    second, second_weight = _fractions(_PRIOR_VAC2, 7)
    one, two = first[:, None, None], second[None, :, None]
    mixture = (1 - one - two).clamp(min=0.05) * columns.host + one * single + two * double  # (D, F, F, B)
    likelihood = columns.log_likelihood(mixture) + first_weight[:, None] + second_weight
    return torch.logsumexp(likelihood.flatten(1), 1)


@dataclass(frozen=True)
class _Histogram:
    """Relative contrasts of a sublattice: occupied bins and effective counts (B,), spread of whole columns.

    `host` is the density of whole columns, with the heavy tails of real frames, and of what is in no class.
    """

    bins: Tensor
    counts: Tensor
    spread: float
    host: Tensor

    def log_likelihood(self, density: Tensor) -> Tensor:
        """Log likelihoods (...) of the columns by densities (..., B); logarithms in float32 are fast."""
        return density.float().log().double() @ self.counts


def _histograms(pair: list[Tensor], most_effective: float) -> list[_Histogram]:
    """Histograms of both sides, of contrasts over their median."""
    return [_histogram(side / side.median(), most_effective) for side in pair]


def _histogram(relative: Tensor, most_effective: float) -> _Histogram:
    """Sort relative contrasts into bins; the spread is the bright side's, which vacancies leave alone."""
    bins = torch.arange(_LOWEST, _HIGHEST, _BIN, dtype=torch.float64)
    number = ((relative - _LOWEST) / _BIN).round().long().clamp(0, len(bins) - 1)
    counts = torch.bincount(number, minlength=len(bins)).double()
    bins, counts = bins[counts > 0], counts[counts > 0]
    bright = relative.kthvalue(int(0.84 * (len(relative) - 1)) + 1).values
    spread = max(float(bright) - 1, _LEAST_SPREAD)
    core = 0.85 * _density(bins, 1.0, spread) + 0.15 * _density(bins, 1.0, 2 * spread)
    host = (1 - _OUTLIERS) * core + _OUTLIERS * _density(bins, 1.0, _OUTLIER_SPREAD)
    return _Histogram(bins, counts * min(1.0, most_effective / len(relative)), spread, host)


def _density(bins: Tensor, centre: Tensor | float, spread: float) -> Tensor:
    """Normal density."""
    centre = torch.as_tensor(centre, dtype=bins.dtype).clamp(_LOWEST, _HIGHEST)
    return torch.exp(-0.5 * ((bins - centre) / spread).square()) / (spread * math.sqrt(2 * math.pi))
