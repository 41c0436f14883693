"""From the maxima of a frame to its honeycomb: patches that are followed and completed, put together."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import interpolate

from drivers.contract.errors import InputError
from models.bonds import Sites
from models.boundary_columns import reach
from models.columns import Maxima
from models.completion import COLUMN_RESPONSE, Patch, complete_region
from models.domains import LEAST_COLUMNS
from models.indexing import index_by_fringes, index_maxima
from models.lattice import Lattice
from models.scale import SMALLEST_LATTICE_PX, lattice_constant_px, lattice_vectors
from models.seams import one_grain, own_vectors

#: Scatter of maxima [site periods] above which they are mostly noise and the frame's fringes are the better
#: guide, if they lead to nearly as many columns.  Clear frames: 0.02 to 0.07, sheared or bent ones too.
_NOISE, _NEARLY = 0.075, 0.9

#: Grains of different orientation that are looked for.
_MOST_ORIENTATIONS = 4

#: Another orientation is looked for if this part of the maxima is bright and on no grain.
_LEAST_UNEXPLAINED = 0.02


def fit_lattice(image: Tensor, filtered: Tensor, maxima: Maxima, vectors: Tensor) -> Lattice:
    """Fit the honeycomb of every grain to the maxima of a frame, and complete it.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Standardised frame; looked at again only if a second orientation has to be found.
    filtered : Tensor of shape (M, N)
        From `models.columns.filter_columns`.
    maxima : Maxima
        From `models.columns.find_maxima`.
    vectors : Tensor of shape (2, 2)
        From `models.scale.lattice_vectors`.

    Returns
    -------
    Lattice
        Sites inside the frame.  Vacuum, holes and areas without lattice contrast have none.

    Raises
    ------
    InputError
        If no grain of `LEAST_COLUMNS` columns is found.
    """
    shape = (filtered.shape[0], filtered.shape[1])
    left = torch.arange(len(maxima.response), device=filtered.device)
    typical = maxima.response.median()
    patches: list[Patch] = []
    for number in range(_MOST_ORIENTATIONS):
        remaining = Maxima(maxima.positions[left], maxima.response[left])
        regions = index_maxima(remaining.positions, vectors, shape)
        found = [complete_region(region, remaining, filtered) for region in regions]
        if number == 0 and _are_noise(found):
            led = index_by_fringes(remaining.positions, vectors, shape, image)
            patch = None if led is None else complete_region(led, remaining, filtered)
            if led is not None and patch is not None and len(patch.column) > _NEARLY * _columns(found):
                regions, found = [led], [patch]
        patches += [_renumbered(patch, left) for patch in found if patch is not None]
        if not patches:
            break
        explained = torch.zeros_like(left, dtype=torch.bool)
        for region, patch in zip(regions, found, strict=True):
            explained[region.member] = patch is not None
        left = left[~explained & (remaining.response > COLUMN_RESPONSE * typical)]
        if len(left) < max(LEAST_COLUMNS, _LEAST_UNEXPLAINED * len(maxima.response)):
            break
        try:
            vectors = lattice_vectors(image, _density(maxima.positions[left], shape, vectors))
        except InputError:
            break
    lattice = _join(patches, maxima, shape) if patches else None
    if lattice is None or len(lattice.vectors) == 0:  # patches that overlap can leave too little of each
        raise InputError(
            f"expected a honeycomb of at least {LEAST_COLUMNS} columns, found {len(maxima.response)} maxima "
            "that lie on none; check that the specimen is a 1H monolayer in focus, and the magnification "
            f"({SMALLEST_LATTICE_PX:g} pixels a lattice constant at least)"
        )
    return lattice


def _are_noise(found: Sequence[Patch | None]) -> bool:
    """Whether the maxima of the largest patch stray so far that most of it is noise, or there is no patch."""
    largest = max((patch for patch in found if patch), key=lambda patch: len(patch.column), default=None)
    return largest is None or largest.scatter > _NOISE


def _columns(found: list[Patch | None]) -> int:
    return sum(len(patch.column) for patch in found if patch is not None)


def _density(positions: Tensor, shape: tuple[int, int], vectors: Tensor) -> Tensor:
    """Where unexplained maxima lie: 0 to 1 over the frame."""
    cell = 2 * lattice_constant_px(vectors)
    grid = [max(2, round(edge / cell)) for edge in shape]
    scale = positions.new_tensor([grid[0] / shape[0], grid[1] / shape[1]])
    tile = (positions * scale).long()
    count = torch.bincount(tile[:, 0] * grid[1] + tile[:, 1], minlength=grid[0] * grid[1])
    dense = (count / 4).clamp(max=1).reshape(1, 1, *grid)
    return interpolate(dense, size=shape, mode="bilinear")[0, 0]


def _renumbered(patch: Patch, number: Tensor) -> Patch:
    """A patch whose maxima have other numbers, given by the ones they have, (K,)."""
    return replace(patch, column=torch.where(patch.column >= 0, number[patch.column.clamp(min=0)], -1))


def _join(patches: list[Patch], maxima: Maxima, shape: tuple[int, int]) -> Lattice:
    """One lattice of several patches, grains numbered through by size; where grains meet is boundary."""
    counts = [len(patch.lattice.vectors) for patch in patches]
    parts = [replace(p.lattice, grain=p.lattice.grain + sum(counts[:k])) for k, p in enumerate(patches)]
    lattice = Lattice.joined(parts, torch.cat([part.vectors for part in parts]))
    column = torch.cat([patch.column for patch in patches])
    sites = torch.tensor([len(patch.column) for patch in patches])
    patch = torch.repeat_interleave(torch.arange(len(patches)), sites).to(column.device)
    if len(lattice.vectors) > 1:
        response = torch.where(column >= 0, maxima.response[column.clamp(min=0)], torch.nan)
        lattice = _with_whole_grains(lattice, patch, response)
    meets, continues, keep = _where_patches_meet(lattice, patch)
    boundary = lattice.boundary | meets
    lattice = replace(lattice, boundary=boundary, rim=lattice.rim & ~boundary & ~continues)
    size = torch.bincount(lattice.grain[keep], minlength=len(lattice.vectors))
    order = torch.argsort(-size, stable=True)
    order = order[size[order] >= LEAST_COLUMNS]
    rank = torch.full_like(size, -1)
    rank[order] = torch.arange(len(order), device=size.device)
    number = rank[lattice.grain]
    chosen = (keep & (number >= 0)).nonzero()[:, 0]
    lattice = replace(lattice, grain=number, vectors=lattice.vectors[order.cpu()]).kept(chosen)
    if len(order) == 0 or _are_noise(patches):
        return lattice
    return _with_reached(lattice, column[chosen], maxima, shape)


def _with_whole_grains(lattice: Lattice, patch: Tensor, response: Tensor) -> Lattice:
    """The lattice with pieces of one grain that lie in several patches put together.

    Parameters
    ----------
    lattice : Lattice
    patch : Tensor of shape (S,)
        The patch of each site.
    response : Tensor of shape (S,)
        Of the maximum that each stands on; nan if there is none.
    """
    sites = Sites.of(lattice)
    vectors = torch.from_numpy(own_vectors(sites)).to(lattice.vectors)
    sites = replace(sites, vectors=vectors.double().numpy())
    whole, swapped = (
        torch.from_numpy(of_grain).to(patch.device)
        for of_grain in one_grain(sites, patch.cpu().numpy(), response.cpu().numpy())
    )
    grain, sublattice = whole[lattice.grain], lattice.sublattice ^ swapped[lattice.grain]
    return replace(lattice, grain=grain, sublattice=sublattice, vectors=vectors)


def _where_patches_meet(lattice: Lattice, patch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which sites of a patch lie beside another grain's patch, which beside their own's, and which to keep.

    Of two sites on one spot the measured one stays, or that of the earlier patch; and where grains meet only
    maxima count as columns.
    """
    positions, measured, grain = lattice.positions, lattice.measured, lattice.grain
    meets, continues = torch.zeros_like(measured), torch.zeros_like(measured)
    keep = torch.ones_like(measured)
    if len(patch) == 0 or int(patch.max()) == 0:
        return meets, continues, keep
    pairs = cKDTree(positions.cpu().numpy()).query_pairs(lattice.lattice_px, output_type="ndarray")
    first, second = torch.from_numpy(pairs).to(patch.device).T
    across = patch[first] != patch[second]
    first, second = first[across], second[across]
    are_two = grain[first] != grain[second]
    meets[first[are_two]] = meets[second[are_two]] = True
    continues[first[~are_two]] = continues[second[~are_two]] = True
    keep &= measured | ~meets
    near = torch.linalg.vector_norm(positions[first] - positions[second], dim=1) < lattice.lattice_px / 3
    later = torch.where(patch[first] > patch[second], first, second)
    earlier = first + second - later
    spare = torch.where(measured[earlier] | ~measured[later], later, earlier)
    keep[spare[near]] = False
    return meets, continues, keep


def _with_reached(lattice: Lattice, own: Tensor, maxima: Maxima, shape: tuple[int, int]) -> Lattice:
    """The lattice with the columns beside its seams that no patch has reached, marked as boundary where
    they have no neighbours of their own on one side.

    Parameters
    ----------
    lattice : Lattice
    own : Tensor of shape (S,)
        Number of the maximum of each site, or -1.
    maxima, shape
        Of the frame.
    """
    of = lattice.measured
    is_free = torch.ones_like(maxima.response, dtype=torch.bool)
    is_free[own[of]] = False
    free = is_free.nonzero()[:, 0]
    found, grain, sublattice, bonded = (
        torch.from_numpy(values).to(of.device)
        for values in reach(
            Sites.of(lattice.kept(of)),
            maxima.response[own[of]].cpu().numpy(),
            maxima.positions[free].double().cpu().numpy(),
            maxima.response[free].cpu().numpy(),
            shape,
        )
    )
    column = free[found]
    if not len(column):
        return lattice
    places = maxima.positions[column]
    apart, _ = cKDTree(places.cpu().numpy()).query(lattice.positions.cpu().numpy())
    keep = of | (torch.from_numpy(apart).to(of.device) > lattice.lattice_px / 3)
    yes = torch.ones_like(column, dtype=torch.bool)
    reached = Lattice(
        positions=places,
        maxima=places,
        sublattice=sublattice,
        grain=grain,
        measured=yes,
        boundary=~bonded,
        rim=~yes,
        vectors=lattice.vectors,
    )
    return Lattice.joined([lattice.kept(keep), reached], lattice.vectors)
