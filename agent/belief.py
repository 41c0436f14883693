"""What all evidence makes believe: posteriors under shares that are learnt from all of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from agent.register import Register
from agent.scans import Scan, silence
from models.fusion import ON_METAL, START_SHARES, fuse, said, source_weights
from models.fusion_law import FusionLaw

#: The shares that the specimen is expected to have count as much as this many columns of a sublattice.
_SHARE_COLUMNS = 20.0

_MOST_ROUNDS, _CONVERGED = 200, 1e-6


@dataclass(frozen=True)
class Belief:
    """Posteriors of the register's columns.

    Parameters
    ----------
    probability : ndarray of shape (C, 5)
    entropy_nats : ndarray of shape (C,)
    shares : ndarray of shape (5,)
        Of the classes within their sublattice, as learnt from all evidence.
    correlation : float
        Of what two sources are off by, as the columns show it.
    log_likelihood : ndarray of shape (C, 5)
        Of all evidence, without the shares; -inf for the other sublattice.
    """

    probability: NDArray[np.float64]
    entropy_nats: NDArray[np.float64]
    shares: NDArray[np.float64]
    correlation: float
    log_likelihood: NDArray[np.float64]


def believe(register_: Register, law: FusionLaw) -> Belief:
    """Posteriors of all columns, under shares learnt from all of them (expectation maximisation)."""
    logs, correlation = fuse(register_.sums, register_.dose_e_per_a2, register_.is_metal, law)
    shares = START_SHARES.copy()
    for metal in (False, True):
        chosen, classes = register_.is_metal == metal, np.flatnonzero(metal == ON_METAL)
        if chosen.any():
            shares[classes] = _learn_shares(logs[chosen][:, classes], START_SHARES[classes])
    with np.errstate(divide="ignore"):
        total = logs + np.log(shares)
    total -= logsumexp(total, axis=1, keepdims=True)
    probability = np.exp(total)
    entropy = -(probability * np.where(probability > 0, total, 0.0)).sum(axis=1)
    return Belief(probability, entropy, shares, correlation, logs)


def _learn_shares(logs: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (L,) of the classes of columns with log likelihoods (n, L)."""
    likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares = start
    for _ in range(_MOST_ROUNDS):
        joint = likelihood * shares
        count = (joint / joint.sum(axis=1, keepdims=True)).sum(axis=0) + _SHARE_COLUMNS * start
        updated = count / count.sum()
        if np.abs(updated - shares).max() < _CONVERGED:
            return np.asarray(updated)
        shares = updated
    return shares


def fused_layers(scan: Scan, law: FusionLaw) -> NDArray[np.float64]:
    """What a scan's layers say together, as one observation, (S, 5); nothing of columns none may speak of."""
    strength = np.stack([said(layer.dose_e_per_a2, law) * layer.is_usable for layer in scan.layers], axis=1)
    weights = source_weights(strength, law.correlation)
    total = silence(scan.is_metal)
    for layer, weight in zip(scan.layers, weights.T, strict=True):
        total = total + np.nan_to_num(layer.log_likelihood, neginf=0.0) * weight[:, None]
    return total
