import numpy as np
import pytest

from sim_microscope.column_build import Settings, displacement_quadrature


def test_the_quadrature_has_the_moments_of_a_gaussian():
    points = displacement_quadrature(0.1, Settings())
    weights = np.array([w for w, _ in points])
    vectors = np.array([v for _, v in points])
    assert weights.sum() == pytest.approx(1.0)
    # The mirror image of every point, across the line of probes, is left to symmetry.
    both = np.concatenate([vectors, vectors * [-1, 1]])
    doubled = np.concatenate([weights, weights]) / 2
    np.testing.assert_allclose(doubled @ both, 0.0, atol=1e-12)
    np.testing.assert_allclose((both * doubled[:, None]).T @ both, np.eye(2) * 0.01, atol=1e-12)
    assert doubled @ np.sum(both**2, axis=1) ** 2 == pytest.approx(8 * 0.1**4)
