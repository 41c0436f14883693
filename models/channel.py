"""A Gaussian measurement as a yardstick: how much is still not known after it, and which one left so much.

Two classes are measured by one number of unit scatter whose means lie `sqrt(v)` apart; v is their squared
separation.  What a network says of a column is not Gaussian, but what it leaves unknown names the v that
leaves as much, and for a Gaussian it is known how that grows with dose and over sources.  NumPy only.
"""

from functools import cache

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray

#: Share of the rarer class at which separations are told from what is left unknown.
SHARE = 0.1

#: Separations that are told apart: less is nothing, more is certainty.
LEAST, MOST = 0.02, 60.0

_NODES, _WEIGHTS = hermegauss(48)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def entropy_left(separation: NDArray[np.floating] | float, share: float) -> NDArray[np.float64]:
    """Entropy [nats] that is expected to be left of two classes after a measurement, shape of `separation`.

    Parameters
    ----------
    separation : array_like
        Squared, >= 0.
    share : float
        Probability of one of the classes before, within (0, 1).
    """
    v = np.asarray(separation, np.float64)[..., None]
    odds = np.log(share / (1 - share))
    if_there = odds + v / 2 + np.sqrt(v) * _NODES
    if_not = odds - v / 2 + np.sqrt(v) * _NODES
    left = share * binary_entropy(if_there) + (1 - share) * binary_entropy(if_not)
    return np.asarray((left * _WEIGHTS).sum(axis=-1))


def binary_entropy(log_odds: NDArray[np.floating]) -> NDArray[np.float64]:
    """Entropy [nats] of two classes of given log odds."""
    far = np.logaddexp(0.0, -np.abs(log_odds))
    rare = np.exp(-np.abs(log_odds) - far)
    return np.asarray(far + rare * np.abs(log_odds))


@cache
def _ladder() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Entropies left, rising, and the logarithm of the separations that leave them."""
    logs = np.linspace(np.log(LEAST), np.log(MOST), 200)
    return entropy_left(np.exp(logs), SHARE)[::-1], logs[::-1]


def separation_of(entropy_nats: float) -> float:
    """Squared separation of the measurement that leaves this much of a share of `SHARE`."""
    return float(np.exp(np.interp(entropy_nats, *_ladder())))


def separation_seen(
    log_ratio_if_not: NDArray[np.floating],
    log_ratio_if_there: NDArray[np.floating],
    *,
    weights: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
) -> float:
    """Squared separation of a measurement with these calibrated log likelihood ratios.

    Parameters
    ----------
    log_ratio_if_not, log_ratio_if_there : ndarray of shape (n,), (m,)
        Log likelihood of the rarer class over the other, of columns of the other and of the rarer class.
    weights : tuple of ndarray of shape (n,), (m,), optional
        How much each column counts, for instance the probability that it is of the class.
    """
    odds = np.log(SHARE / (1 - SHARE))
    first, second = (None, None) if weights is None else weights
    if_not = np.average(binary_entropy(np.asarray(log_ratio_if_not) + odds), weights=first)
    if_there = np.average(binary_entropy(np.asarray(log_ratio_if_there) + odds), weights=second)
    return separation_of(float((1 - SHARE) * if_not + SHARE * if_there))
