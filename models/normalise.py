"""Local normalisation: the frame less its local mean, over its local deviation."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from models.frames import blur

#: Standard deviation of the Gaussian window over the lattice constant.
WINDOW_SCALE = 2.5

#: The frame is blurred by this part of the lattice constant before its deviation is taken, so that the
#: deviation tells the contrast of the lattice rather than the noise of a pixel, which grows as pixels shrink.
_BLUR_SCALE = 0.1

#: The local deviation counts for this part of its mean at least: vacuum shall not be blown up.
_LEAST_DEVIATION = 0.1

#: Brightness without the lattice is that blurred by this part of the lattice constant.
_LEVEL_SCALE = 0.7

#: Where that differs by more than this many deviations from its local mean there is contamination, a hole
#: or an edge; columns are then normalised by what is about as bright as they (one vacancy makes 0.3).
_MOST_STEP = 2.0

#: Squares beyond this many deviations are cut off, where there is such a step.
_CLIP = 4.0

#: Levels of brightness that are told apart, at most.
_MOST_LEVELS = 12


def normalise(image: Tensor, lattice_px: float) -> Tensor:
    """Subtract the local mean of a frame and divide by its local deviation.

    The deviation is taken about the local mean, not about that of the window's centre, so that a sloping
    background does not count as contrast.  Beside contamination, holes and vacuum, which would pass for
    contrast too, both are taken over what is about as bright as the column itself (a bilateral mean, as in
    Durand and Dorsey, 10.1145/566654.566574).

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Frame, any gain and offset.
    lattice_px : float
        Lattice constant [px].

    Returns
    -------
    Tensor of shape (M, N)
        Its deviation is 1 after a blur of `_BLUR_SCALE`.  The window ends at the frame's edges; nothing is
        assumed beyond.
    """
    blurred = blur(image, _BLUR_SCALE * lattice_px)
    grid = _Cells((image.shape[0], image.shape[1]), lattice_px, image)
    cells = grid.pool(blurred)
    mean = grid.interpolate(grid.window_mean(cells))
    squares = (blurred - mean).square_()
    deviation = grid.interpolate(grid.window_mean(grid.pool(squares)).clamp_(min=0).sqrt_())
    typical = float(deviation[::4, ::4].median())
    levels = grid.levels(cells, typical)
    if levels is not None:
        mean = grid.interpolate(grid.bilateral_mean(cells, levels))
        squares = (blurred - mean).square_().clamp_(max=(_CLIP * typical) ** 2)
        deviation = grid.interpolate(grid.bilateral_mean(grid.pool(squares), levels).clamp_(min=0).sqrt_())
    return (image - mean) / deviation.clamp_(min=_LEAST_DEVIATION * float(deviation.mean()))


@dataclass(frozen=True)
class _Levels:
    """Brightness of each cell in steps, (H, W), 0 to `count` - 1."""

    place: Tensor
    count: int


class _Cells:
    """Cells of half a lattice constant, on which windows are averaged, and the way there and back."""

    def __init__(self, shape: tuple[int, int], lattice_px: float, like: Tensor) -> None:
        self.shape = shape
        self.factor = max(1, round(lattice_px / 2))
        self.sigma = WINDOW_SCALE * lattice_px / self.factor
        self.fine_sigma = _LEVEL_SCALE * lattice_px / self.factor
        self.filled = _filled(shape, self.factor, like)
        self.weight = _blur_cells(self.filled[None], self.sigma)[0]

    def pool(self, image: Tensor) -> Tensor:
        """Sum of each cell's pixels over its full area, (H, W)."""
        height, width = self.shape
        rows, columns = (math.ceil(edge / self.factor) for edge in self.shape)
        padded = pad(image, (0, columns * self.factor - width, 0, rows * self.factor - height))
        return avg_pool2d(padded[None], self.factor)[0]

    def interpolate(self, cells: Tensor) -> Tensor:
        """Values at pixels, (M, N), of values at cells."""
        height, width = self.shape
        return interpolate(cells[None, None], scale_factor=self.factor, mode="bilinear")[
            0, 0, :height, :width
        ]

    def window_mean(self, cells: Tensor) -> Tensor:
        """Gaussian mean of pooled cells over the window."""
        return _blur_cells(cells[None], self.sigma)[0] / self.weight

    def levels(self, cells: Tensor, typical: float) -> _Levels | None:
        """Levels of brightness, or None where the frame has no steps."""
        fine = _blur_cells(torch.stack([cells, self.filled]), self.fine_sigma)
        level = fine[0] / fine[1]
        if float((level - self.window_mean(cells)).abs().max()) < _MOST_STEP * typical:
            return None
        low, high = float(level.min()), float(level.max())
        step = max(_MOST_STEP * typical, (high - low) / (_MOST_LEVELS - 1))
        return _Levels((level - low) / step, math.ceil((high - low) / step) + 1)

    def bilateral_mean(self, cells: Tensor, levels: _Levels) -> Tensor:
        """Gaussian mean of pooled cells over the window, of those within some 1.5 levels of the centre's."""
        total = torch.zeros_like(cells)
        for level in range(levels.count):
            near = (1 - (levels.place - level).abs() / 1.5).clamp(min=0)
            sums = _blur_cells(torch.stack([near * cells, near * self.filled]), self.sigma)
            share = (1 - (levels.place - level).abs()).clamp(min=0)
            total += share * sums[0] / sums[1].clamp(min=1e-6)
        return total


def _filled(shape: tuple[int, int], factor: int, like: Tensor) -> Tensor:
    """Part of each cell of `factor` pixels square that the frame fills, shape (H, W)."""
    rows, columns = (
        torch.arange(edge, 0, -factor, device=like.device).clamp(max=factor).to(like) / factor
        for edge in shape
    )
    return torch.outer(rows, columns)


def _blur_cells(cells: Tensor, sigma: float) -> Tensor:
    """Gaussian sum of channels (C, H, W), zero beyond the edge."""
    reach = math.ceil(3 * sigma)
    offset = torch.arange(-reach, reach + 1, device=cells.device, dtype=cells.dtype)
    taps = torch.exp(-0.5 * (offset / sigma).square())
    taps = taps / taps.sum()
    rows = conv2d(cells[:, None], taps[None, None, :, None], padding=(reach, 0))
    return conv2d(rows, taps[None, None, None, :], padding=(0, reach))[:, 0]
