import numpy as np
import pytest
from scipy.spatial import cKDTree

from models.columns import LOG_SCALE, filter_columns, find_maxima
from models.frames import standardise


@pytest.mark.parametrize("lattice_px", [8.5, 12.0, 24.0])
def test_isolated_columns_are_found_to_a_fiftieth_of_a_pixel_and_more(draw, make_honeycomb, lattice_px):
    shape = (240, 240)
    truth = make_honeycomb(shape, lattice_px=6 * lattice_px)
    image = standardise(draw(truth, shape, sigma_px=0.16 * lattice_px))
    maxima = find_maxima(filter_columns(image, lattice_px), lattice_px)
    inner = truth.inside(shape, lattice_px)
    distance, _ = cKDTree(maxima.positions.numpy()).query(inner.positions)
    assert distance.max() < 0.05


def test_the_filter_is_blind_to_a_linear_background():
    row, column = np.indices((128, 128))
    filtered = filter_columns(standardise(row + 2.0 * column), 10.0)
    inner = filtered[32:-32, 32:-32]
    assert float(inner.abs().max()) < 1e-3


def test_there_are_no_maxima_where_the_filter_mixes_opposite_edges(rng):
    filtered = filter_columns(standardise(rng.normal(size=(100, 90))), 12.0)
    positions = find_maxima(filtered, 12.0).positions
    margin = 2 * LOG_SCALE * 12.0 - 1
    assert float(positions.min()) >= margin
    assert float(positions[:, 0].max()) <= 99 - margin
    assert float(positions[:, 1].max()) <= 89 - margin
