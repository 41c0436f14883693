"""What training's columns look like, for `models.foreignness`."""

import torch

from models.contexts import reference_contexts
from models.foreignness import TAIL, Familiar, distance
from models.training.samples import Samples
from models.zernike import ORDERS

#: Ridge on the covariance, as a part of its mean diagonal.
_RIDGE = 1e-3


def fit_familiar(samples: Samples) -> Familiar:
    """Fit means and covariance of each context's columns; the flag of the samples is the metal's."""
    count = len(ORDERS)
    contexts = len(reference_contexts())
    mean = torch.zeros(contexts, 5, count)
    whiten = torch.zeros(contexts, count, count)
    scale = torch.ones(contexts)
    order = torch.argsort(samples.context, stable=True)
    sizes = torch.bincount(samples.context.long(), minlength=contexts).tolist()
    for number, chosen in enumerate(torch.split(order, sizes)):
        contrast, _, label = samples.take(chosen)
        moments = contrast[:, :count]
        size = torch.bincount(label, minlength=5).clamp(min=1)
        mean[number] = torch.zeros(5, count).index_add_(0, label, moments) / size[:, None]
        deviation = moments - mean[number][label]
        covariance = deviation.T @ deviation / max(len(chosen), 1)
        covariance += _RIDGE * covariance.diagonal().mean().clamp(min=1e-6) * torch.eye(count)
        whiten[number] = torch.linalg.inv(torch.linalg.cholesky(covariance)).T
        if len(chosen):
            is_metal = contrast[:, count] > 0.5
            scores = distance(moments, is_metal, mean[number], whiten[number])
            scale[number] = scores.quantile(1 - TAIL)
    return Familiar(mean, whiten, scale)
