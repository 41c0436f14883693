"""The lattice constant and the lattice vectors of a frame, in pixels, from its autocorrelation."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from drivers.contract.errors import InputError
from models.autocorrelation import autocorrelation, crop_lags
from models.cells import divided, lattice_mean, nearest_maxima, reader, triangles, turned

#: The smallest lattice constant that is looked for [px]: below it pixels no longer carry the second order of
#: the lattice's spots (a / 2 to two pixels), and columns merge.
SMALLEST_LATTICE_PX = 4.0

#: Cells as short as that may come out shorter by this factor.
_INEXACT = 0.985

#: The largest lattice constant that is looked for [px].
_LARGEST_LATTICE_PX = 160

#: Of all triangles of side maxima the smallest is the cell whose mean autocorrelation over two rings of
#: lattice points reaches this fraction of the best.  Triangles of neighbouring columns, a / sqrt(3) apart,
#: reach 2/3 at most: sublattices of brightness A and B correlate as AB / (A**2 + B**2) <= 1/2.
_CELL_FRACTION = 0.85

#: Of a lattice constant below this, columns are so near that values two pixels apart say nothing of how wide
#: they are, nor do joined pixels show the lattice.
_COARSE_PX = 6.0

#: Of one grain that mean is this part, and more, of what columns alone make of the autocorrelation at zero
#: lag (labelled micrographs: 0.75 and more; two grains that share a frame: 0.34 to 0.68).  A quarter of the
#: frame is believed instead if it has so many times as much.
_ONE_GRAIN, _RATHER = 0.7, 1.2

#: Below this at a lag of two pixels a frame is mostly noise, and what columns make of it cannot be told.
_MOSTLY_NOISE = 0.1

#: Pixels are joined if the lattice constant is still so many of what they become, and a frame no smaller.
_STILL_WIDE_PX, _LEAST_JOINED_PX = 8.0, 128

#: Least of that mean: white noise reaches 0.005 in 256 x 256 pixels.
_LEAST_CORRELATION = 0.02

#: Where noise hides what columns make, a cell seen from afar is believed if that mean is so many times what
#: one lag of white noise is: cells that are wrong by more than a tenth come to 7 at most, right ones to 6 and
#: more.
_CLEARLY = 8.0


def lattice_vectors(image: Tensor, weight: Tensor | None = None) -> Tensor:
    """Estimate two lattice vectors 60 degrees apart (for an unsheared scan) of the dominant grain.

    The smallest cell, among triangles of side maxima, on whose lattice points the autocorrelation stays high;
    that of a quarter of the frame, where two grains share it.
    Right to 1 %, below 4.3 px to 1.5 %; beside a blot that outshines the lattice tenfold, to 2 %.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Standardised frame.
    weight : Tensor of shape (M, N), optional
        Restricts the estimate to where it is large.

    Returns
    -------
    Tensor of shape (2, 2)
        Vectors a1, a2 as rows, (row, column) [px], on the CPU; going from a1 to a2 turns from the row
        axis towards the column axis.  Of the six such pairs of a lattice always the same one.

    Raises
    ------
    InputError
        If no three side maxima form a lattice of triangles.
    """
    whole = _best_cell(image, weight)
    if weight is None and (whole is None or (whole.evidence is None and not whole.is_coarse)):
        whole = _surer(whole, _seen_from_afar(image))
    if whole is not None and (weight is not None or whole.evidence is None or whole.evidence > _ONE_GRAIN):
        return whole.vectors
    if whole is not None and whole.evidence is not None:
        cells = [_best_cell(part, None) for part in _quarters(image)]
        told = [(cell.evidence, cell) for cell in cells if cell is not None and cell.evidence is not None]
        most, best = max(told, key=lambda pair: pair[0], default=(0.0, whole))
        return best.vectors if most > _RATHER * whole.evidence else whole.vectors
    raise InputError(
        "expected the repeating triangles of a hexagonal lattice, found no such period between "
        f"{SMALLEST_LATTICE_PX:g} px and a third of the frame (at most {_LARGEST_LATTICE_PX} px); "
        "check focus, dose and magnification "
        "(about 5 to 40 pixels a lattice constant suit)"
    )


@dataclass(frozen=True)
class _Cell:
    """Vectors a1 and a2, (2, 2), and how much of the columns they explain; None where noise hides it.

    `is_clear`: whether they are more than noise all the same; `is_coarse`: whether they are, and so short
    that joined pixels would show nothing of the lattice.
    """

    vectors: Tensor
    evidence: float | None
    is_clear: bool

    @property
    def is_coarse(self) -> bool:
        return self.is_clear and lattice_constant_px(self.vectors) < _COARSE_PX


def _best_cell(image: Tensor, weight: Tensor | None) -> _Cell | None:
    """The smallest cell on whose lattice points the autocorrelation stays high; None if there is none."""
    correlation = autocorrelation(image, weight)
    reach = min(min(correlation.shape) // 3, _LARGEST_LATTICE_PX)
    centred = crop_lags(correlation, reach).cpu()
    lags = nearest_maxima(centred, reach)
    cells = triangles(lags)
    if not len(cells):
        return None
    read = reader(centred, lags)
    score = lattice_mean(cells, read)
    if score.max() <= _LEAST_CORRELATION:
        return None
    area = (cells[:, 0, 0] * cells[:, 1, 1] - cells[:, 0, 1] * cells[:, 1, 0]).abs()
    smallest = area[score > _CELL_FRACTION * score.max()].min()
    best = torch.where(area < 1.2 * smallest, score, 0.0).argmax()
    cell = turned(divided(cells[best], read))
    if lattice_constant_px(cell) < _INEXACT * SMALLEST_LATTICE_PX:
        return None
    one, two = (float(centred[reach, reach + lag] + centred[reach + lag, reach]) / 2 for lag in (1, 2))
    is_clear = float(score[best]) * math.sqrt(image.numel()) > _CLEARLY
    if min(one, two) < _MOSTLY_NOISE:
        return _Cell(cell, None, is_clear)
    columns = min(1.0, one * (one / two) ** (1 / 3))  # they are Gaussians, and noise is of single pixels
    return _Cell(cell, float(score[best]) / columns, is_clear)


def _seen_from_afar(image: Tensor) -> _Cell | None:
    """Cell of a frame whose columns are many pixels wide, found where pixels are joined, 2 x 2 or more."""
    height, width = (edge // 2 for edge in image.shape)
    if min(height, width) < _LEAST_JOINED_PX:
        return None
    joined = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3))
    cell = _best_cell(joined, None)
    if cell is None or cell.evidence is None:
        cell = _surer(cell, _seen_from_afar(joined))
    if cell is None or lattice_constant_px(cell.vectors) < _STILL_WIDE_PX:
        return None
    return replace(cell, vectors=2 * cell.vectors) if cell.evidence is not None or cell.is_clear else None


def _surer(cell: _Cell | None, afar: _Cell | None) -> _Cell | None:
    """The cell of a frame that tells no evidence, or that seen from afar, if it does or there is no other."""
    return afar if cell is None or (afar is not None and afar.evidence is not None) else cell


def _quarters(image: Tensor) -> list[Tensor]:
    """The quarters of a frame: where two grains share it, one of them has most of a quarter to itself."""
    height, width = (edge // 2 for edge in image.shape)
    return [
        half[:, columns]
        for half in (image[:height], image[-height:])
        for columns in (slice(width), slice(-width, None))
    ]


def lattice_constant_px(vectors: Tensor) -> float:
    """Side of the equilateral cell with the area of the cell that two lattice vectors span [px]."""
    (a, b), (c, d) = vectors.tolist()
    return math.sqrt(abs(a * d - b * c) / (math.sqrt(3) / 2))
