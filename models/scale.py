"""The lattice constant and the lattice vectors of a frame, in pixels, from its autocorrelation."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from scipy.ndimage import map_coordinates, spline_filter
from torch import Tensor

from drivers.contract.errors import InputError
from models.autocorrelation import autocorrelation, crop_lags
from models.frames import sample_bilinear
from models.maxima import local_maxima, refine_maxima

#: The smallest lattice constant that is looked for [px]: below it pixels no longer carry the second order of
#: the lattice's spots (a / 2 to two pixels), and columns merge.
SMALLEST_LATTICE_PX = 4.0

#: Cells as short as that may come out shorter by this factor.
_INEXACT = 0.985

#: The largest lattice constant that is looked for [px].
_LARGEST_LATTICE_PX = 160

#: Maxima of the autocorrelation nearer to zero lag than this [px] are not looked at: of a sheared lattice of
#: the smallest constant the shortest vector is longer.
_NEAREST_PX = 3.0

#: Side maxima of the autocorrelation below this fraction of the highest are left out.
_PEAK_FRACTION = 0.25

#: Of all triangles of side maxima the smallest is the cell whose mean autocorrelation over two rings of
#: lattice points reaches this fraction of the best.  Triangles of neighbouring columns, a / sqrt(3) apart,
#: reach 2/3 at most: sublattices of brightness A and B correlate as AB / (A**2 + B**2) <= 1/2.
_CELL_FRACTION = 0.85

#: Maxima this near to zero lag and nearer are so narrow that between pixels straight lines read them too low,
#: some more than others, and a multiple of the cell would be taken: they are read by cubic splines.
_NARROW_PX = 5.2

#: Those of bonds, which are no lattice vectors, are half as high as the highest at most, the lattice's own
#: this part and more.
_AS_HIGH = 0.7

#: Of a lattice constant below this, columns are so near that values two pixels apart say nothing of how wide
#: they are, nor do joined pixels show the lattice.
_COARSE_PX = 6.0

#: A cell is a multiple of the lattice's if the autocorrelation stands out on the points of the finer lattice,
#: which divides it in three or in four, by this part of what it does on its own.  Simulated frames, dense in
#: defects, over two rings: multiples 0.93 and more, the lattice's own cell 0.26 at most.
_FINER = 0.65
_FINER_CELLS = (torch.tensor([(1.0, 1.0), (-1.0, 2.0)]) / 3, torch.eye(2) / 2)

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

#: Side maxima that are tried, the nearest first.
_MOST_MAXIMA = 40

#: Lags that are looked at first [px]: enough up to some 12 px a lattice constant.
_NEAR_PX = 64

#: Of the six cells that make up one lattice, that with a1 nearest to this direction, from the row axis to the
#: column axis, is taken: their means along the lattice are equal but for rounding.  Rows of columns run along
#: an axis of the scan, or at 30 degrees to one, more often than half-way between two such directions; and of
#: the directions of which that is true this one's cells cover a frame in the fewest rows and columns.
_FIRST = math.radians(135)

#: Lengths and angles of a sheared cell may differ from the hexagon's by this much.  Real scans: 15 %.
_LENGTH_TOLERANCE = 1.45


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
    lags = _nearest_maxima(centred, reach)
    cells = _triangles(lags)
    if not len(cells):
        return None
    read = _reader(centred, lags)
    score = _lattice_mean(cells, read)
    if score.max() <= _LEAST_CORRELATION:
        return None
    area = (cells[:, 0, 0] * cells[:, 1, 1] - cells[:, 0, 1] * cells[:, 1, 0]).abs()
    smallest = area[score > _CELL_FRACTION * score.max()].min()
    best = torch.where(area < 1.2 * smallest, score, 0.0).argmax()
    cell = _turned(_divided(cells[best], read))
    if lattice_constant_px(cell) < _INEXACT * SMALLEST_LATTICE_PX:
        return None
    one, two = (float(centred[reach, reach + lag] + centred[reach + lag, reach]) / 2 for lag in (1, 2))
    is_clear = float(score[best]) * math.sqrt(image.numel()) > _CLEARLY
    if min(one, two) < _MOSTLY_NOISE:
        return _Cell(cell, None, is_clear)
    columns = min(1.0, one * (one / two) ** (1 / 3))  # they are Gaussians, and noise is of single pixels
    return _Cell(cell, float(score[best]) / columns, is_clear)


def _divided(cell: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
    """The lattice's own cell (2, 2), of one that is it or a multiple.

    Bright dopants that are many and keep apart lower the correlation of neighbours, so that a cell of three
    or four times the area is taken.  What counts is how far values stand out from those in the middle of the
    finer lattice's triangles: carbon and drift add to all alike.

    Parameters
    ----------
    cell : Tensor of shape (2, 2)
    read : callable
        Autocorrelation (n,) at lags (n, 2) [px].
    """
    for finer in _FINER_CELLS:
        own, others, between = (read(points @ cell).mean() for points in _points(finer))
        if others - between > _FINER * (own - between):
            return _divided(finer @ cell, read)
    return cell


def _points(finer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points of a cell's lattice, others of a finer one, and middles of its triangles, (n, 2) in that cell.

    Of each those in two rings about zero lag.
    """
    steps = torch.cartesian_prod(*[torch.arange(-8.0, 9.0)] * 2)
    grid = (steps @ finer)[steps.any(dim=1)]
    middle = finer.sum(dim=0) / 3
    between = torch.cat([steps @ finer + middle, steps @ finer - middle])
    is_own = (grid - grid.round()).abs().amax(dim=1) < 0.1
    near, near_between = (at.square().sum(1) + at.prod(1) < 4.1 for at in (grid, between))
    return grid[near & is_own], grid[near & ~is_own], between[near_between]


def _turned(cell: Tensor) -> Tensor:
    """The one of the six cells of the same lattice, (2, 2), that is always taken."""
    a1, a2 = cell
    spokes = torch.stack([a1, a2, a2 - a1, -a1, -a2, a1 - a2])
    along = torch.tensor([math.cos(_FIRST), math.sin(_FIRST)]).to(cell)
    first = int((spokes @ along / torch.linalg.vector_norm(spokes, dim=1)).argmax())
    return torch.stack([spokes[first], spokes[(first + 1) % 6]])


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


def _nearest_maxima(centred: Tensor, reach: int) -> Tensor:
    """`_side_maxima`; of the middle alone if that holds as many as are tried."""
    if reach > _NEAR_PX:
        middle = slice(reach - _NEAR_PX, reach + _NEAR_PX + 1)
        lags = _side_maxima(centred[middle, middle], _NEAR_PX)
        if len(lags) == 2 * _MOST_MAXIMA and float(lags[-1].norm()) < _NEAR_PX:
            return lags
    return _side_maxima(centred, reach)


def _side_maxima(centred: Tensor, reach: int) -> Tensor:
    """The nearest high local maxima away from zero lag, with their opposites, (K, 2) to sub-pixel [px]."""
    index = local_maxima(centred)
    distance = torch.linalg.vector_norm((index - reach).float(), dim=1)
    index = index[(distance >= _NEAREST_PX) & (centred[index[:, 0], index[:, 1]] > 0)]
    if len(index) == 0:
        return torch.zeros(0, 2)
    positions, heights = refine_maxima(centred, index)
    lags = (positions - reach)[heights > _PEAK_FRACTION * heights.max()]
    nearest = torch.argsort(torch.linalg.vector_norm(lags, dim=1))[: 2 * _MOST_MAXIMA]
    return lags[nearest]


def _triangles(lags: Tensor) -> Tensor:
    """Pairs of lags of similar length, 40 to 82 degrees apart, whose difference is a lag too, (T, 2, 2)."""
    if len(lags) < 6:
        return torch.zeros(0, 2, 2)
    length = torch.linalg.vector_norm(lags, dim=1)
    angle = torch.atan2(lags[:, 1], lags[:, 0])
    turn = torch.rad2deg(angle[None, :] - angle[:, None]) % 360
    ratio = length[None, :] / length[:, None]
    similar = (ratio < _LENGTH_TOLERANCE) & (ratio > 1 / _LENGTH_TOLERANCE)
    first, second = ((turn > 40) & (turn < 82) & similar).nonzero().T
    third = lags[second] - lags[first]
    miss = torch.cdist(third, lags).amin(1)
    closed = (miss < 0.15 * length[first]) & (torch.linalg.vector_norm(third, dim=1) > 0.6 * length[first])
    return torch.stack([lags[first], lags[second]], dim=1)[closed]


def _are_narrow(centred: Tensor, lags: Tensor) -> bool:
    """Whether maxima of a lattice, not only of bonds, which are half as high, lie near to zero lag."""
    if float(torch.linalg.vector_norm(lags[0])) > _NARROW_PX:
        return False
    row, column = (lags.round().long() + len(centred) // 2).T
    height = centred[row, column]
    return float(height[:6].max()) > _AS_HIGH * float(height.max())


def _lattice_mean(cells: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean autocorrelation over the lattice points in two rings around zero lag, of each cell, (T,).

    Parameters
    ----------
    cells : Tensor of shape (T, 2, 2)
    read : callable
        Autocorrelation (n,) at lags (n, 2) [px].
    """
    steps = [(m, n) for m in range(-2, 3) for n in range(-2, 3)]
    index = torch.tensor([(m, n) for m, n in steps if 0 < m * m + n * n + m * n <= 4])
    points = (index.to(cells) @ cells).reshape(-1, 2)
    return read(points).reshape(len(cells), -1).mean(1)


def _reader(centred: Tensor, lags: Tensor) -> Callable[[Tensor], Tensor]:
    """What reads an autocorrelation (2 R + 1, 2 R + 1), zero lag in its middle, at lags (n, 2) [px].

    Its maxima (K, 2), the nearest first, say whether straight lines between pixels do.
    """
    middle = len(centred) // 2
    if not _are_narrow(centred, lags):
        return lambda points: sample_bilinear(centred, points + middle)
    reach = min(middle, math.ceil(2 * float(torch.linalg.vector_norm(lags[-1]))) + 2)
    near = slice(middle - reach, middle + reach + 1)
    coefficients = spline_filter(centred[near, near].numpy(), mode="mirror")

    def by_splines(points: Tensor) -> Tensor:
        at = (points + reach).numpy().T
        return torch.from_numpy(map_coordinates(coefficients, at, mode="mirror", prefilter=False)).to(points)

    return by_splines
