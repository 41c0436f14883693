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


SHARES = np.array([0.56, 0.035, 0.004, 0.39, 0.011])


def sure_sites():
    """1000 chalcogen sites, 40 of them single vacancies and 5 double ones; 600 metal sites, 12 dopants."""
    classes = np.repeat(np.arange(5), (955, 40, 5, 588, 12))
    return np.eye(5)[classes], classes >= 3


def soft_sites(rng, prior):
    """Probabilities of 1500 sites under one prior or another, the columns being the same."""
    classes = np.repeat(np.arange(5), (850, 40, 10, 580, 20))
    likelihood = np.exp(5 * np.eye(5)[classes] + rng.normal(0, 1.0, (len(classes), 5)))
    on_metal = classes >= 3
    likelihood *= on_metal[:, None] == (np.arange(5) >= 3)
    joint = likelihood * prior
    return joint / joint.sum(1, keepdims=True), on_metal


def quantiles(found):
    return np.array([(one.low, one.value, one.high) for one in found])


def test_every_defect_is_counted_on_its_own_sublattice():
    vac1, vac2, dopant = concentrations(sure_sites()[0], SHARES, sure_sites()[1])
    for one, hits, sites, of in (
        (vac1, 40, 1000, "chalcogen sites"),
        (vac2, 5, 1000, "chalcogen sites"),
        (dopant, 12, 600, "metal sites"),
    ):
        assert (one.sites, one.of) == (sites, of)
        assert one.expected_count == pytest.approx(hits)
        assert one.value == pytest.approx(hits / sites, rel=0.08)
        assert one.low < hits / sites < one.high


def test_shares_are_those_of_the_columns_and_not_of_the_prior_that_they_were_read_under():
    other = np.array([0.42, 0.12, 0.003, 0.4, 0.057])  # X2 and VAC2, that VAC1 is told from, in one ratio
    first, second = (
        quantiles(concentrations(probability, prior, on_metal))[[0, 2]]
        for prior in (SHARES, other)
        for probability, on_metal in [soft_sites(np.random.default_rng(4), prior)]
    )
    assert np.allclose(first, second, rtol=0.01, atol=1e-5)


def test_what_a_column_may_be_on_the_other_sublattice_changes_no_share(rng):
    """As where it is not decided which sublattice is the metal."""
    probability, on_metal = soft_sites(rng, SHARES)
    mixed = 0.7 * probability
    mixed[:, 0] += np.where(on_metal, 0.3, 0)
    mixed[:, 3] += np.where(on_metal, 0, 0.3)
    plain, torn = (quantiles(concentrations(one, SHARES, on_metal)) for one in (probability, mixed))
    assert np.allclose(plain, torn, rtol=1e-6)


def test_a_class_that_was_ruled_out_is_nowhere_and_no_site_tells_nothing():
    assert share_quantiles(np.full(30, 0.2), 0.0) == (0.0, 0.0, 0.0)
    low, _, high = share_quantiles(np.zeros(0), 0.03)
    assert (low, high) == (0.0, 1.0)
