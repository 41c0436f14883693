"""What the columns of a frame are, if its defects may lie deeper or shallower than its alignment has it.

Single and double vacancies of a frame of few electrons lie so near each other that some more of the one
kind, all of them a little deeper, look like the other.  Then no share of the classes is sure, and no class of
a column (`docs/decisions/0095-what-is-open-of-the-depth.md`).
"""

import math

import torch
from torch import Tensor

from drivers.contract.context import ColumnClass
from models.posterior import Posterior, averaged, infer_posterior, learn_prior
from models.scatter import Scatter, pool_scatter

#: Weights and nodes of Gauss and Hermite that stand for the normal distribution of what is open.
_NODES = ((1 / 6, -math.sqrt(3)), (2 / 3, 0.0), (1 / 6, math.sqrt(3)))

#: Less doubt than this changes nothing that counts, and is left out for the sake of time.
_NO_DOUBT = 0.02


def conclude(
    logits: Tensor, scatter: Scatter, is_regular: Tensor, doubt: float, *, is_doped: bool = True
) -> Posterior:
    """What is said of the columns of a frame, averaged over how deep its defects may lie.

    Parameters
    ----------
    logits : Tensor of shape (S, 5)
        Calibrated, of the network.
    scatter : Scatter
        Around the columns.
    is_regular : Tensor of shape (S,)
        Columns that the shares of the classes are learnt from.
    doubt : float
        Of the depth (`models.alignment`).
    is_doped : bool
        Whether there may be dopants.
    """
    alternatives = []
    for weight, node in _NODES if doubt > _NO_DOUBT else ((1.0, 0.0),):
        pooled = pool_scatter(logits, scatter.if_deeper(math.exp(doubt * node)))
        alternatives.append((weight, conclude_plainly(pooled, is_regular, is_doped=is_doped)))
    return averaged(alternatives)


def conclude_plainly(logits: Tensor, is_regular: Tensor, *, is_doped: bool) -> Posterior:
    """What logits (S, 5), changed in place, say under the shares that regular columns (S,) show."""
    if not is_doped:
        logits[:, ColumnClass.DOPANT] = -torch.inf
    prior = learn_prior(logits[is_regular]) if is_regular.any() else None
    return infer_posterior(logits, prior=prior)
