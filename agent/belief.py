"""What all evidence makes believe: posteriors under shares that are learnt from all of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from agent.register import Register
from agent.scans import Scan, silence
from drivers.contract.context import ColumnClass
from models.fusion import (
    ON_METAL,
    START_SHARES,
    FusionLaw,
    SourceErrors,
    is_taken_for_whole,
    said,
    source_errors,
    source_weights,
)

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


def _fuse(register_: Register, law: FusionLaw) -> tuple[NDArray[np.float64], float]:
    """Log likelihoods (C, 5) of all evidence by the law, and the correlation that they rest on."""
    first = _weighted(register_, law, SourceErrors.of_law(len(register_.sources), law))
    if len(register_.sources) < 2:
        return first, law.correlation
    is_whole = is_taken_for_whole(first)
    sums, dose = register_.sums[:, is_whole].astype(np.float64), register_.dose_e_per_a2[:, is_whole]
    ratio = (sums[:, :, ColumnClass.VAC1] - sums[:, :, ColumnClass.X2]) / (dose + law.half_dose_e_per_a2)
    errors = source_errors(np.where(dose > 0, ratio, np.nan).T, said(dose, law).T, law)
    return _weighted(register_, law, errors), errors.correlation


def _weighted(register_: Register, law: FusionLaw, errors: SourceErrors) -> NDArray[np.float64]:
    """Sum over the sources, each weighted for what is its own, (C, 5)."""
    if not register_.sources:
        return silence(register_.is_metal)
    dose = register_.dose_e_per_a2
    weights = errors.weights(said(dose, law).T, register_.is_metal).T  # (K, C)
    per_source = weights / (dose + law.half_dose_e_per_a2)
    logs = np.einsum("kc,kcl->cl", per_source, register_.sums.astype(np.float64))
    return np.where(register_.is_metal[:, None] == ON_METAL, logs, -np.inf)


def believe(register_: Register, law: FusionLaw) -> Belief:
    """Posteriors of all columns, under shares learnt from all of them (expectation maximisation)."""
    logs, correlation = _fuse(register_, law)
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
