"""Grains on one site lattice: where another of its three colours is empty, or the other two change places.

The site lattice goes on across a mirror twin or an antiphase boundary, so that indices do not tell such
grains apart; the brightness of its three triangular lattices of period a does.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, find_objects, label
from torch import Tensor

from models.index_grid import SMOOTHING, STEPS, local_mean

#: A grain has at least this many columns.
LEAST_COLUMNS = 20

#: Neighbours on the site lattice, as `scipy.ndimage.label` takes them.
_CONNECTED = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]])

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
_NO_CHANCE, _AVERAGED, _BY_CARBON = 8.0, 4 * math.pi * math.sqrt(3) * SMOOTHING**2, 5.0


@dataclass(frozen=True)
class Domains:
    """Grains of one site lattice, G of them, on the H x W cells of its index grid.

    Parameters
    ----------
    interior : Tensor of shape (H, W)
        Number of the grain where contrast tells it, 0 the largest; -1 elsewhere.
    number : Tensor of shape (H, W)
        The same, grown by two sites; on a boundary a cell that would be a hexagon centre of one grain is the
        other's.
    boundary : Tensor of shape (H, W)
        Whether a cell has neighbours in another grain.
    empty : Tensor of shape (G,)
        Colour of the hexagon centres of each.
    """

    interior: Tensor
    number: Tensor
    boundary: Tensor
    empty: Tensor


def find_domains(
    level: Tensor, brightness: Tensor, colour: Tensor, valid: Tensor, inside: Tensor
) -> Domains | None:
    """Tell the grains of one site lattice apart.

    Parameters
    ----------
    level : Tensor of shape (3, H, W)
        Local mean brightness of the three colours around each cell.
    brightness : Tensor of shape (H, W)
        Of each cell.
    colour : Tensor of shape (H, W)
        Which of these a cell is of.
    valid : Tensor of shape (H, W)
        Whether there is contrast enough to tell.
    inside : Tensor of shape (H, W)
        Whether a cell may belong to a grain.

    Returns
    -------
    Domains or None
        None if no grain has `LEAST_COLUMNS`.
    """
    darkest = level.amin(0)
    empty = torch.where(level[2] == darkest, 2, (level[1] == darkest).long())
    is_first = _without_glare(_first_is_brighter(level, empty, valid), valid, brightness, colour, empty)
    interior, kind_of = _connected(2 * empty + is_first, valid)
    if len(kind_of) == 0:
        return None
    empty_of = kind_of // 2
    number = _grow(interior, inside)
    other = _neighbouring_domain(number)
    boundary = other >= 0
    number = torch.where(boundary & (colour == empty_of[number]), other, number)
    return Domains(interior, number, boundary, empty_of)


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
        difference = local_mean((difference * valid)[None], valid.float())[0][0]
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


def _without_glare(
    is_first: Tensor, valid: Tensor, brightness: Tensor, colour: Tensor, empty: Tensor
) -> Tensor:
    """Which of two colours is the brighter one, as it is around where that holds of the middle column, too.

    There, a few dopants far brighter than the host's metal outshine the chalcogens in the mean: no grain.
    All of shape (H, W).
    """
    if not bool(is_first.any()):
        return is_first
    bright, step, first = (of.cpu().numpy() for of in (brightness, (colour - empty) % 3, is_first))
    glare = np.zeros(first.shape, dtype=np.bool_)
    for one in range(3):
        here = (valid & (empty == one)).cpu().numpy()
        usual = here & (first == int(first[here].mean() > 0.5)) if here.any() else here
        around = _middles_apart(bright, step, usual)
        parts, _ = label(here & ~usual, _CONNECTED)
        for which, box in enumerate(find_objects(parts), start=1):
            part = parts[box] == which
            there = _middles_apart(bright[box], step[box], part)
            glare[box] |= part & (there * np.sign(around) > -_TURNED * abs(around))
    turned: Tensor = is_first ^ torch.from_numpy(glare).to(is_first)
    return turned


def _middles_apart(bright: NDArray[np.float32], step: NDArray[np.int64], where: NDArray[np.bool_]) -> float:
    """By how much the median of the first colour after the empty one exceeds the second's in some cells."""
    first, second = (bright[where & (step == one)] for one in (1, 2))
    return float(np.median(first) - np.median(second)) if len(first) and len(second) else 0.0


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


def _connected(kind: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
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
        for step in STEPS:
            shifted = torch.roll(before, step, dims=(0, 1))
            domain = torch.where((domain < 0) & inside, shifted, domain)
    return domain


def _neighbouring_domain(domain: Tensor) -> Tensor:
    """Number of another domain that one of a site's six neighbours belongs to, or -1, shape (H, W)."""
    other = torch.full_like(domain, -1)
    if int(domain.max()) > 0:
        for step in STEPS:
            beside = torch.roll(domain, step, dims=(0, 1))
            other = torch.where((beside != domain) & (domain >= 0), torch.maximum(other, beside), other)
    return other
