"""Electrons on the specimen: what a scan brings, and the map of what every part has had."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivers.contract.quantities import ELECTRONS_PER_PA_US

#: Edge of a tile of the map [Å].
TILE_ANGSTROM = 10.0


def electrons_per_pixel(current_pa: float, dwell_us: float) -> float:
    """Incident electrons at one point of a scan."""
    return current_pa * dwell_us * ELECTRONS_PER_PA_US


def scan_dose(current_pa: float, dwell_us: float, pixel_size_angstrom: float) -> float:
    """Dose of one scan [electrons/Å²]: the electrons of a point over the area that belongs to it."""
    return electrons_per_pixel(current_pa, dwell_us) / pixel_size_angstrom**2


@dataclass(eq=False)
class DoseMap:
    """Dose of every part of the specimen, in square tiles; what was never scanned has none."""

    _tiles: dict[tuple[int, int], float] = field(default_factory=dict)

    def add(self, low: NDArray[np.float64], high: NDArray[np.float64], dose_e_per_a2: float) -> None:
        """Count a scan of a box.

        Parameters
        ----------
        low, high : ndarray of shape (2,)
            Box on the specimen (row, column) [Å].
        dose_e_per_a2 : float
            Dose within it; a tile that lies in it by a part takes that part.
        """
        for tile, share in self._shares(low, high):
            self._tiles[tile] = self._tiles.get(tile, 0.0) + share * dose_e_per_a2

    def mean(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
        """Mean dose of a box [electrons/Å²]."""
        shares = self._shares(low, high)
        return sum(share * self._tiles.get(tile, 0.0) for tile, share in shares) / sum(s for _, s in shares)

    @property
    def highest_e_per_a2(self) -> float:
        """Largest mean dose of a tile [electrons/Å²]."""
        return max(self._tiles.values(), default=0.0)

    @property
    def electrons(self) -> float:
        """Electrons on the whole specimen."""
        return sum(self._tiles.values()) * TILE_ANGSTROM**2

    @staticmethod
    def _shares(low: NDArray[np.float64], high: NDArray[np.float64]) -> list[tuple[tuple[int, int], float]]:
        """Tiles that a box touches, each with the fraction of the tile that lies in the box."""
        axes = []
        for first, last in zip(low / TILE_ANGSTROM, high / TILE_ANGSTROM, strict=True):
            indices = range(int(np.floor(first)), int(np.ceil(last)))
            axes.append([(k, min(last, k + 1) - max(first, k)) for k in indices])
        return [((i, j), float(a * b)) for i, a in axes[0] for j, b in axes[1]]
