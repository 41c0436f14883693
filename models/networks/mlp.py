"""Perceptrons: `mlp-nocontext` (8 features), `mlp-simple` (31), `mlp-deep` (31, twelve residual blocks)."""

import itertools
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from models.encoding import CONTEXT_FEATURES, CONTRAST_FEATURES

CLASSES = 5

#: Dropout of Dan et al. (arXiv 2606.09419).
DROPOUT = 0.1

#: Random bits that masks of dropout are cut out of.
_POOL = 2**23

#: Hidden widths of `mlp-simple` and `mlp-nocontext` (Dan et al.).
SIMPLE_WIDTHS = (64, 32, 16, 8)

#: Blocks of `mlp-deep` (Dan et al.) and their width, our choice.
DEEP_BLOCKS, DEEP_WIDTH = 12, 32


class Standardise(nn.Module):
    """Features less their mean in training, over their deviation; both are buffers, not learnt."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def forward(self, features: Tensor) -> Tensor:
        """Standardise features (B, F)."""
        return (features - self.mean) / self.deviation


class Dropout(nn.Module):
    """Dropout whose masks are cut, at random places, out of one pool of random bits.

    Drawing every mask afresh takes half the time of a training on the CPU.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """Drop a tenth of the elements, in training, and scale the others up."""
        length = hidden.numel()
        if not self.training or length > _POOL // 2:
            return dropout(hidden, DROPOUT, self.training)
        start = int(torch.randint(_POOL - length, ()))
        return hidden * _pool(hidden.device)[start : start + length].view_as(hidden)


@cache
def _pool(device: torch.device) -> Tensor:
    """Factors of dropout, the same in every process, so that a resumed training sees the same."""
    kept = torch.rand(_POOL, generator=torch.Generator().manual_seed(0)) >= DROPOUT
    return (kept.float() / (1 - DROPOUT)).to(device)


class SimpleMlp(nn.Module):
    """Hidden layers of given widths, by default the four of Dan et al.

    Parameters
    ----------
    with_context : bool
        Whether the context vector is read; if not, it may be anything.
    widths : tuple of int
        Of the hidden layers.
    """

    def __init__(self, *, with_context: bool, widths: tuple[int, ...] = SIMPLE_WIDTHS) -> None:
        super().__init__()
        self.with_context = with_context
        features = CONTRAST_FEATURES + CONTEXT_FEATURES * with_context
        self.standardise = Standardise(features)
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise((features, *widths)):
            layers += [nn.Linear(narrow, wide), nn.ReLU(), Dropout()]
        # Eight units are few: dropping some of the last would cost more than it regularises.
        self.body = nn.Sequential(*layers[:-1], nn.Linear(widths[-1], CLASSES))

    def forward(self, contrast: Tensor, context: Tensor) -> Tensor:
        """Logits (B, 5) of contrast vectors (B, 8) and context vectors (B, 23)."""
        features = torch.cat([contrast, context], dim=1) if self.with_context else contrast  # (B, 31 or 8)
        logits: Tensor = self.body(self.standardise(features))  # (B, 5)
        return logits


class ResidualBlock(nn.Module):
    """x + Linear(dropout(relu(norm(x)))); the norm is over a column's own features, never over the batch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), Dropout(), nn.Linear(width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        """Refine (B, width)."""
        refined: Tensor = hidden + self.body(hidden)
        return refined


class DeepMlp(nn.Module):
    """Twelve residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        features = CONTRAST_FEATURES + CONTEXT_FEATURES
        self.standardise = Standardise(features)
        self.enter = nn.Linear(features, DEEP_WIDTH)
        self.blocks = nn.Sequential(*[ResidualBlock(DEEP_WIDTH) for _ in range(DEEP_BLOCKS)])
        self.leave = nn.Sequential(nn.LayerNorm(DEEP_WIDTH), nn.ReLU(), nn.Linear(DEEP_WIDTH, CLASSES))

    def forward(self, contrast: Tensor, context: Tensor) -> Tensor:
        """Logits (B, 5) of contrast vectors (B, 8) and context vectors (B, 23)."""
        hidden = self.enter(self.standardise(torch.cat([contrast, context], dim=1)))  # (B, width)
        logits: Tensor = self.leave(self.blocks(hidden))  # (B, 5)
        return logits
