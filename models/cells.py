"""Cells that the maxima of an autocorrelation span, and which of them are the lattice's own."""

import math
from collections.abc import Callable

import torch
from scipy.ndimage import map_coordinates, spline_filter
from torch import Tensor

from models.frames import sample_bilinear
from models.maxima import local_maxima, refine_maxima

#: Maxima of the autocorrelation nearer to zero lag than this [px] are not looked at: of a sheared lattice of
#: the smallest constant the shortest vector is longer.
_NEAREST_PX = 3.0

#: Side maxima of the autocorrelation below this fraction of the highest are left out.
_PEAK_FRACTION = 0.25

#: Maxima this near to zero lag and nearer are so narrow that between pixels straight lines read them too low,
#: some more than others, and a multiple of the cell would be taken: they are read by cubic splines.
_NARROW_PX = 5.2

#: Those of bonds, which are no lattice vectors, are half as high as the highest at most, the lattice's own
#: this part and more.
_AS_HIGH = 0.7

#: A cell is a multiple of the lattice's if the autocorrelation stands out on the points of the finer lattice,
#: which divides it in three or in four, by this part of what it does on its own.  Simulated frames, dense in
#: defects, over two rings: multiples 0.93 and more, the lattice's own cell 0.26 at most.
_FINER = 0.65
_FINER_CELLS = (torch.tensor([(1.0, 1.0), (-1.0, 2.0)]) / 3, torch.eye(2) / 2)

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


def nearest_maxima(centred: Tensor, reach: int) -> Tensor:
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


def triangles(lags: Tensor) -> Tensor:
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


def lattice_mean(cells: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
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


def reader(centred: Tensor, lags: Tensor) -> Callable[[Tensor], Tensor]:
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


def divided(cell: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
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
        if own > between and others - between > _FINER * (own - between):
            return divided(finer @ cell, read)
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


def turned(cell: Tensor) -> Tensor:
    """The one of the six cells of the same lattice, (2, 2), that is always taken."""
    a1, a2 = cell
    spokes = torch.stack([a1, a2, a2 - a1, -a1, -a2, a1 - a2])
    along = torch.tensor([math.cos(_FIRST), math.sin(_FIRST)]).to(cell)
    first = int((spokes @ along / torch.linalg.vector_norm(spokes, dim=1)).argmax())
    return torch.stack([spokes[first], spokes[(first + 1) % 6]])
