"""Completion of one region of the site lattice: from indexed maxima to every site of the honeycomb."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_dilation, binary_erosion, label
from torch import Tensor
from torch.nn.functional import pad

from models.columns import Maxima
from models.frames import add_rows, sample_bilinear
from models.indexing import Indexed
from models.lattice import Lattice
from models.scale import lattice_constant_px

#: Standard deviation [site periods] of the Gaussian that displacement and brightness are averaged with, along
#: each of the three axes of the lattice, one after the other: 1.5 in all, along any direction.
_SMOOTHING = 1.22

#: A maximum further from its predicted site than this [site periods] is not that site's column.
_MATCH = 0.35

#: How far columns lie from where their neighbours say, along either axis, standard deviation [site periods]:
#: 0.038 to 0.040 in the labelled micrographs.  What maxima stray beyond that, and beyond what those of a row
#: of pixels do together (jitter of the scan), is noise: the column lies between maximum and expected place.
_ASIDE = 0.04

#: Least local contrast between columns and hexagon centres, over its median in the frame, where a lattice
#: is claimed.  A missing column takes 0.1 off, a hole of seven columns more than half.
_LEAST_CONTRAST = 0.4

#: The same where the lattice was found by the frame's fringes: contrast is averaged so widely then that it is
#: half at the edge of vacuum, and no single column has a say.
_LEAST_CONTRAST_BY_FRINGES = 0.55

#: Part of the frame that must have it then: fringes of smooth noise are here and there.
_LED_INTO = 0.5

#: A maximum this bright, over the mean of its neighbourhood, is a column even on a boundary.
COLUMN_RESPONSE = 0.35

#: Maxima are not looked for nearer to the edge of the frame than this [site periods].
_UNSEEN_EDGE = 0.56

#: The mean of the neighbourhood counts for this part of its median in the frame at least, lest noise in
#: vacuum pass for columns.
_LEVEL_FLOOR = 0.75

#: A grain has at least this many columns.
LEAST_COLUMNS = 20

#: An unseen site where fewer than this part of the sites around it are columns is no vacancy but vacuum, and
#: a column there is on a rim.  Around a site in a straight edge it is 0.6.
_LEAST_AROUND = 0.67

#: Maxima that a lattice is fitted to, where fringes have told which is which.
_ENOUGH_TO_FIT = 100

#: Times that the difference of two colours is averaged; it has changed its sign if its median, either side,
#: is more than this many times the median deviation from it (twins: 6 to 20; grains of one kind: 2 at most),
#: and one side's more than this part of the other's.
_WIDE, _APART, _ALIKE = 2, 4.0, 0.5

#: In a small island of the other sign it is turned by this part of the median, and so many times the median
#: deviation from it.
_TURNED, _FAR_OFF = 0.5, 6.0

#: In the median it is turned by this part if it has so many sites, by less if averages reach over its border;
#: below carbon on the labelled MAADF scans by 0.27 and 0.54.
_TURNED_BY, _WHOLE = 0.6, 200

#: What is of the sign that is usual is so many times its scatter at least; of half a normal distribution
#: about zero it is 1.7 times, where sublattices are alike and the sign is that of the defects nearby.
_SIGNED = 2.5

#: The brighter colour of an island is this bright at least, so many sites within (averages reach over its
#: border; the first of these that leaves any), over that between so many sites around it.  Of grains it is 1;
#: where so many metals are dopants that the chalcogens outshine them it is 0.74 to 0.85.
_AS_LIT, _WITHIN, _AROUND_PART = 0.93, (3, 2, 1), (2, 6)

#: Standard deviations that chance does not reach over an island, where one average is over so many sites; and
#: that carbon does not reach: below it, the labelled MAADF scans have 3.5 and 3.8 over 357 and 186 sites.
_NO_CHANCE, _AVERAGED, _BY_CARBON = 8.0, 4 * math.pi * math.sqrt(3) * _SMOOTHING**2, 5.0

#: Neighbours on the site lattice, as `scipy.ndimage.label` takes them.
_CONNECTED = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]])

#: Neighbours on the site lattice, whose basis vectors are 60 degrees apart.
_STEPS = ((1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1))

#: Steps to the six of the same sublattice, one lattice constant away.
_RING = tuple((m, n) for m in range(-2, 3) for n in range(-2, 3) if m * m + n * n + m * n == 3)

#: How many of these must be seen to enclose a site: if the other sublattice may go unseen, and if not.
_OF_RING = (4, 5)

#: A sublattice that is dimmer than this, over the mean of both, may go unseen, as S2 beside W does.
_DIM = 0.7

#: Steps to all within two periods of the site lattice, 1.2 lattice constants.
_AROUND = tuple((m, n) for m in range(-2, 3) for n in range(-2, 3) if 0 < m * m + n * n + m * n <= 4)


@dataclass(frozen=True)
class Patch:
    """Honeycomb sites of one region, S of them.

    Parameters
    ----------
    lattice : Lattice
        Of this region alone.
    column : Tensor of shape (S,)
        Number of the maximum of each site, or -1.
    scatter : float
        How far maxima stray from where they are expected, standard deviation along an axis [site periods].
    """

    lattice: Lattice
    column: Tensor
    scatter: float


def complete_region(region: Indexed, maxima: Maxima, filtered: Tensor) -> Patch | None:
    """Find all honeycomb sites of one region of the site lattice.

    Of the three colours of the site lattice, each a triangular lattice of period a, the darkest is that of
    the hexagon centres.  Where it changes, or where the other two change places, one grain ends and another
    begins.

    Parameters
    ----------
    region : Indexed
        Maxima with their indices on the site lattice.
    maxima : Maxima
        What `region.member` counts in.
    filtered : Tensor of shape (M, N)
        From `models.columns.filter_columns`.

    Returns
    -------
    Patch or None
        None if no grain of `LEAST_COLUMNS` columns is found.
    """
    if len(region.member) < LEAST_COLUMNS:
        return None
    low = region.index.amin(0) - 2
    grid = _IndexGrid(low, tuple((region.index.amax(0) + 3 - low).tolist()))
    basis, predicted, column, held = _predict(region, maxima, grid)
    in_frame = _is_inside(predicted, filtered.shape)
    inside = in_frame & held
    brightness = sample_bilinear(filtered, predicted.flatten(1).T).reshape(grid.shape)
    colour = grid.colour()
    level = _colour_levels(brightness, inside, colour, 1 if region.field is None else _WIDE)  # (3, H, W)
    darkest = level.amin(0)
    filled = (level.sum(0) - darkest) / 2
    contrast = filled - darkest
    least = _LEAST_CONTRAST if region.field is None else _LEAST_CONTRAST_BY_FRINGES
    valid = inside & (contrast > least * contrast[inside].median())
    if region.field is not None and valid.sum() < _LED_INTO * inside.sum():
        return None
    empty = torch.where(level[2] == darkest, 2, (level[1] == darkest).long())
    interior, kind_of = _domains(2 * empty + _first_is_brighter(level, empty, valid), valid)
    if len(kind_of) == 0:
        return None
    empty_of = kind_of // 2
    domain = _grow(interior, inside)
    other = _neighbouring_domain(domain)
    boundary = other >= 0
    domain = torch.where(boundary & (colour == empty_of[domain]), other, domain)
    measured = column >= 0
    response = torch.where(measured, maxima.response[column.clamp(min=0)], 0.0)
    seen = response > COLUMN_RESPONSE * filled.clamp(min=_LEVEL_FLOOR * float(filled[inside].median()))
    hollow = empty_of[domain]
    possible = colour != hollow
    looked_for = _is_inside(predicted, filtered.shape, _UNSEEN_EDGE * lattice_constant_px(basis))
    others_dim = 2 * filled - level.gather(0, colour[None])[0] < _DIM * filled
    known = seen | ~looked_for
    ringed = _around(known, _RING) >= torch.where(others_dim, *_OF_RING)
    enclosed = ringed | _is_enclosed(known | ringed, hollow, colour)
    if region.field is not None:
        enclosed = held  # nothing is seen of single columns, but the lattice is
    site = torch.where(boundary, seen, (interior >= 0) & (seen | enclosed)) & possible
    rim = _part_around(site, (looked_for | site) & possible) < _LEAST_AROUND
    site &= measured | ~rim | ~looked_for
    at = site.flatten().nonzero()[:, 0]
    own = column.flatten()[at]
    is_measured = own >= 0
    honeycomb = torch.stack([basis[0] + basis[1], 2 * basis[1] - basis[0]])
    expected = predicted.flatten(1)[:, at].T
    aside = torch.where(is_measured[:, None], maxima.positions[own.clamp(min=0)] - expected, 0.0)
    strayed = aside[is_measured]
    scatter = _scatter(strayed, basis)
    by_itself = max(_ASIDE, _shared(strayed, expected[is_measured, 0], basis))
    lattice = Lattice(
        positions=expected + min(1.0, (by_itself / max(scatter, 1e-6)) ** 2) * aside,
        maxima=expected + aside,
        sublattice=(colour.flatten()[at] - hollow.flatten()[at] - 1) % 3,
        grain=domain.flatten()[at],
        measured=is_measured,
        boundary=boundary.flatten()[at],
        rim=rim.flatten()[at],
        vectors=honeycomb.cpu().expand(len(empty_of), 2, 2),
    )
    return Patch(lattice, own, scatter)


def _scatter(aside: Tensor, basis: Tensor) -> float:
    """How far columns (K, 2) lie from where they are expected, robust standard deviation [site periods]."""
    if len(aside) < LEAST_COLUMNS:
        return 0.0
    return 1.4826 * float(aside.abs().median()) / lattice_constant_px(basis)


def _shared(aside: Tensor, row: Tensor, basis: Tensor) -> float:
    """The part of that which columns of one row of pixels share, as by jitter of the scan [site periods]."""
    period = lattice_constant_px(basis)
    place = row.round().long().clamp(min=0)
    kept = aside.clamp(-_MATCH * period, _MATCH * period)
    count = torch.bincount(place).double()
    pairs = float((count * (count - 1)).sum())
    if pairs < LEAST_COLUMNS**2:
        return 0.0
    sums = add_rows(kept.new_zeros(len(count), 2).double(), place, kept.double())
    common = (sums.square().sum() - kept.double().square().sum()) / (2 * pairs)
    return math.sqrt(max(float(common), 0.0)) / period


@dataclass(frozen=True)
class _IndexGrid:
    """The rectangle of site-lattice indices that starts at `low` and has `shape`."""

    low: Tensor
    shape: tuple[int, ...]

    def flatten(self, index: Tensor) -> Tensor:
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


def _predict(region: Indexed, maxima: Maxima, grid: _IndexGrid) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Predict the position of each cell of the grid from the maxima around it.

    Returns
    -------
    basis : Tensor of shape (2, 2)
        Mean site lattice, rows [px].
    predicted : Tensor of shape (2, H, W)
        Row and column [px]: mean lattice plus the local mean displacement of the maxima.
    column : Tensor of shape (H, W)
        Number of the maximum that belongs to the cell, or -1.
    held : Tensor of shape (H, W)
        Whether there are maxima near enough to predict from.
    """
    member = _brightest_of_each(grid.flatten(region.index), region.member, maxima.response, grid)
    occupied = member >= 0
    measured = maxima.positions.T[:, member.clamp(min=0)]  # (2, H, W)
    if region.field is not None:
        place, known = region.field.place(grid.indices().reshape(-1, 2))
        expected, held = place.T.reshape(measured.shape), known.reshape(grid.shape)
        reach = _MATCH * lattice_constant_px(region.field.basis)
        near = occupied & ((measured - expected).square().sum(0) < reach**2)
        # The field's own basis is right to 1 % only, its tiles to 0.1 %; enough maxima tell better.
        are_enough = int(near.sum()) >= _ENOUGH_TO_FIT
        basis, _ = _mean_lattice(grid, near, measured) if are_enough else _mean_lattice(grid, held, expected)
        return basis, expected, torch.where(near, member, -1), held
    basis, mean = _mean_lattice(grid, occupied, measured)
    period = lattice_constant_px(basis)
    residual = torch.where(occupied, measured - mean, 0.0)
    weight = occupied.float()
    smooth, density = torch.zeros_like(residual), weight
    for _ in range(3):  # the first pass flattens gradients, the second mends that, the third drops outliers
        aside, density = _local_mean((residual - smooth) * weight, weight)
        smooth = smooth + aside
        near = (residual - smooth).square_().sum(0) < (_MATCH * period) ** 2
        weight = (occupied & near).float()
    return basis, mean + smooth, torch.where(occupied & near, member, -1), density > 0.1


def _mean_lattice(grid: _IndexGrid, occupied: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
    """Fit one lattice to the measured positions (2, H, W) of the occupied cells, by least squares.

    Returns
    -------
    basis : Tensor of shape (2, 2)
        Rows t1 and t2 [px].
    mean : Tensor of shape (2, H, W)
        Where that lattice has each cell [px].
    """
    # Indices are counted from the middle, for rounding.
    places = [torch.arange(n, dtype=torch.float64) - n / 2 for n in grid.shape]
    powers = [torch.stack([place**0, place, place**2]).to(occupied.device) for place in places]
    counted = torch.cat([occupied[None].double(), torch.where(occupied, measured, 0.0).double()])
    sums = (powers[0] @ counted @ powers[1].T).cpu().numpy()  # over the cells, of what they hold times powers
    (one, j, jj), (i, ij, _), (ii, _, _) = sums[0]
    normal = np.array([[ii, ij, i], [ij, jj, j], [i, j, one]])
    along_i, along_j, middle = np.linalg.solve(
        normal, np.stack([sums[1:, 1, 0], sums[1:, 0, 1], sums[1:, 0, 0]])
    )
    basis = torch.from_numpy(np.stack([along_i, along_j]))
    mean = (
        torch.from_numpy(middle)[:, None, None]
        + basis[0][:, None, None] * places[0][:, None]
        + basis[1][:, None, None] * places[1]
    )
    return basis.to(measured), mean.to(measured)


def _brightest_of_each(cell: Tensor, member: Tensor, response: Tensor, grid: _IndexGrid) -> Tensor:
    """The maximum of highest response in each cell, shape (H, W), -1 where there is none."""
    cells = grid.shape[0] * grid.shape[1]
    own = response[member]
    highest = own.new_zeros(cells).scatter_reduce_(0, cell, own, "amax")
    wins = own == highest[cell]
    chosen = torch.full((cells,), -1, device=cell.device)
    chosen[cell[wins]] = member[wins]
    return chosen.reshape(grid.shape)


def _blur(channels: Tensor) -> Tensor:
    """Gaussian sum over the index grid, (C, H, W), as wide along any direction of the frame; zero beyond.

    Sums of shifted copies: on grids of this size five times faster than a convolution on the CPU.
    """
    reach = 3
    taps = [math.exp(-0.5 * (k / _SMOOTHING) ** 2) for k in range(reach + 1)]
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


def _local_mean(weighted: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Local mean of channels (C, H, W) that already carry their weight (H, W); and local weight, (H, W)."""
    blurred = _blur(torch.cat([weighted, weight[None]]))
    return blurred[:-1] / blurred[-1:].clamp(min=1e-3), blurred[-1]


def _colour_levels(brightness: Tensor, inside: Tensor, colour: Tensor, times: int) -> Tensor:
    """Local mean brightness of each of the three colours, averaged so many times, shape (3, H, W)."""
    weight = torch.stack([(colour == c) & inside for c in range(3)]).float()
    blurred = torch.cat([weight * brightness, weight])
    for _ in range(times):
        blurred = _blur(blurred)
    return blurred[:3] / blurred[3:].clamp(min=1e-3)


def _is_enclosed(seen: Tensor, empty: Tensor, colour: Tensor) -> Tensor:
    """Whether at least two of a site's three neighbours on the honeycomb are seen, shape (H, W).

    So a vacancy inside the lattice is a site, and vacuum beside the lattice is not.
    """
    colour, empty = colour.to(torch.int8), empty.to(torch.int8)
    neighbours = torch.zeros_like(colour)
    for step in _STEPS:
        beside = torch.roll(seen, step, dims=(0, 1))
        beside_colour = torch.roll(colour, step, dims=(0, 1))
        neighbours += beside & (beside_colour != empty)
    return neighbours >= 2


def _around(seen: Tensor, steps: tuple[tuple[int, int], ...]) -> Tensor:
    """How many of the cells so many steps away are seen, shape (..., H, W)."""
    number = torch.zeros(seen.shape, dtype=torch.int8, device=seen.device)
    for step in steps:
        number += torch.roll(seen, step, dims=(-2, -1))
    return number


def _part_around(site: Tensor, possible: Tensor) -> Tensor:
    """Part of the possible sites within 1.2 lattice constants of a site that are columns, shape (H, W)."""
    columns, sites = _around(torch.stack([site, possible]), _AROUND)
    part: Tensor = columns / sites.clamp(min=1)
    return part


def _is_inside(positions: Tensor, shape: torch.Size, margin: float = 0.0) -> Tensor:
    """Whether positions (2, ...) lie between the centres of the outermost pixels, less a margin [px]."""
    row, column = positions
    in_rows = (row >= margin) & (row <= shape[0] - 1 - margin)
    inside: Tensor = in_rows & (column >= margin) & (column <= shape[1] - 1 - margin)
    return inside


def _first_is_brighter(level: Tensor, empty: Tensor, valid: Tensor) -> Tensor:
    """Which of the two colours that are not empty is the brighter one, 0 or 1, shape (H, W).

    0 wherever one colour is empty, unless both come about as far from equal as each other there, and by far
    more than either scatters: where sublattices are about as bright as each other the sign follows defects.
    """
    first, second = (level.gather(0, ((empty + step) % 3)[None])[0] for step in (1, 2))
    difference = own = first - second
    is_first = torch.zeros_like(empty)
    both = torch.bincount((2 * empty + (own > 0))[valid], minlength=6).reshape(3, 2).amin(1).tolist()
    asked = [colour for colour in range(3) if both[colour] >= LEAST_COLUMNS]  # elsewhere there is one sign
    for _ in range(_WIDE if asked else 0):
        difference = _local_mean((difference * valid)[None], valid.float())[0][0]
    for colour in asked:
        here = valid & (empty == colour)
        is_first = torch.where(_islands(own, here), 1, is_first)
        sides = [difference[here & side].abs() for side in (difference > 0, difference <= 0)]
        if min(len(side) for side in sides) < 1.5 * LEAST_COLUMNS:
            continue
        usual = [side.median() for side in sides]
        scatter = [(side - middle).abs().median() for side, middle in zip(sides, usual, strict=True)]
        are_apart = all(middle > _APART * spread for middle, spread in zip(usual, scatter, strict=True))
        if are_apart and min(usual) > _ALIKE * max(usual):
            is_first = torch.where(here, (difference > 0).long(), is_first)
        is_first = _less_clusters(is_first, here, torch.maximum(first, second))
    return is_first


def _less_clusters(is_first: Tensor, here: Tensor, bright: Tensor) -> Tensor:
    """Which of two colours is the brighter one, as it is around where that is dimmer than the one around.

    There, chalcogens outshine metals most of which are dopants: a cluster and no grain.  `here` holds some
    cells; `bright` is the level of the brighter colour; all of shape (H, W).
    """
    usual = int(is_first[here].double().mean() > 0.5)
    other = here & (is_first != usual)
    if not bool(other.any()):
        return is_first
    parts, _ = label(other.cpu().numpy(), _CONNECTED)
    sizes = np.bincount(parts.ravel())
    level, rest = bright.cpu().numpy(), (here & ~other).cpu().numpy()
    cluster = np.zeros(parts.shape, dtype=np.bool_)
    for one in (1 + np.flatnonzero(sizes[1:] >= LEAST_COLUMNS)).tolist():
        part = parts == one
        near, wide = (binary_dilation(part, _CONNECTED, iterations=reach) for reach in _AROUND_PART)
        around = wide & ~near & rest
        cores = (binary_erosion(part, _CONNECTED, iterations=depth) for depth in _WITHIN)
        core = next((core for core in cores if core.any()), part)
        if around.sum() >= LEAST_COLUMNS and np.median(level[core]) < _AS_LIT * np.median(level[around]):
            cluster |= part
    return torch.where(torch.from_numpy(cluster).to(here.device), usual, is_first)


def _islands(difference: Tensor, here: Tensor) -> Tensor:
    """Where, in a small part of an area, the difference of two colours is the other way round, shape (H, W).

    Fewer cells than `LEAST_COLUMNS` that are so for certain are no island.
    """
    if int(here.sum()) < 3 * LEAST_COLUMNS:
        return torch.zeros_like(here)
    along = difference * difference[here].median().sign()
    most = along[here & (along > 0)]
    if not len(most):
        return torch.zeros_like(here)
    usual = most.median()
    scatter = (most - usual).abs().median()
    if usual < _SIGNED * scatter:
        return torch.zeros_like(here)
    certain = here & (along < torch.minimum(-_TURNED * usual, usual - _FAR_OFF * scatter))
    if int(certain.sum()) < LEAST_COLUMNS:
        return torch.zeros_like(here)
    parts, _ = label((here & (along < 0)).cpu().numpy(), _CONNECTED)
    sizes = np.bincount(parts.ravel(), certain.cpu().numpy().ravel())
    off = ((usual - along) / (1.4826 * scatter)).cpu().numpy()
    sign = float(usual / (1.4826 * scatter))
    island = np.zeros(parts.shape, dtype=np.bool_)
    for number in (1 + np.nonzero(sizes[1:] >= LEAST_COLUMNS)[0]).tolist():
        part = parts == number
        by = _TURNED_BY * min(1.0, part.sum() / _WHOLE)
        least = max(_BY_CARBON, _NO_CHANCE / math.sqrt(part.sum() / _AVERAGED), (1 + by) * sign)
        island |= part & bool(np.median(off[part]) > least)
    return torch.from_numpy(island).to(here.device)


def _domains(kind: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Connected areas of one kind.

    A change of kind within one site lattice is a grain boundary: a mirror twin, or an antiphase boundary.

    Returns
    -------
    domain : Tensor of shape (H, W)
        Number of the area, the largest 0; -1 outside.
    kind_of : Tensor of shape (G,)
        Kind of each area.
    """
    kind_np, valid_np = kind.cpu().numpy(), valid.cpu().numpy()
    labels = np.zeros(kind_np.shape, dtype=np.int64)
    kinds = [-1]
    for one in np.unique(kind_np[valid_np]).tolist():
        part, parts = label(valid_np & (kind_np == one), _CONNECTED)
        labels += np.where(part > 0, part + len(kinds) - 1, 0)
        kinds += [one] * parts
    size = np.bincount(labels.ravel(), minlength=len(kinds))
    size[0] = 0
    order = np.argsort(-size, kind="stable")
    kept = order[size[order] >= 1.5 * LEAST_COLUMNS]  # a third of the sites are empty
    renumber = np.full(len(kinds), -1)
    renumber[kept] = np.arange(len(kept))
    kind_of = torch.tensor(kinds, device=kind.device)[torch.from_numpy(kept).to(kind.device)]
    return torch.from_numpy(renumber[labels]).to(kind.device), kind_of


def _grow(domain: Tensor, inside: Tensor) -> Tensor:
    """Let domains grow by two sites, so that they meet on a boundary, where neither has its contrast."""
    for _ in range(2 if int(domain.max()) > 0 else 0):
        before = domain
        for step in _STEPS:
            shifted = torch.roll(before, step, dims=(0, 1))
            domain = torch.where((domain < 0) & inside, shifted, domain)
    return domain


def _neighbouring_domain(domain: Tensor) -> Tensor:
    """Number of another domain that one of a site's six neighbours belongs to, or -1, shape (H, W)."""
    other = torch.full_like(domain, -1)
    if int(domain.max()) > 0:
        for step in _STEPS:
            beside = torch.roll(domain, step, dims=(0, 1))
            other = torch.where((beside != domain) & (domain >= 0), torch.maximum(other, beside), other)
    return other
