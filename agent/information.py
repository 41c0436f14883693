"""What a measured number tells of a class: discrete input, and normal noise of unit scatter.

Classes of some shares have each a place on the number's axis; the squared distances of their places are their
squared separations.
"""

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtri

_NODES, _WEIGHTS = hermegauss(20)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()

#: Numbers of a normal distribution, each as likely as the other: what chances are counted over.
_LIKELY = ndtri((np.arange(100) + 0.5) / 100)

#: Where all other classes have less than this share together, nothing is left to tell.
_CERTAIN = 1e-6


def information(share: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mutual information of classes of shares (U, L) and a number of unit scatter about their places (U, L).

    That is the mean, over the classes and the number, of how much more likely it makes the true class.
    """
    gain = np.zeros(len(share))
    logs = np.log(np.maximum(share, 1e-30))
    busy = np.flatnonzero((share.max(axis=1) < 1 - _CERTAIN) & (place[:, -1] > 0))
    share, place, logs = share[busy], place[busy], logs[busy]
    total = np.zeros(len(busy))
    for truth in range(share.shape[1]):
        joint = _joint(logs, place, truth, _NODES)
        largest = joint.max(axis=1)
        evidence = largest + np.log(np.exp(joint - largest[:, None]).sum(axis=1))
        total -= share[:, truth] * (evidence * _WEIGHTS).sum(axis=1)
    gain[busy] = np.maximum(total, 0.0)
    return gain


def _joint(
    logs: NDArray[np.float64], place: NDArray[np.float64], truth: int, noise: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Logarithms (U, L, N) of share times likelihood over the truth's, for each noise (N) of the number."""
    apart = place[:, truth, None] - place  # (U, L)
    return np.asarray(logs[:, :, None] - apart[:, :, None] * noise - (apart**2 / 2)[:, :, None])


def chances_known(
    share: NDArray[np.float64], place: NDArray[np.float64], most_entropy_nats: float
) -> NDArray[np.float64]:
    """Chance (U,) that a number of unit scatter leaves at most an entropy of classes; as `information`."""
    chance = np.zeros(len(share))
    logs = np.log(np.maximum(share, 1e-30))
    for truth in range(share.shape[1]):
        joint = _joint(logs, place, truth, _LIKELY)
        joint -= logsumexp(joint, axis=1, keepdims=True)
        entropy = -(np.exp(joint) * joint).sum(axis=1)  # (U, N)
        chance += share[:, truth] * (entropy <= most_entropy_nats).mean(axis=1)
    return chance
