"""How many sites hold a defect, and how well a frame says so.

Each site says how much likelier its features are under the defect than under anything else on its
sublattice.  The share of the defect follows as the share of a mixture: its posterior, from Jeffreys'
prior, holds both the sampling of a finite number of sites and the doubt about each of them.  Where no site is
in doubt this is the Jeffreys interval of a binomial share (Brown et al., 10.1214/ss/1009213286).
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
        The median of the share's posterior and its central 95 %.
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
    """Quantiles 0.025, 0.5 and 0.975 of the share of a class.

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
    excess = np.expm1(occupied * _BIN - _WIDEST)
    # Shares are sin**2 of an angle, in which Jeffreys' prior is flat; angles lie closer near 0.
    step = (np.arange(_GRID) + 0.5) / _GRID
    shares = np.sin(0.5 * math.pi * step**2) ** 2

    def log_density(chosen: slice) -> NDArray[np.float64]:
        total = np.log1p(shares[chosen, None] * excess) @ counts[occupied] + np.log(step[chosen])
        return np.asarray(total)

    coarse = log_density(slice(None, None, _STRIDE))
    near = np.flatnonzero(coarse > coarse.max() - _NEGLIGIBLE)
    around = slice(max(near[0] - 1, 0) * _STRIDE, (near[-1] + 1) * _STRIDE + 1)
    shares, fine = shares[around], log_density(around)
    weight = np.exp(fine - fine.max())
    cumulative = (np.cumsum(weight) - 0.5 * weight) / weight.sum()
    low, middle, high = np.interp([0.025, 0.5, 0.975], cumulative, shares)
    # Where nothing speaks for the class, or all does, the interval reaches the end, as Brown et al. have it.
    likeliest_is_none = excess @ counts[occupied] <= 0
    likeliest_is_all = (excess / (1 + excess)) @ counts[occupied] >= 0
    return 0.0 if likeliest_is_none else float(low), float(middle), 1.0 if likeliest_is_all else float(high)
