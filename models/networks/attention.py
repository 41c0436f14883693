"""`attn-4k`, `attn-200k`, `attn-400k`: attention among the 31 features (Dan et al., arXiv 2606.09419).

softmax(Q^T K / sqrt(d)) is a 31 x 31 matrix that sums over the samples of a batch.  In training it is that of
the batch; at inference it is a running mean of training, so that a column's class never depends on what else
is in its batch.  The three names differ only in the batch that they are trained with.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from models.encoding import CONTEXT_FEATURES, CONTRAST_FEATURES
from models.networks.mlp import CLASSES, SIMPLE_WIDTHS, Dropout, Standardise

#: Part of the running attention that a batch replaces: as batch norm's default.
MOMENTUM = 0.1

#: Layers of attention, of which Dan et al. show the third.
LAYERS = 3

_PIECE = 8192

_FEATURES = CONTRAST_FEATURES + CONTEXT_FEATURES


class FeatureAttention(nn.Module):
    """Mix the features of each sample by one matrix, learnt from all samples.

    Q^T K is divided by the number of samples too, which the paper does not: its size, and with it the
    running mean, would otherwise depend on the batch.
    """

    running: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(_FEATURES, _FEATURES)
        self.key = nn.Linear(_FEATURES, _FEATURES)
        self.value = nn.Linear(_FEATURES, _FEATURES)
        self.register_buffer("running", torch.full((_FEATURES, _FEATURES), 1 / _FEATURES))

    def forward(self, features: Tensor) -> Tensor:
        """Mixed features (B, 31) of features (B, 31)."""
        attention = self._attend(features) if self.training else self.running  # (31, 31)
        mixed: Tensor = linear(features, attention @ self.value.weight, attention @ self.value.bias)
        return mixed  # (B, 31)

    def _attend(self, features: Tensor) -> Tensor:
        """Attention of a batch (31, 31), rows summing to 1; it also enters the running mean."""
        # Q^T K by the features' second moments: the same, but the batch is gone through once.
        ones = features.new_ones(len(features), 1)
        extended = torch.cat([features, ones], dim=1)  # (B, 32)
        moments = extended.T @ extended / len(features)  # (32, 32)
        query = torch.cat([self.query.weight, self.query.bias[:, None]], dim=1)  # (31, 32)
        key = torch.cat([self.key.weight, self.key.bias[:, None]], dim=1)  # (31, 32)
        scores = query @ moments @ key.T / math.sqrt(_FEATURES)  # (31, 31)
        attention = torch.softmax(scores, dim=1)  # (31, 31)
        with torch.no_grad():
            self.running.lerp_(attention.detach().float(), MOMENTUM)
        return attention


class AttentionNetwork(nn.Module):
    """Three times feature attention added to the features, then the layers of `mlp-simple`."""

    def __init__(self) -> None:
        super().__init__()
        self.standardise = Standardise(_FEATURES)
        self.attention = nn.ModuleList([FeatureAttention() for _ in range(LAYERS)])
        widths = (_FEATURES, *SIMPLE_WIDTHS)
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Linear(narrow, wide), nn.ReLU(), Dropout()]
        self.body = nn.Sequential(*layers[:-1], nn.Linear(SIMPLE_WIDTHS[-1], CLASSES))

    def forward(self, contrast: Tensor, context: Tensor) -> Tensor:
        """Logits (B, 5) of contrast vectors (B, 8) and context vectors (B, 23)."""
        features = self.standardise(torch.cat([contrast, context], dim=1))  # (B, 31)
        for layer in self.attention:
            features = features + layer(features)  # (B, 31)
        # Batches of hundreds of thousands go through in pieces that stay in the cache: twice as fast.
        return torch.cat([self.body(some) for some in torch.split(features, _PIECE)])  # (B, 5)
