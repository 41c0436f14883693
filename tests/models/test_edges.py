import numpy as np
import pytest

from models.reading import read_columns


@pytest.mark.parametrize("lattice_px", [9.0, 24.0])
def test_noise_of_pixels_counts_no_more_at_the_edges_than_inside(make_honeycomb, draw, rng, lattice_px):
    """However many pixels a disc holds; of one that is cut at its middle half are missing."""
    shape = (round(20 * lattice_px),) * 2
    truth = make_honeycomb(shape, lattice_px=lattice_px)
    noise = 0.02 * lattice_px  # as many electrons a column
    reading = read_columns(draw(truth, shape, sigma_px=0.16 * lattice_px) + rng.normal(0, noise, shape))
    edge = reading.covered & ~reading.whole
    assert edge.sum() > 60
    for sublattice in (0, 1):
        of = reading.lattice.sublattice == sublattice
        at_edges, inside = (reading.moments[of & which].numpy() for which in (edge, reading.whole))
        spread, usual = (np.abs(m - np.median(inside, axis=0)).mean(axis=0) for m in (at_edges, inside))
        assert (spread < 1.6 * usual).all()
