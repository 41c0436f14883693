"""Cells of a site lattice on the rectangle of their indices: neighbours, and means over what lies around."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

#: Standard deviation [site periods] of the Gaussian that displacement and brightness are averaged with, along
#: each of the three axes of the lattice, one after the other: 1.5 in all, along any direction.
SMOOTHING = 1.22

#: Neighbours on the site lattice, whose basis vectors are 60 degrees apart.
STEPS = ((1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1))


@dataclass(frozen=True)
class IndexGrid:
    """The rectangle of site-lattice indices that starts at `low` and has `shape`."""

    low: Tensor
    shape: tuple[int, ...]

    def number(self, index: Tensor) -> Tensor:
        """Number of a cell of the rectangle, of indices (K, 2)."""
        return (index[:, 0] - self.low[0]) * self.shape[1] + index[:, 1] - self.low[1]

    def indices(self) -> Tensor:
        """Indices of all cells, shape (H, W, 2)."""
        axes = [torch.arange(n, device=self.low.device) for n in self.shape]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) + self.low

    def colour(self) -> Tensor:
        """Which of the three triangular lattices of period a a cell is on, 0, 1 or 2, shape (H, W)."""
        index = self.indices()
        return (index[..., 0] - index[..., 1]) % 3


def blur(channels: Tensor) -> Tensor:
    """Gaussian sum over the index grid, (C, H, W), as wide along any direction of the frame; zero beyond.

    Sums of shifted copies: on grids of this size five times faster than a convolution on the CPU.
    """
    reach = 3
    taps = [math.exp(-0.5 * (k / SMOOTHING) ** 2) for k in range(reach + 1)]
    total = taps[0] + 2 * sum(taps[1:])
    height, width = channels.shape[1:]
    for down, right in ((0, 1), (1, 0), (1, -1)):
        padded = pad(channels, (reach * abs(right),) * 2 + (reach * down,) * 2)
        channels = channels * (taps[0] / total)
        for k in range(1, reach + 1):
            for way in (k, -k):
                row, column = down * (reach + way), abs(right) * reach + right * way
                beside = padded.narrow(1, row, height).narrow(2, column, width)
                channels.add_(beside, alpha=taps[k] / total)
    return channels


def local_mean(weighted: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Local mean of channels (C, H, W) that already carry their weight (H, W); and local weight, (H, W)."""
    blurred = blur(torch.cat([weighted, weight[None]]))
    return blurred[:-1] / blurred[-1:].clamp(min=1e-3), blurred[-1]


def count_around(seen: Tensor, steps: tuple[tuple[int, int], ...]) -> Tensor:
    """How many of the cells so many steps away are seen, shape (..., H, W)."""
    number = torch.zeros(seen.shape, dtype=torch.int8, device=seen.device)
    for step in steps:
        number += torch.roll(seen, step, dims=(-2, -1))
    return number
