"""What training's columns look like, for `models.foreignness`."""

from collections.abc import Iterator

import torch
from torch import Tensor

from models.contexts import reference_contexts
from models.foreignness import TAIL, Familiar, distance
from models.training.samples import Samples
from models.zernike import ORDERS

#: Ridge on the covariance, as a part of its mean diagonal.
_RIDGE = 1e-3

#: Weight of all contexts' mean covariance in each.
_SHARED = 0.5


def fit_familiar(samples: Samples, held: Samples) -> Familiar:
    """Fit means and covariance of each context's columns; the flag of the samples is the metal's.

    A context has few frames, and frames differ more than their columns do.  So its covariance is drawn
    to the mean of all contexts', and the distance that `TAIL` of the columns exceed is that of other frames.

    Parameters
    ----------
    samples, held : Samples
        Columns to fit to, and columns of frames that are not among them.
    """
    count, contexts = len(ORDERS), len(reference_contexts())
    mean, covariance = torch.zeros(contexts, 5, count), torch.zeros(contexts, count, count)
    for number, chosen in _by_context(samples):
        contrast, _, label = samples.take(chosen)
        moments = contrast[:, :count]
        size = torch.bincount(label, minlength=5).clamp(min=1)
        mean[number] = torch.zeros(5, count).index_add_(0, label, moments) / size[:, None]
        deviation = moments - mean[number][label]
        covariance[number] = deviation.T @ deviation / max(len(chosen), 1)
    covariance = (1 - _SHARED) * covariance + _SHARED * covariance.mean(0)
    ridge = _RIDGE * covariance.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-6)
    whiten = torch.linalg.inv(torch.linalg.cholesky(covariance + ridge[:, None, None] * torch.eye(count))).mT
    scale = torch.ones(contexts)
    for number, chosen in _by_context(samples):
        if len(chosen):
            scale[number] = _distances(samples, chosen, mean[number], whiten[number]).quantile(1 - TAIL)
    scores = [
        _distances(held, chosen, mean[number], whiten[number]) / scale[number]
        for number, chosen in _by_context(held)
    ]
    joined = torch.cat(scores).sort().values
    beyond = joined[int((1 - TAIL) * len(joined))] if len(joined) else torch.ones(())
    return Familiar(mean, whiten, scale * beyond)


def _by_context(samples: Samples) -> Iterator[tuple[int, Tensor]]:
    """Number of each context, and the places of its columns."""
    order = torch.argsort(samples.context, stable=True)
    sizes = torch.bincount(samples.context.long(), minlength=len(reference_contexts())).tolist()
    yield from enumerate(torch.split(order, sizes))


def _distances(samples: Samples, chosen: Tensor, mean: Tensor, whiten: Tensor) -> Tensor:
    """Distances of some columns of one context."""
    contrast, *_ = samples.take(chosen)
    count = len(ORDERS)
    return distance(contrast[:, :count], contrast[:, count] > 0.5, mean, whiten)
