"""The honeycomb lattice of a frame: every site of every grain, also where a column is too dim to be seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from drivers.contract.errors import InputError
from models.columns import Maxima
from models.completion import COLUMN_RESPONSE, LEAST_COLUMNS, Patch, complete_region
from models.indexing import index_by_fringes, index_maxima
from models.scale import lattice_constant_px, lattice_vectors
from models.seams import Sites, one_grain, own_vectors, reach

#: Scatter of maxima [site periods] above which they are mostly noise and the frame's fringes are the better
#: guide, if they lead to nearly as many columns.  Clear frames: 0.02 to 0.07, sheared or bent ones too.
_NOISE, _NEARLY = 0.075, 0.9

#: Grains of different orientation that are looked for.
_MOST_ORIENTATIONS = 4

#: Another orientation is looked for if this part of the maxima is bright and on no grain.
_LEAST_UNEXPLAINED = 0.02


#: A maximum is as bright as a column if it is as bright as this part of the brighter ones' middle.
_AS_BRIGHT = 0.6


@dataclass(frozen=True)
class Lattice:
    """Sites of the honeycomb of a frame; S sites in G grains.

    Parameters
    ----------
    positions : Tensor of shape (S, 2)
        (row, column) [px]: between the maximum, where there is one, and where the neighbours say, the nearer
        to the latter the noisier the frame; intensities are read there, as noise is highest at maxima.
    maxima : Tensor of shape (S, 2)
        The maximum where there is one, else the position: what grains are joined by (`models.seams`).
    sublattice : Tensor of shape (S,)
        0 or 1, the same within a grain; which one is the metal is for `models.sublattice` to say.
    grain : Tensor of shape (S,)
        Grain number, 0 the largest.
    measured : Tensor of shape (S,)
        Whether the position is that of a maximum.
    boundary : Tensor of shape (S,)
        Whether the site lies on a boundary between grains (where only maxima count as columns).
    rim : Tensor of shape (S,)
        Whether the site lies beside vacuum, a hole or contamination that hides the lattice.
    vectors : Tensor of shape (G, 2, 2)
        Mean lattice vectors a1, a2 of each grain, rows, (row, column) [px].
    """

    positions: Tensor
    maxima: Tensor
    sublattice: Tensor
    grain: Tensor
    measured: Tensor
    boundary: Tensor
    rim: Tensor
    vectors: Tensor

    @property
    def lattice_px(self) -> float:
        """Lattice constant [px] of the largest grain: the side of an equilateral cell of its cell's area."""
        return lattice_constant_px(self.vectors[0])

    def kept(self, which: Tensor) -> "Lattice":
        """The same with those sites alone of which it is said, (S,)."""
        fewer = {name: values[which] for name, values in vars(self).items() if name != "vectors"}
        return Lattice(**fewer, vectors=self.vectors)

    def moved(self, rows: int, columns: int) -> "Lattice":
        """The same, so many pixels further down and to the right."""
        step = self.positions.new_tensor([rows, columns])
        return replace(self, positions=self.positions + step, maxima=self.maxima + step)

    def inside(self, shape: tuple[int, ...]) -> "Lattice":
        """The same with those sites alone that lie in a frame of such rows and columns."""
        last = self.positions.new_tensor(shape) - 1
        return self.kept(((self.positions >= 0) & (self.positions <= last)).all(dim=1))

    def to(self, device: torch.device | str) -> "Lattice":
        """The same on another device; the vectors stay on the CPU."""
        moved = {name: values.to(device) for name, values in vars(self).items() if name != "vectors"}
        return Lattice(**moved, vectors=self.vectors)


def hexagon_beside(lattice: Lattice) -> Tensor:
    """Centre of one of the three hexagons that meet at each site, (row, column) [px], shape (S, 2).

    Inside the lattice every hexagon is that of one site of either sublattice.
    """
    vectors = lattice.vectors.to(lattice.positions)
    step = (vectors[:, 1] - 2 * vectors[:, 0]) / 3
    sign = 1 - 2 * lattice.sublattice[:, None]
    return lattice.positions + sign * step[lattice.grain]


def on_no_lattice(lattice: Lattice, maxima: Maxima) -> Tensor:
    """Places of maxima as bright as columns that no site is near, (K, 2) [px].

    In vacuum there are none, beside a grain that was not found as many as its brighter columns.
    """
    number = max(1, len(lattice.positions) // 4)  # half of the brighter sublattice, if there is one
    if number > len(maxima.response):
        return maxima.positions[:0]
    level = maxima.response.topk(number).values[-1]
    places = maxima.positions[maxima.response > _AS_BRIGHT * level]
    cell = lattice.lattice_px / 2
    own, of_sites = ((at / cell).long() for at in (places, lattice.positions.clamp(min=0)))
    rows, columns = (int(max(own[:, k].max(), of_sites[:, k].max())) + 1 for k in (0, 1))
    occupied = torch.zeros(rows, columns, device=places.device)
    occupied[of_sites[:, 0], of_sites[:, 1]] = 1
    near = max_pool2d(occupied[None, None], 5, stride=1, padding=2)[
        0, 0
    ]  # within a lattice constant at least
    return places[near[own[:, 0], own[:, 1]] == 0]


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
            if led is not None and patch is not None and len(patch.positions) > _NEARLY * _columns(found):
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
            "that lie on none; check that the specimen is a 1H monolayer in focus"
        )
    return lattice


def _are_noise(found: Sequence[Patch | None]) -> bool:
    """Whether the maxima of the largest patch stray so far that most of it is noise, or there is no patch."""
    largest = max((patch for patch in found if patch), key=lambda patch: len(patch.positions), default=None)
    return largest is None or largest.scatter > _NOISE


def _columns(found: list[Patch | None]) -> int:
    return sum(len(patch.positions) for patch in found if patch is not None)


def _density(positions: Tensor, shape: tuple[int, int], vectors: Tensor) -> Tensor:
    """Where unexplained maxima lie: 0 to 1 over the frame."""
    cell = 2 * lattice_constant_px(vectors)
    grid = [max(2, round(edge / cell)) for edge in shape]
    scale = positions.new_tensor([grid[0] / shape[0], grid[1] / shape[1]])
    tile = (positions * scale).long()
    count = positions.new_zeros(grid[0] * grid[1])
    count.index_add_(0, tile[:, 0] * grid[1] + tile[:, 1], torch.ones_like(positions[:, 0]))
    dense = (count / 4).clamp(max=1).reshape(1, 1, *grid)
    return interpolate(dense, size=shape, mode="bilinear")[0, 0]


def _renumbered(patch: Patch, number: Tensor) -> Patch:
    """A patch whose maxima have other numbers, given by the ones they have, (K,)."""
    return replace(patch, column=torch.where(patch.measured, number[patch.column.clamp(min=0)], -1))


def _join(patches: list[Patch], maxima: Maxima, shape: tuple[int, int]) -> Lattice:
    """One lattice of several patches, grains numbered through by size; where grains meet is boundary."""
    counts = [len(patch.vectors) for patch in patches]
    grain = torch.cat([p.grain + sum(counts[:k]) for k, p in enumerate(patches)])
    positions = torch.cat([p.positions for p in patches])
    own_maxima = torch.cat([p.maxima for p in patches])
    column = torch.cat([p.column for p in patches])
    sublattice = torch.cat([p.sublattice for p in patches])
    measured = torch.cat([p.measured for p in patches])
    boundary = torch.cat([p.boundary for p in patches])
    vectors = torch.cat([p.vectors for p in patches])
    patch = torch.repeat_interleave(
        torch.arange(len(patches)), torch.tensor([len(p.positions) for p in patches])
    ).to(grain.device)
    if len(vectors) > 1:
        sites = Sites.of(own_maxima, sublattice, grain, vectors)
        bright = torch.where(column >= 0, maxima.response[column.clamp(min=0)], torch.nan).cpu().numpy()
        vectors = torch.from_numpy(own_vectors(sites)).to(vectors)
        sites = sites._replace(vectors=vectors.double().numpy())
        whole, swapped = (
            torch.from_numpy(n).to(grain.device) for n in one_grain(sites, patch.cpu().numpy(), bright)
        )
        grain, sublattice = whole[grain], sublattice ^ swapped[grain]
    meets, continues, keep = _where_patches_meet(
        positions, measured, patch, grain, lattice_constant_px(vectors[0])
    )
    boundary = boundary | meets
    size = torch.bincount(grain[keep], minlength=len(vectors))
    order = torch.argsort(-size, stable=True)
    order = order[size[order] >= LEAST_COLUMNS]
    rank = torch.full_like(size, -1)
    rank[order] = torch.arange(len(order), device=size.device)
    number = rank[grain]
    chosen = (keep & (number >= 0)).nonzero()[:, 0]
    lattice = Lattice(
        positions=positions[chosen],
        maxima=own_maxima[chosen],
        sublattice=sublattice[chosen],
        grain=number[chosen],
        measured=measured[chosen],
        boundary=boundary[chosen],
        rim=(torch.cat([p.rim for p in patches]) & ~boundary & ~continues)[chosen],
        vectors=vectors[order.cpu()],
    )
    if len(order) == 0 or _are_noise(patches):
        return lattice
    return _with_reached(lattice, column[chosen], maxima, shape)


def _where_patches_meet(
    positions: Tensor, measured: Tensor, patch: Tensor, grain: Tensor, lattice_px: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Which sites of a patch lie beside another grain's patch, which beside their own's, and which to keep.

    Of two sites on one spot the measured one stays, or that of the earlier patch; and where grains meet only
    maxima count as columns.
    """
    meets, continues = torch.zeros_like(measured), torch.zeros_like(measured)
    keep = torch.ones_like(measured)
    if len(patch) == 0 or int(patch.max()) == 0:
        return meets, continues, keep
    pairs = cKDTree(positions.cpu().numpy()).query_pairs(lattice_px, output_type="ndarray")
    first, second = torch.from_numpy(pairs).to(patch.device).T
    across = patch[first] != patch[second]
    first, second = first[across], second[across]
    are_two = grain[first] != grain[second]
    meets[first[are_two]] = meets[second[are_two]] = True
    continues[first[~are_two]] = continues[second[~are_two]] = True
    keep &= measured | ~meets
    near = torch.linalg.vector_norm(positions[first] - positions[second], dim=1) < lattice_px / 3
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
            Sites.of(lattice.maxima[of], lattice.sublattice[of], lattice.grain[of], lattice.vectors),
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
    return Lattice(
        positions=torch.cat([lattice.positions[keep], places]),
        maxima=torch.cat([lattice.maxima[keep], places]),
        sublattice=torch.cat([lattice.sublattice[keep], sublattice]),
        grain=torch.cat([lattice.grain[keep], grain]),
        measured=torch.cat([of[keep], yes]),
        boundary=torch.cat([lattice.boundary[keep], ~bonded]),
        rim=torch.cat([lattice.rim[keep], ~yes]),
        vectors=lattice.vectors,
    )
