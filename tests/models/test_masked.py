"""Filters that take out what lies between a lattice's spots are told, whatever else was done is not."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, median_filter, zoom

from models.frames import standardise
from models.masked import is_masked
from models.scale import lattice_vectors

SHAPE = (400, 400)


@pytest.fixture
def crystal(make_honeycomb, draw, rng):
    """Some columns of every hundred are dimmer than the others, as vacancies and dopants are."""
    truth = make_honeycomb(SHAPE, lattice_px=11.0)
    truth = truth.dimmed(rng.choice(len(truth.height), len(truth.height) // 40, replace=False), 0.5)
    return draw(truth, SHAPE, sigma_px=1.9)


def spectrum(frame):
    return np.fft.fftshift(np.fft.fft2(frame))


def image(transformed):
    return np.fft.ifft2(np.fft.ifftshift(transformed)).real


def radius():
    row, column = np.indices(SHAPE)
    return np.hypot(row - 200, column - 200)


def bragg_mask(frame, radius_px):
    """Keep discs around the 24 strongest spots."""
    transformed = spectrum(frame)
    power, kept = np.abs(transformed), radius() < radius_px
    power[radius() < 20] = 0
    for _ in range(24):
        row, column = np.unravel_index(power.argmax(), SHAPE)
        apart = np.hypot(*(np.indices(SHAPE) - np.array([row, column])[:, None, None]))
        kept |= apart < radius_px
        power[apart < 15] = 0
    return image(transformed * kept)


def less_background(frame, exponent):
    """Subtract from amplitudes (1) or powers (2) their mean at each radius: ABSF, and Wiener's filter."""
    transformed, ring = spectrum(frame), radius().astype(int)
    amount = np.abs(transformed) ** exponent
    usual = (np.bincount(ring.ravel(), amount.ravel()) / np.bincount(ring.ravel()))[ring]
    return image(transformed * np.clip(amount - usual, 0, None) / amount)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: bragg_mask(frame, 3),
        lambda frame: bragg_mask(frame, 8),
        lambda frame: less_background(frame, 1),
        lambda frame: less_background(frame, 2),
    ],
)
def test_filters_around_spots_are_told(crystal, rng, noise, spoil):
    frame = standardise(spoil(crystal + rng.normal(0, noise, SHAPE)))
    assert is_masked(frame, lattice_vectors(frame))


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
@pytest.mark.parametrize(
    "treat",
    [
        lambda frame: frame,
        lambda frame: gaussian_filter(frame, 1.5),
        lambda frame: median_filter(frame, 3),
        lambda frame: zoom(frame, 1.4),
        lambda frame: np.round(40 * frame),
        lambda frame: frame[:60, :60],
    ],
)
def test_what_keeps_single_columns_apart_is_not(crystal, rng, noise, treat):
    frame = standardise(treat(crystal + rng.normal(0, noise, SHAPE)))
    assert not is_masked(frame, lattice_vectors(frame))
