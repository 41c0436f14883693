import numpy as np
import pytest

from models.channel import SHARE, binary_entropy, entropy_left, separation_of, separation_seen


def test_nothing_measured_leaves_the_prior_and_a_perfect_measurement_nothing():
    prior = -(0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    assert entropy_left(0.0, 0.1) == pytest.approx(prior)
    assert entropy_left(200.0, 0.1) < 1e-6
    assert (np.diff(entropy_left(np.geomspace(0.01, 100, 50), 0.03)) < 0).all()


def test_entropy_left_is_that_of_simulated_measurements():
    rng = np.random.default_rng(0)
    for separation in (1.0, 4.0, 12.0):
        there = rng.random(400_000) < SHARE
        measured = np.sqrt(separation) * there + rng.normal(size=len(there))
        odds = np.log(SHARE / (1 - SHARE)) + np.sqrt(separation) * measured - separation / 2
        assert binary_entropy(odds).mean() == pytest.approx(float(entropy_left(separation, SHARE)), rel=0.02)


def test_binary_entropy_keeps_its_head_in_the_tails():
    assert binary_entropy(np.array([0.0]))[0] == pytest.approx(np.log(2))
    np.testing.assert_allclose(binary_entropy(np.array([800.0, -800.0])), 0.0)
    np.testing.assert_allclose(binary_entropy(np.array([10.0])), binary_entropy(np.array([-10.0])))


@pytest.mark.parametrize("separation", [0.1, 1.0, 5.0, 20.0, 40.0])
def test_a_separation_is_found_again(separation):
    assert separation_of(float(entropy_left(separation, SHARE))) == pytest.approx(separation, rel=0.02)
    rng = np.random.default_rng(1)
    noise = np.sqrt(separation) * rng.normal(size=(2, 200_000))
    seen = separation_seen(-separation / 2 + noise[0], separation / 2 + noise[1])
    assert seen == pytest.approx(separation, rel=0.1)
