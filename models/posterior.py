"""From logits to what is said about a column: class probabilities, their entropy, and how foreign it looks.

Networks learn from classes in equal shares (`TRAINING_PRIOR`), real specimens hold few defects.  So the
training's shares are taken out, and the frame's own are put in: learnt from the frame by expectation
maximisation (Saerens et al., 10.1162/089976602753284446), starting from what other frames held.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from drivers.contract.context import Context
from drivers.contract.errors import InputError
from models.checkpoint import Weights
from models.contexts import context_number, context_table
from models.encoding import CONTRAST_FEATURES
from models.fusion import ON_METAL, START_SHARES

#: Shares of the classes that a network's loss is weighted to: X2, VAC1, VAC2, METAL, DOPANT.
TRAINING_PRIOR = (0.2, 0.2, 0.2, 0.2, 0.2)

#: The start counts as much as this many columns, of both sublattices: a frame of few stays near it, and
#: a class that a frame lacks keeps a share above zero.
PRIOR_COLUMNS = 20.0

_MOST_ROUNDS, _CONVERGED = 200, 1e-6

_ON_METAL = torch.from_numpy(ON_METAL)


@dataclass(frozen=True)
class Posterior:
    """What is said about the columns of a frame; S columns.

    Parameters
    ----------
    probability : Tensor of shape (S, 5)
        By `ColumnClass`; rows sum to 1.
    entropy_nats : Tensor of shape (S,)
        Of each row, 0 to log 5.
    prior : Tensor of shape (5,)
        Shares of the classes in the frame, as learnt from it.
    """

    probability: Tensor
    entropy_nats: Tensor
    prior: Tensor

    @property
    def label(self) -> Tensor:
        """The most probable `ColumnClass`, shape (S,)."""
        return self.probability.argmax(dim=1)


def predict_logits(
    weights: Weights, contrast: Tensor, context: Context, spread: Tensor | None = None
) -> Tensor:
    """Calibrated logits of the columns of one frame: no column's depend on another's.

    Parameters
    ----------
    weights : Weights
        From `models.checkpoint`.
    contrast : Tensor of shape (S, 8)
        From `models.encoding.encode_contrast`, with the flag that the network's recipe names.
    context : Context
        One of `models.contexts.reference_contexts`.
    spread : Tensor of shape (S,), optional
        From `models.scatter`; by default the usual one.

    Returns
    -------
    Tensor of shape (S, 5)

    Raises
    ------
    InputError
        If there are no columns, features are not finite, or the context is unknown.
    """
    return calibrate(weights, run_network(weights, contrast, context), contrast, context, spread)


@torch.no_grad()
def run_network(weights: Weights, contrast: Tensor, context: Context) -> Tensor:
    """Logits of `predict_logits` before they are calibrated."""
    check_contrast(contrast)
    encoded = context_table()[context_number(context)].to(contrast).expand(len(contrast), -1)
    logits: Tensor = weights.network(contrast, encoded)
    return logits


def calibrate(
    weights: Weights, logits: Tensor, contrast: Tensor, context: Context, spread: Tensor | None
) -> Tensor:
    """Logits of `run_network` as sure as they should be, given how far columns scatter."""
    is_metal = contrast[:, CONTRAST_FEATURES - 2] > 0.5
    return weights.calibration.apply(logits, context_number(context), is_metal, spread)


def check_contrast(contrast: Tensor) -> None:
    """Raise `InputError` unless these are contrast vectors of at least one column, all finite."""
    if contrast.ndim != 2 or contrast.shape[1] != CONTRAST_FEATURES:
        raise InputError(
            f"expected contrast vectors of shape (columns, {CONTRAST_FEATURES}), found "
            f"{tuple(contrast.shape)}"
        )
    if len(contrast) == 0:
        raise InputError(
            "expected at least one whole column, found an empty frame; scan a larger field, or one that "
            "holds the crystal"
        )
    if not contrast.isfinite().all():
        bad = (~contrast.isfinite()).any(dim=1)
        raise InputError(
            f"expected finite features, found {int(bad.sum())} of {len(contrast)} columns with NaN or "
            f"infinity (first: column {int(bad.nonzero()[0])}); leave out columns that are not whole"
        )


def infer_posterior(logits: Tensor, *, prior: Tensor | None = None) -> Posterior:
    """Class probabilities under the frame's own prior.

    Parameters
    ----------
    logits : Tensor of shape (S, 5)
        Calibrated, of all columns of a frame.
    prior : Tensor of shape (5,), optional
        Shares of the classes; by default learnt from the columns (`learn_prior`).
    """
    prior = learn_prior(logits) if prior is None else prior
    probability = _reweigh(logits, prior)
    return Posterior(probability, entropy_nats(probability), prior)


def mix(one: Posterior, other: Posterior, odds_nats: Tensor) -> Posterior:
    """What is said of columns if either of two posteriors may hold; the prior stays the first's.

    Parameters
    ----------
    one, other : Posterior
        Of the same S columns.
    odds_nats : Tensor of shape (S,)
        Logarithm of how much more probable the first is.
    """
    share = torch.sigmoid(odds_nats.double())[:, None]
    probability = (share * one.probability + (1 - share) * other.probability).to(one.probability)
    return Posterior(probability, entropy_nats(probability), one.prior)


def averaged(alternatives: Sequence[tuple[float, Posterior]]) -> Posterior:
    """What is said of columns and the prior if one of several holds, given how probable each is."""
    probability = torch.stack([weight * one.probability for weight, one in alternatives]).sum(0)
    prior = torch.stack([weight * one.prior for weight, one in alternatives]).sum(0)
    return Posterior(probability, entropy_nats(probability), prior)


def learn_prior(logits: Tensor) -> Tensor:
    """Shares of the classes in a frame, by expectation maximisation from the starting shares, shape (5,)."""
    probability = _softmax(logits.cpu().double()).T.contiguous()  # (5, S)
    start = _starting_prior(_on_metal_share(probability))
    prior = start
    likelihood = probability / torch.tensor(TRAINING_PRIOR, dtype=torch.float64)[:, None]
    for _ in range(_MOST_ROUNDS):
        count = prior * (likelihood @ (prior @ likelihood).reciprocal()) + PRIOR_COLUMNS * start
        updated = count / count.sum()
        if float((updated - prior).abs().max()) < _CONVERGED:
            return updated
        prior = updated
    return prior


def _on_metal_share(probability: Tensor) -> float:
    """Part of the columns on the metal sublattice, by their probabilities (5, S)."""
    share = probability[_ON_METAL].sum(0).mean()
    return min(max(float(share), 0.01), 0.99)


def _softmax(logits: Tensor) -> Tensor:
    """`torch.softmax` of each row (S, 5), faster where rows are short and many; columns lie together."""
    by_class = logits.T.contiguous()
    weight = (by_class - by_class.amax(0)).exp_()
    return weight.div_(weight.sum(0)).T


def _starting_prior(on_metal: float) -> Tensor:
    """Starting shares of the classes, shape (5,), float64."""
    return torch.from_numpy(START_SHARES * np.where(ON_METAL, on_metal, 1 - on_metal))


def _reweigh(logits: Tensor, prior: Tensor) -> Tensor:
    """Probabilities with the training's prior replaced, (S, 5)."""
    shift = prior.double().clamp(min=1e-12).log() - torch.tensor(TRAINING_PRIOR, dtype=torch.float64).log()
    return _softmax(logits + shift.to(logits))


def entropy_nats(probability: Tensor) -> Tensor:
    """Entropy of each row of probabilities (..., C), shape (...)."""
    entropy: Tensor = torch.special.entr(probability).sum(-1)
    return entropy
