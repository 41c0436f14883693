import numpy as np
import pytest
from scipy.stats import beta

from models.concentrations import concentrations, share_quantiles


@pytest.mark.parametrize(("hits", "sites"), [(0, 400), (3, 400), (150, 4000), (40, 60)])
def test_sites_without_doubt_give_the_jeffreys_interval(hits, sites):
    probability = np.zeros(sites)
    probability[:hits] = 1
    low, middle, high = share_quantiles(probability, 0.03)
    expected = beta(hits + 0.5, sites - hits + 0.5).ppf([0.025, 0.5, 0.975])
    assert np.allclose([low, middle, high], expected, rtol=0.02, atol=2e-5)


def test_what_is_not_there_may_be_not_there_at_all():
    nothing, all_of_them = np.full(500, 1e-6), np.full(500, 1 - 1e-6)
    assert share_quantiles(nothing, 0.03)[0] == 0.0
    assert share_quantiles(all_of_them, 0.03)[2] == 1.0
    one = nothing.copy()
    one[7] = 1.0
    assert share_quantiles(one, 0.03)[0] > 0.0


def test_doubtful_sites_widen_the_interval(rng):
    truth = rng.random(3000) < 0.05
    score = rng.normal(np.where(truth, 2.0, 0.0), 1)
    odds = 0.05 / 0.95 * np.exp(2 * score - 2)
    low, _, high = share_quantiles(odds / (1 + odds), 0.05)
    sure_low, _, sure_high = share_quantiles(truth.astype(float), 0.05)
    assert high - low > 1.3 * (sure_high - sure_low)
    assert low < truth.mean() < high


@pytest.mark.parametrize(("off_by", "least", "most"), [(0.4, 0.9, 0.99), (0.0, 0.95, 1.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(rng, off_by, least, most):
    """Where the likelihoods of all sites of a frame are off alike, as those of faint frames are."""
    held = 0
    for _ in range(200):
        share = rng.uniform(0.01, 0.1)
        truth = rng.random(800) < share
        score = rng.normal(np.where(truth, 2.5, 0.0), 1)
        odds = 0.03 / 0.97 * np.exp(2.5 * score - 2.5**2 / 2 + rng.normal(0, off_by))
        low, _, high = share_quantiles(odds / (1 + odds), 0.03)
        held += low <= share <= high
    assert least <= held / 200 <= most


def test_an_undoped_specimen_has_no_dopants_to_count():
    probability = np.tile([[0.5, 0, 0, 0.5, 0]], (10, 1))
    prior = np.array([0.48, 0.01, 0.01, 0.5, 0.0])
    names = [c.defect for c in concentrations(probability, prior, np.arange(10) < 5, is_doped=False)]
    assert names == ["vac1", "vac2"]
