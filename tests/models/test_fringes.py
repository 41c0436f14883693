import numpy as np
import pytest
import torch

from models.fringes import fringe_phases
from models.scale import lattice_vectors

SHAPE, TILE_PX = (240, 300), 20.0
GRID = (12, 15)


@pytest.fixture
def vectors() -> torch.Tensor:
    angle = np.deg2rad([11.0, 71.0])
    return torch.tensor(12.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1))


def wave(vectors: torch.Tensor, aside: np.ndarray) -> torch.Tensor:
    """The three waves of a lattice whose hexagons' centres are dark, moved by (row, column) [px]."""
    rows, columns = np.indices(SHAPE)
    reciprocal = np.linalg.inv(vectors.numpy()).T
    place = np.stack([rows - aside[0], columns - aside[1]], axis=-1)
    cycles = [place @ b for b in (*reciprocal, -reciprocal.sum(0))]
    return torch.tensor(-sum(np.cos(2 * np.pi * c) for c in cycles)).float()


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_phases_tell_how_far_the_lattice_is_aside_and_where_its_hexagons_are(vectors, rng, noise):
    parts = np.array([0.3, -0.2])
    image = wave(vectors, parts @ vectors.numpy()) + noise * torch.tensor(rng.normal(size=SHAPE)).float()
    phase, coherence, triple = fringe_phases(image, vectors, TILE_PX, GRID)
    assert phase.shape == (*GRID, 2)
    centre = torch.angle(triple.sum()) / 3 / (2 * np.pi)  # up to a third: one of the three sites of a cell
    away = phase + centre - torch.tensor(parts)
    thirds = 3 * away - torch.round(3 * away)
    assert float(thirds.abs().mean()) < 0.02 + 0.03 * noise
    assert (coherence > 0.55).float().mean() > 0.95


def test_noise_alone_is_not_trusted(vectors, rng):
    image = torch.tensor(rng.normal(size=SHAPE)).float()
    _, coherence, _ = fringe_phases(image, vectors, TILE_PX, GRID)
    assert (coherence > 0.35).float().mean() < 0.2


def test_fringes_of_a_frame_go_where_its_columns_are(make_honeycomb, draw, vectors):
    truth = make_honeycomb(SHAPE, lattice_px=12.0)
    there = truth.select(truth.positions[:, 1] < 150)
    image = torch.tensor(draw(there, SHAPE, sigma_px=3.5))
    found = lattice_vectors(image / image.std())
    _, coherence, _ = fringe_phases(image, found, TILE_PX, GRID)
    assert (coherence[:, :6] > 0.5).all()
    assert (coherence[:, 11:] < 0.35).all()
