"""The honeycomb lattice of a frame: every site of every grain, also where a column is too dim to be seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from models.columns import Maxima
from models.scale import lattice_constant_px

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

    @classmethod
    def joined(cls, parts: "Sequence[Lattice]", vectors: Tensor) -> "Lattice":
        """All sites of several, whose grains are numbered through, of such vectors (G, 2, 2)."""
        of_sites = [name for name in vars(parts[0]) if name != "vectors"]
        return cls(
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in of_sites}, vectors=vectors
        )

    def kept(self, which: Tensor) -> "Lattice":
        """The same with those sites alone of which it is said, (S,)."""
        return self._of_sites(lambda values: values[which])

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
        return self._of_sites(lambda values: values.to(device))

    def _of_sites(self, change: Callable[[Tensor], Tensor]) -> "Lattice":
        """The same, with everything that is said of sites changed."""
        changed = {name: change(values) for name, values in vars(self).items() if name != "vectors"}
        return Lattice(**changed, vectors=self.vectors)


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
    near = max_pool2d(occupied[None], 5, stride=1, padding=2)[0]  # within a lattice constant at least
    return places[near[own[:, 0], own[:, 1]] == 0]
