"""How good logits are: accuracy, calibration, entropy; and the temperatures that calibrate them."""

import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from drivers.contract.context import ColumnClass
from models.calibration import Calibration, noise_factor
from models.contexts import context_name, context_table, reference_contexts
from models.posterior import entropy_nats
from models.training.samples import Samples

_BINS = 15

#: Columns of a sublattice that the power of the spread is fitted to, at most.
_FITTED_TO = 200_000

#: Temperatures that are tried: 0.3 to 6.
_TEMPERATURES = torch.exp(torch.linspace(-1.2, 1.8, 61))

#: A context's own columns count against this many of all contexts, so that one odd frame cannot mislead.
_SHARED_COLUMNS = 3000

#: Against so many no context's own columns count.
_ALL_SHARED = 10**12

#: Least dose of the reference noise, log10 of electrons a square ångström; the greatest is the data's, 5.5.
REFERENCE_DOSE = 4.5


@torch.no_grad()
def all_logits(network: nn.Module, samples: Samples, *, batch: int = 16384) -> Tensor:
    """Logits of all samples, shape (n, 5); the network is left in evaluation mode."""
    network.eval()
    table = context_table()
    rows = []
    for start in range(0, len(samples), batch):
        contrast, context, _ = samples.take(slice(start, start + batch))
        rows.append(network(contrast, table[context]))
    return torch.cat(rows)


def fit_calibration(logits: Tensor, samples: Samples, *, knows_context: bool = True) -> Calibration:
    """Calibration that makes held-out columns most likely: powers of all contexts, then temperatures.

    Parameters
    ----------
    logits : Tensor of shape (n, 5)
        Of the network.
    samples : Samples
        The columns.
    knows_context : bool
        If not, one temperature is fitted to all contexts, and none to the spread, which an alignment to the
        context tells.
    """
    power, shared = torch.zeros(2), _SHARED_COLUMNS
    if not knows_context:
        shared = _ALL_SHARED
    else:
        power = torch.stack([_fit_power(logits, samples, samples.is_metal == side) for side in (False, True)])
    logits = logits / noise_factor(power, samples.is_metal, samples.spread)[:, None]
    return Calibration(fit_temperatures(logits, samples, shared_columns=shared), power)


def _fit_power(logits: Tensor, samples: Samples, chosen: Tensor) -> Tensor:
    """Power of the spread, beside one temperature of all contexts, on one sublattice."""
    places = chosen.nonzero()[:, 0]
    places = places[:: max(1, len(places) // _FITTED_TO)]
    if len(places) == 0:
        return torch.zeros(())
    some, weight = logits[places].double(), samples.weight[places].double()
    label, spread = samples.label[places].long(), samples.spread[places]
    log_ratio = noise_factor(torch.ones(2), samples.is_metal[places], spread).double().log()

    def loss(law: NDArray[np.float64]) -> float:
        divisor = torch.exp(law[0] + law[1] * log_ratio)
        return float((weight * cross_entropy(some / divisor[:, None], label, reduction="none")).mean())

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-7})
    return torch.tensor(float(found.x[1]))


def fit_temperatures(logits: Tensor, samples: Samples, *, shared_columns: int = _SHARED_COLUMNS) -> Tensor:
    """Temperature of each context that makes held-out columns most likely, (576,).

    A context's columns are joined by the mean of all, weighted as `shared_columns` columns.
    """
    contexts = len(reference_contexts())
    label, context = samples.label.long(), samples.context.long()
    weight = samples.weight
    own = torch.zeros(contexts, len(_TEMPERATURES))
    for k, temperature in enumerate(_TEMPERATURES):
        loss = weight * cross_entropy(logits / temperature, label, reduction="none")
        own[:, k].index_add_(0, context, loss)
    shared = own.sum(0) / max(len(samples), 1)
    return _TEMPERATURES[(own + shared_columns * shared).argmin(dim=1)]


def expected_calibration_error(probability: Tensor, label: Tensor, weight: Tensor) -> float:
    """Mean distance of confidence and accuracy over 15 bins of confidence (Guo et al., arXiv 1706.04599)."""
    confidence, guess = probability.max(dim=1)
    number = (confidence * _BINS).long().clamp(max=_BINS - 1)
    gap = weight * ((guess == label).float() - confidence)
    by_bin = torch.zeros(_BINS).index_add_(0, number, gap)
    return float(by_bin.abs().sum() / weight.sum())


def by_context(right: Tensor, samples: Samples) -> Tensor:
    """Accuracy under each context, nan where it has no columns, (576,); `right` is 1 or 0 for each column."""
    context, contexts = samples.context.long(), len(reference_contexts())
    hits = torch.zeros(contexts).index_add_(0, context, samples.weight * right)
    return hits / torch.zeros(contexts).index_add_(0, context, samples.weight)


def _confusion(guess: Tensor, label: Tensor, weight: Tensor) -> list[list[float]]:
    """Parts of each class (rows) that are called each class (columns)."""
    classes = len(ColumnClass)
    table = torch.zeros(classes**2).index_add_(0, label * classes + guess, weight).reshape(classes, classes)
    parts: list[list[float]] = (table / table.sum(1, keepdim=True).clamp(min=1e-9)).tolist()
    return parts


def evaluate(logits: Tensor, samples: Samples) -> dict[str, Any]:
    """Figures of calibrated logits; every class of every frame counts alike, as in training.

    Returns
    -------
    dict
        `accuracy` over the whole dose range, `accuracy_reference` at 10^4.5 e/Å² and more, `accuracy_plain`
        with every column counting alike, by dose, the confusion, the worst context, `ece`, `entropy_nats`,
        and `loss`, the mean of -log P(truth) [nats] (cards of before 2026-12 hold the sum of the weighted
        ones over the number of columns).
    """
    label, weight = samples.label.long(), samples.weight
    probability = torch.softmax(logits, dim=1)
    right = (probability.argmax(dim=1) == label).float()

    def mean(mask: Tensor) -> float:
        return float((weight * right)[mask].sum() / weight[mask].sum())

    contexts = by_context(right, samples).nan_to_num(torch.inf)
    worst = int(contexts.argmin())
    edges = (3.5, 4.0, 4.5, 5.0, 5.5)
    bands = [
        (f"10^{low:g}-10^{high:g}", (samples.log10_dose >= low) & (samples.log10_dose < high))
        for low, high in itertools.pairwise(edges)
    ]
    return {
        "columns": len(samples),
        "accuracy": mean(torch.ones_like(right, dtype=torch.bool)),
        "accuracy_reference": mean(samples.log10_dose >= REFERENCE_DOSE),
        "accuracy_plain": float(right.mean()),
        "accuracy_by_dose": {name: mean(mask) for name, mask in bands if mask.any()},
        "confusion": _confusion(probability.argmax(dim=1), label, weight),
        "worst_context": {
            "name": context_name(reference_contexts()[worst]),
            "accuracy": float(contexts[worst]),
        },
        "ece": expected_calibration_error(probability, label, weight),
        "entropy_nats": float((weight * entropy_nats(probability)).sum() / weight.sum()),
        "loss": float((weight * cross_entropy(logits, label, reduction="none")).sum() / weight.sum()),
    }
