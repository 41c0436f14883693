import numpy as np
import pytest
import torch

from models.frames import blur, standardise
from models.normalise import normalise


def test_gain_and_offset_that_vary_slowly_are_taken_out(make_honeycomb, draw):
    shape = (300, 300)
    image = draw(make_honeycomb(shape, lattice_px=10.0), shape, sigma_px=1.6)
    row, column = np.indices(shape)
    uneven = (1 + row / 600) * image + column / 100
    even, mended = (normalise(standardise(frame), 10.0) for frame in (image, uneven))
    inner = (slice(80, -80), slice(80, -80))
    assert float((even - mended)[inner].square().mean().sqrt()) < 0.03


def test_local_mean_and_deviation_become_zero_and_one(make_honeycomb, draw):
    shape = (256, 200)
    image = draw(make_honeycomb(shape, lattice_px=10.0), shape, sigma_px=1.6)
    result = normalise(standardise(image), 10.0)
    assert result.shape == shape
    assert float(result.mean()) == pytest.approx(0, abs=0.02)
    assert float(blur(result, 1.0).square().mean()) == pytest.approx(1, abs=0.03)


def test_vacuum_is_not_blown_up(make_honeycomb, draw, rng):
    shape = (256, 256)
    image = draw(make_honeycomb(shape, lattice_px=10.0), shape, sigma_px=1.6)
    image[:, 100:] = 0
    result = normalise(standardise(image + rng.normal(0, 1e-4, shape)), 10.0)
    assert torch.isfinite(result).all()
    assert float(result[:, 220:].std()) < 0.1
