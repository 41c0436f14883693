"""What a frame's own scatter says of vacancies, beside what the network says.

A network sees one column at a time and cannot know how noisy its frame is.  Along the direction in which
vacancies differ from whole columns, the frame's own columns tell: how far whole ones scatter, how heavy their
tail is.  Both opinions rest on the same moments, so they are not multiplied but pooled, half and half
(`docs/decisions/0016-scatter.md`).
"""

import torch
from torch import Tensor

from models.alignment import fit_scatter
from models.encoding import CONTRAST_FEATURES
from models.templates import Templates

#: Weight of the frame's own scatter in the pool.
_SHARE = 0.5

#: Columns of the chalcogen sublattice below which a frame does not tell.
_LEAST_COLUMNS = 100

#: Likelihoods are no smaller than this: nothing is excluded by a normal distribution's tail.
_LEAST = 1e-12


def pool_scatter(logits: Tensor, contrast: Tensor, is_regular: Tensor, templates: Templates) -> Tensor:
    """Logits of the columns of a frame, those of X2 and the vacancies pooled with the frame's own scatter.

    The sum of the three classes' evidence stays the network's.

    Parameters
    ----------
    logits : Tensor of shape (S, 5)
        Calibrated, of the network.
    contrast : Tensor of shape (S, 8)
        Aligned moments and the flag of the metal's sublattice.
    is_regular : Tensor of shape (S,)
        Columns that the scatter is learnt from.
    templates : Templates
        Of the context.

    Returns
    -------
    Tensor of shape (S, 5)
    """
    on_chalcogen = contrast[:, CONTRAST_FEATURES - 1] > 0.5
    if int((on_chalcogen & is_regular).sum()) < _LEAST_COLUMNS:
        return logits
    moments = contrast[:, : CONTRAST_FEATURES - 2].double()
    common = templates.common
    depth = (moments - templates.whole[common, 0]) @ templates.axes[common, 0]
    scatter = fit_scatter(depth[on_chalcogen & is_regular], (1.0, float(templates.double[common])))
    own = scatter.likelihoods(depth[on_chalcogen]).clamp(min=_LEAST).log()  # (n, 3): X2, VAC1, VAC2
    network = logits[on_chalcogen, :3].double()
    total = network.logsumexp(1, keepdim=True)
    pooled = (1 - _SHARE) * (network - total) + _SHARE * torch.log_softmax(own, 1)
    result = logits.clone()
    result[on_chalcogen, :3] = (torch.log_softmax(pooled, 1) + total).to(logits)
    return result
