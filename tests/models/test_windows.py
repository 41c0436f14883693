import numpy as np
import pytest

from drivers.contract.header import Window
from models.windows import lay_into, surroundings

PLACE = Window(row_px=40, col_px=50, rows_px=30, cols_px=36)
LATTICE = 12.0


def picture(shift=(0.0, 0.0), edge=128):
    """A triangular lattice of period `LATTICE`, moved by (rows, columns)."""
    row, col = np.mgrid[:edge, :edge] - np.array(shift)[:, None, None]
    waves = [
        np.cos(2 * np.pi * (row * np.sin(angle) + col * np.cos(angle)) / (LATTICE * np.sqrt(3) / 2))
        for angle in np.deg2rad([10.0, 70.0, 130.0])
    ]
    return 10.0 + np.sum(waves, axis=0)


def window_of(whole):
    rows = slice(PLACE.row_px, PLACE.row_px + PLACE.rows_px)
    cols = slice(PLACE.col_px, PLACE.col_px + PLACE.cols_px)
    return whole[rows, cols]


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-5, 4)])
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_the_lattice_of_the_field_goes_on_into_the_window(shift, noise):
    rng = np.random.default_rng(1)
    now = picture(shift)
    window = window_of(now) + rng.normal(0, noise, (PLACE.rows_px, PLACE.cols_px))
    laid, _ = lay_into(picture(), window, PLACE, LATTICE)
    np.testing.assert_allclose(window_of(laid), window, rtol=1e-6)
    around = laid[20:40, 50:86]
    likeness = np.corrcoef(around.ravel(), now[20:40, 50:86].ravel())[0, 1]
    assert likeness > 0.95


def test_the_field_is_brightened_to_the_window():
    laid, _ = lay_into(picture(), 7.0 * window_of(picture()), PLACE, LATTICE)
    np.testing.assert_allclose(laid, 7.0 * picture(), rtol=0.02)


def test_a_window_in_the_corner_is_laid_in_too():
    place = Window(row_px=98, col_px=0, rows_px=30, cols_px=36)
    laid, _ = lay_into(picture(), picture()[98:, :36], place, LATTICE)
    np.testing.assert_allclose(laid, picture(), rtol=1e-5)


def test_a_window_that_shows_little_stays_where_the_last_one_was():
    rng = np.random.default_rng(3)
    place = Window(row_px=60, col_px=60, rows_px=8, cols_px=8)
    noise = rng.poisson(10.0, (8, 8)).astype(float)
    for expected in ((0, 0), (2, -3)):
        _, moved = lay_into(picture(), noise, place, LATTICE, expected=expected, elapsed_s=0.05)
        assert np.abs(np.subtract(moved, expected)).max() <= 2


def test_a_window_is_read_with_what_is_around_it():
    around = surroundings(PLACE, (1000, 70), LATTICE)
    assert (around.row_px, around.col_px) == (0, 0)
    assert around.rows_px == PLACE.row_px + PLACE.rows_px + 8 * LATTICE
    assert around.cols_px == 70
