"""Made-up honeycombs with known truth, and recorded micrographs where they are at hand."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Truth:
    """Columns of a made-up frame: (row, column) [px] (S, 2), sublattice 0 or 1 (S,), peak height (S,)."""

    positions: NDArray[np.float64]
    sublattice: NDArray[np.int64]
    height: NDArray[np.float64]

    def select(self, kept: NDArray[np.bool_]) -> "Truth":
        return Truth(self.positions[kept], self.sublattice[kept], self.height[kept])

    def inside(self, shape: tuple[int, int], margin: float) -> "Truth":
        low, high = np.full(2, margin), np.array(shape) - 1 - margin
        return self.select(((self.positions >= low) & (self.positions <= high)).all(axis=1))

    def dimmed(self, sites: NDArray[np.int64], factor: float) -> "Truth":
        height = self.height.copy()
        height[sites] *= factor
        return replace(self, height=height)


def honeycomb(
    shape: tuple[int, int] = (256, 256),
    *,
    lattice_px: float = 12.0,
    angle_deg: float = 7.0,
    affine: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0)),
    origin: tuple[float, float] = (0.3, 0.7),
    heights: tuple[float, float] = (1.0, 0.8),
) -> Truth:
    """Columns of a perfect honeycomb that cover a frame and 1.5 lattice constants around it."""
    angle = np.deg2rad(angle_deg + np.array([0.0, 60.0]))
    vectors = lattice_px * np.stack([np.cos(angle), np.sin(angle)], axis=1) @ np.array(affine).T
    reach = int(2 * max(shape) / lattice_px) + 4
    index = np.stack(np.meshgrid(*[np.arange(-reach, reach)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    corner = index @ vectors + np.array(shape) / 2 + origin
    basis = [corner, corner + vectors.sum(axis=0) / 3]
    truth = Truth(
        np.concatenate(basis),
        np.repeat([0, 1], len(corner)),
        np.repeat(heights, len(corner)).astype(np.float64),
    )
    return truth.inside(shape, -1.5 * lattice_px)


def render(truth: Truth, shape: tuple[int, int], *, sigma_px: float) -> NDArray[np.float32]:
    """Sum of one Gaussian a column, sampled at pixel centres."""
    reach = int(np.ceil(5 * sigma_px))
    offset = np.arange(-reach, reach + 1)
    image = np.zeros((shape[0] + 2 * reach + 2, shape[1] + 2 * reach + 2))
    first = np.clip(np.round(truth.positions).astype(int), -1, np.array(shape))  # beyond is cut off below
    aside = first - truth.positions
    down, right = (np.exp(-0.5 * ((aside[:, k, None] + offset) / sigma_px) ** 2) for k in (0, 1))
    for place, one, other in zip(first + 1, down * truth.height[:, None], right, strict=True):
        image[place[0] : place[0] + len(offset), place[1] : place[1] + len(offset)] += one[:, None] * other
    image = image[reach + 1 : reach + 1 + shape[0], reach + 1 : reach + 1 + shape[1]]
    return image.astype(np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261123)


@pytest.fixture
def make_honeycomb() -> Callable[..., Truth]:
    return honeycomb


@pytest.fixture
def draw() -> Callable[..., NDArray[np.float32]]:
    return render


@pytest.fixture
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"needs the recorded micrographs in {SHARED}")
    return SHARED
