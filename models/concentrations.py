"""How many sites hold a defect, and how well a frame says so.

Each site says how much likelier its features are under the defect than under anything else on its
sublattice.  The share of the defect follows as the share of a mixture: its posterior, from Jeffreys'
prior, holds the sampling of a finite number of sites, the doubt about each of them, and that all likelihoods
of a frame may be off alike.  Where no site is in doubt this is the Jeffreys interval of a binomial share
(Brown et al., 10.1214/ss/1009213286).
"""

import math

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import ColumnClass
from drivers.contract.maps import Concentration

#: Bins of log likelihood ratio; what lies beyond says so surely that more changes nothing.
_WIDEST, _BIN = 25.0, 0.1

#: Shares that are tried; every so many are tried first, and the others where the density is at least this
#: part, in nats, of the highest.  It has one maximum.
_GRID, _STRIDE, _NEGLIGIBLE = 768, 8, 40.0

#: What the log likelihood ratios of all sites of a frame may be off by alike: standard deviation [nats], and
#: the nodes and weights that stand for its normal distribution (decision 0086).
_COMMON = 0.4
_NODES = ((-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6))

_KINDS = (
    ("vac1", ColumnClass.VAC1, "chalcogen sites"),
    ("vac2", ColumnClass.VAC2, "chalcogen sites"),
    ("dopant", ColumnClass.DOPANT, "metal sites"),
)

_CHALCOGEN = [ColumnClass.X2, ColumnClass.VAC1, ColumnClass.VAC2]
_METAL = [ColumnClass.METAL, ColumnClass.DOPANT]


def concentrations(
    probability: NDArray[np.float64],
    prior: NDArray[np.float64],
    on_metal: NDArray[np.bool_],
    *,
    is_doped: bool = True,
) -> tuple[Concentration, ...]:
    """Estimate the concentrations of the defects: of vacancies, and of dopants where there may be any.

    Parameters
    ----------
    probability : ndarray of shape (S, 5)
        Of the sites to count, under `prior`.
    prior : ndarray of shape (5,)
        Shares of the classes that the probabilities rest on.
    on_metal : ndarray of shape (S,)
        Sublattice of each site.

    Returns
    -------
    tuple of Concentration
        The median of the share's posterior and its central 95 %; from 0, or to 1, where nothing, or all,
        speaks for the defect.
    """
    found = []
    for name, kind, of in _KINDS if is_doped else _KINDS[:2]:
        family = _METAL if of == "metal sites" else _CHALCOGEN
        chosen = probability[on_metal == (of == "metal sites")]
        inside = chosen[:, family].sum(1)
        share = np.divide(chosen[:, kind], inside, out=np.zeros(len(chosen)), where=inside > 0)
        base = float(prior[kind] / prior[family].sum())
        low, value, high = share_quantiles(share, base)
        found.append(
            Concentration(
                defect=name,  # type: ignore[arg-type]
                of=of,  # type: ignore[arg-type]
                sites=len(share),
                expected_count=float(share.sum()),
                value=value,
                low=low,
                high=high,
            )
        )
    return tuple(found)


def share_quantiles(probability: NDArray[np.float64], prior: float) -> tuple[float, float, float]:
    """Quantiles 0.025, 0.5 and 0.975 of the share of a class; 0 or 1 where none, or all, is the likeliest.

    Parameters
    ----------
    probability : ndarray of shape (S,)
        Probability of the class at each site.
    prior : float
        The share that these probabilities were computed with; 0 if the class was ruled out.
    """
    if prior <= 0:
        return 0.0, 0.0, 0.0
    if len(probability) == 0:
        return 0.0, 0.0, 1.0
    clipped = np.clip(probability, 1e-12, 1 - 1e-12)
    ratio = np.log(clipped) - np.log1p(-clipped) - math.log(prior) + math.log1p(-prior)
    number = np.rint((np.clip(ratio, -_WIDEST, _WIDEST) + _WIDEST) / _BIN).astype(int)
    counts = np.bincount(number)
    occupied = np.flatnonzero(counts)
    likelier = occupied * _BIN - _WIDEST
    # Shares are sin**2 of an angle, in which Jeffreys' prior is flat; angles lie closer near 0.
    step = (np.arange(_GRID) + 0.5) / _GRID
    shares = np.sin(0.5 * math.pi * step**2) ** 2
    weight = np.zeros(_GRID)
    for off, part in _NODES:
        excess = np.expm1(likelier + _COMMON * off)
        around, density = _densest(excess, counts[occupied], shares, step)
        weight[around] += part * density / density.sum()
    cumulative = np.cumsum(weight) - 0.5 * weight
    low, middle, high = np.interp([0.025, 0.5, 0.975], cumulative, shares)
    excess = np.expm1(likelier)
    # Where nothing speaks for the class, or all does, the interval reaches the end, as Brown et al. have it.
    likeliest_is_none = excess @ counts[occupied] <= 0
    likeliest_is_all = (excess / (1 + excess)) @ counts[occupied] >= 0
    return 0.0 if likeliest_is_none else float(low), float(middle), 1.0 if likeliest_is_all else float(high)


def _densest(
    excess: NDArray[np.float64],
    counts: NDArray[np.int64],
    shares: NDArray[np.float64],
    step: NDArray[np.float64],
) -> tuple[slice, NDArray[np.float64]]:
    """Density of a class's share, up to a factor, and the part of the shares (G,) that is not negligible.

    Parameters
    ----------
    excess, counts : ndarray of shape (B,)
        How much likelier than anything else the class is, less 1; and how many sites say so.
    shares, step : ndarray of shape (G,)
        Shares that are tried, and their distances in angle, up to a factor.
    """
    # In float32, which is three times as fast and right to a hundredth of a nat.
    rows, columns = shares.astype(np.float32)[:, None], excess.astype(np.float32)

    def log_density(chosen: slice) -> NDArray[np.float64]:
        likelihood = np.log(1 + rows[chosen] * columns).astype(np.float64) @ counts
        return np.asarray(likelihood + np.log(step[chosen]))

    coarse = log_density(slice(None, None, _STRIDE))
    near = np.flatnonzero(coarse > coarse.max() - _NEGLIGIBLE)
    around = slice(max(near[0] - 1, 0) * _STRIDE, (near[-1] + 1) * _STRIDE + 1)
    fine = log_density(around)
    return around, np.exp(fine - fine.max())
