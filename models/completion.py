"""Completion of one region of the site lattice: from indexed maxima to every site of the honeycomb."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cell_positions import MATCH, predict_cells
from models.columns import Maxima
from models.domains import LEAST_COLUMNS, find_domains
from models.frames import add_rows, sample_bilinear
from models.index_grid import STEPS, IndexGrid, blur, count_around
from models.indexing import Indexed
from models.lattice import Lattice
from models.scale import lattice_constant_px

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

#: Times that the brightness of a colour is averaged, and where the lattice was found by fringes.
_AVERAGED, _AVERAGED_BY_FRINGES = 1, 2

#: A maximum this bright, over the mean of its neighbourhood, is a column even on a boundary.
COLUMN_RESPONSE = 0.35

#: Maxima are not looked for nearer to the edge of the frame than this [site periods].
_UNSEEN_EDGE = 0.56

#: The mean of the neighbourhood counts for this part of its median in the frame at least, lest noise in
#: vacuum pass for columns.
_LEVEL_FLOOR = 0.75

#: An unseen site where fewer than this part of the sites around it are columns is no vacancy but vacuum, and
#: a column there is on a rim.  Around a site in a straight edge it is 0.6.
_LEAST_AROUND = 0.67

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
    grid = IndexGrid(low, tuple((region.index.amax(0) + 3 - low).tolist()))
    colour, by_fringes = grid.colour(), region.field is not None
    basis, predicted, column, held = predict_cells(region, maxima, grid)
    inside = _is_inside(predicted, filtered.shape) & held
    brightness = sample_bilinear(filtered, predicted.flatten(1).T).reshape(grid.shape)
    times = _AVERAGED_BY_FRINGES if by_fringes else _AVERAGED
    level = _colour_levels(brightness, inside, colour, times)  # (3, H, W)
    darkest = level.amin(0)
    filled = (level.sum(0) - darkest) / 2
    contrast = filled - darkest
    least = _LEAST_CONTRAST_BY_FRINGES if by_fringes else _LEAST_CONTRAST
    valid = inside & (contrast > least * contrast[inside].median())
    if by_fringes and valid.sum() < _LED_INTO * inside.sum():
        return None
    domains = find_domains(level, brightness, colour, valid, inside)
    if domains is None:
        return None
    hollow = domains.empty[domains.number]
    possible = colour != hollow
    measured = column >= 0
    response = torch.where(measured, maxima.response[column.clamp(min=0)], 0.0)
    seen = response > COLUMN_RESPONSE * filled.clamp(min=_LEVEL_FLOOR * float(filled[inside].median()))
    looked_for = _is_inside(predicted, filtered.shape, _UNSEEN_EDGE * lattice_constant_px(basis))
    others_dim = 2 * filled - level.gather(0, colour[None])[0] < _DIM * filled
    # By fringes nothing is seen of single columns, but the lattice is.
    enclosed = held if by_fringes else _is_enclosed(seen | ~looked_for, others_dim, hollow, colour)
    site = torch.where(domains.boundary, seen, (domains.interior >= 0) & (seen | enclosed)) & possible
    columns, sites = count_around(torch.stack([site, (looked_for | site) & possible]), _AROUND)
    rim = columns / sites.clamp(min=1) < _LEAST_AROUND
    site &= measured | ~rim | ~looked_for
    at = site.flatten().nonzero()[:, 0]
    own = column.flatten()[at]
    positions, places, scatter = _between(maxima, own, predicted.flatten(1)[:, at].T, basis)
    honeycomb = torch.stack([basis[0] + basis[1], 2 * basis[1] - basis[0]])
    lattice = Lattice(
        positions=positions,
        maxima=places,
        sublattice=((colour - hollow - 1) % 3).flatten()[at],
        grain=domains.number.flatten()[at],
        measured=own >= 0,
        boundary=domains.boundary.flatten()[at],
        rim=rim.flatten()[at],
        vectors=honeycomb.cpu().expand(len(domains.empty), 2, 2),
    )
    return Patch(lattice, own, scatter)


def _between(maxima: Maxima, column: Tensor, expected: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, float]:
    """Where columns lie: between their maxima and where they are expected.

    Parameters
    ----------
    maxima : Maxima
    column : Tensor of shape (S,)
        Number of the maximum of each, or -1.
    expected : Tensor of shape (S, 2)
        Where their neighbours say that they lie [px].
    basis : Tensor of shape (2, 2)
        Of the site lattice, rows [px].

    Returns
    -------
    positions, places : Tensor of shape (S, 2)
        Of the columns, and of their maxima, where there are any.
    scatter : float
        See `Patch`.
    """
    measured = column >= 0
    aside = torch.where(measured[:, None], maxima.positions[column.clamp(min=0)] - expected, 0.0)
    strayed = aside[measured]
    scatter = _scatter(strayed, basis)
    by_itself = max(_ASIDE, _shared(strayed, expected[measured, 0], basis))
    part = min(1.0, (by_itself / max(scatter, 1e-6)) ** 2)
    return expected + part * aside, expected + aside, scatter


def _scatter(aside: Tensor, basis: Tensor) -> float:
    """How far columns (K, 2) lie from where they are expected, robust standard deviation [site periods]."""
    if len(aside) < LEAST_COLUMNS:
        return 0.0
    return 1.4826 * float(aside.abs().median()) / lattice_constant_px(basis)


def _shared(aside: Tensor, row: Tensor, basis: Tensor) -> float:
    """The part of that which columns of one row of pixels share, as by jitter of the scan [site periods]."""
    period = lattice_constant_px(basis)
    place = row.round().long().clamp(min=0)
    kept = aside.clamp(-MATCH * period, MATCH * period)
    count = torch.bincount(place).double()
    pairs = float((count * (count - 1)).sum())
    if pairs < LEAST_COLUMNS**2:
        return 0.0
    sums = add_rows(kept.new_zeros(len(count), 2).double(), place, kept.double())
    common = (sums.square().sum() - kept.double().square().sum()) / (2 * pairs)
    return math.sqrt(max(float(common), 0.0)) / period


def _colour_levels(brightness: Tensor, inside: Tensor, colour: Tensor, times: int) -> Tensor:
    """Local mean brightness of each of the three colours, averaged so many times, shape (3, H, W)."""
    weight = torch.stack([(colour == c) & inside for c in range(3)]).float()
    blurred = torch.cat([weight * brightness, weight])
    for _ in range(times):
        blurred = blur(blurred)
    return blurred[:3] / blurred[3:].clamp(min=1e-3)


def _is_enclosed(known: Tensor, others_dim: Tensor, hollow: Tensor, colour: Tensor) -> Tensor:
    """Whether so much is known around a site that it is one though no column is seen, shape (H, W).

    Most of the six of its own sublattice, or at least two of its three neighbours on the honeycomb.  So a
    vacancy inside the lattice is a site, and vacuum beside the lattice is not.

    Parameters
    ----------
    known : Tensor of shape (H, W)
        Whether a column is seen, or would not be.
    others_dim : Tensor of shape (H, W)
        Whether the other sublattice may go unseen.
    hollow, colour : Tensor of shape (H, W)
        Colour of the hexagon centres, and of each cell.
    """
    ringed = count_around(known, _RING) >= torch.where(others_dim, *_OF_RING)
    known, colour, hollow = known | ringed, colour.to(torch.int8), hollow.to(torch.int8)
    neighbours = torch.zeros_like(colour)
    for step in STEPS:
        beside = torch.roll(known, step, dims=(0, 1))
        neighbours += beside & (torch.roll(colour, step, dims=(0, 1)) != hollow)
    return ringed | (neighbours >= 2)


def _is_inside(positions: Tensor, shape: torch.Size, margin: float = 0.0) -> Tensor:
    """Whether positions (2, ...) lie between the centres of the outermost pixels, less a margin [px]."""
    row, column = positions
    in_rows = (row >= margin) & (row <= shape[0] - 1 - margin)
    inside: Tensor = in_rows & (column >= margin) & (column <= shape[1] - 1 - margin)
    return inside
