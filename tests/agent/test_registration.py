import numpy as np
import pytest

from agent.registration import LEAST_MARGIN_NATS, Expectation, Placed, posterior_ratios, register
from agent.sites import count_sites

#: As learnt from columns among which no defect was found.
CLEAN = np.array([0.9985, 0.001, 0.0005, 0.9995, 0.0005])

SHARES = np.array([0.95, 0.04, 0.01, 0.99, 0.01])


def placed(scan, toward_deg=17.0):
    sites = count_sites(scan.positions_angstrom, scan.is_metal, toward_deg=toward_deg)
    return Placed(sites, scan.layers[0].log_likelihood[sites.member])


def shift_of(reference, first, other, second, specimen):
    """The true shift, from the specimen's own cells."""
    own = specimen.cell[first[reference.sites.member]] - reference.sites.cell
    others = specimen.cell[second[other.sites.member]] - other.sites.cell
    return tuple(np.median(others - np.median(own, axis=0), axis=0).astype(int))


@pytest.mark.parametrize("seed", range(4))
def test_finds_the_cell_after_up_to_half_a_field_of_drift(make_specimen, contexts, seed):
    rng = np.random.default_rng(seed)
    specimen = make_specimen(seed, 220.0)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.5) * 100
    place = length * np.array([np.sin(angle), np.cos(angle)])
    distortion = np.eye(2) + rng.uniform(-0.03, 0.03, (2, 2))
    scan, first = specimen.look((0.0, 0.0), 100.0)
    later, second = specimen.look(tuple(place), 100.0, contexts.maadf, distortion=distortion)
    reference, other = placed(scan), placed(later)
    found = register(reference, other, SHARES, Expectation(np.zeros(2), 40.0))
    assert found.is_decided
    assert found.doubt == ""
    assert found.shift == shift_of(reference, first, other, second, specimen)
    np.testing.assert_allclose(found.drift_angstrom, -place, rtol=0, atol=2.0)


def test_without_defects_half_a_cell_cannot_be_told_and_it_says_so(make_specimen):
    specimen = make_specimen(1, 150.0, shares=(1.0, 0.0, 0.0, 1.0, 0.0))
    half = specimen.basis[0] / 2
    scan, _ = specimen.look((0.0, 0.0), 80.0, dose=1e6)
    later, _ = specimen.look((0.0, 0.0), 80.0, dose=1e6)
    found = register(placed(scan), placed(later), CLEAN, Expectation(half, 1.0))
    assert not found.is_decided
    assert found.margin_nats < 1.0  # about as likely one cell on
    assert np.abs(np.subtract(found.runner_up, found.shift)).max() == 1
    assert "cannot be told" in found.doubt
    assert "scan a larger field" in found.doubt


def test_without_defects_the_stage_decides_where_it_is_sure(make_specimen):
    specimen = make_specimen(1, 150.0, shares=(1.0, 0.0, 0.0, 1.0, 0.0))
    scan, first = specimen.look((0.0, 0.0), 80.0, dose=1e6)
    later, second = specimen.look((0.5, -0.4), 80.0, dose=1e6)
    reference, other = placed(scan), placed(later)
    found = register(reference, other, CLEAN, Expectation(np.zeros(2), 0.4))
    assert found.is_decided
    assert found.shift == shift_of(reference, first, other, second, specimen)
    wide = register(reference, other, CLEAN, Expectation(np.zeros(2), 20.0))
    assert not wide.is_decided


def test_another_specimen_is_never_taken_for_this_one(make_specimen):
    claims = []
    for seed in range(6):
        scan, _ = make_specimen(seed, 120.0).look((0.0, 0.0), 90.0)
        other, _ = make_specimen(100 + seed, 120.0).look((0.0, 0.0), 90.0)
        claims.append(
            register(placed(scan), placed(other), SHARES, Expectation(np.zeros(2), 30.0)).is_decided
        )
    assert not any(claims)


def test_a_turned_lattice_is_another_grain(make_specimen):
    scan, _ = make_specimen(0, 90.0, turn_deg=0.0).look((0.0, 0.0), 80.0)
    turned, _ = make_specimen(0, 90.0, turn_deg=25.0).look((0.0, 0.0), 80.0)
    assert register(placed(scan, 0.0), placed(turned, 0.0), SHARES, Expectation(np.zeros(2), 10.0)) is None


def test_margins_are_odds_that_hold(make_specimen):
    """Of small faint fields, those decided are right 99 times of 100, and some are left undecided."""
    right, decided = 0, 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        specimen = make_specimen(seed, 90.0)
        place = rng.uniform(-8, 8, 2)
        scan, first = specimen.look((0.0, 0.0), 34.0, dose=8e3)
        later, second = specimen.look(tuple(place), 34.0, dose=8e3)
        reference, other = placed(scan), placed(later)
        found = register(reference, other, SHARES, Expectation(np.zeros(2), 8.0))
        if found.margin_nats >= LEAST_MARGIN_NATS:
            decided += 1
            right += found.shift == shift_of(reference, first, other, second, specimen)
    assert 5 <= decided < 30
    assert decided - right <= 1


def test_ratios_average_to_one_under_the_prior(make_specimen):
    scan, _ = make_specimen(0, 60.0).look((0.0, 0.0), 50.0)
    logs = scan.layers[0].log_likelihood
    ratios = posterior_ratios(logs, scan.is_metal, SHARES)
    weight = np.where(scan.is_metal[:, None], [0, 0, 0, 0.99, 0.01], [0.95, 0.04, 0.01, 0, 0])
    np.testing.assert_allclose((ratios * weight).sum(axis=1), 1.0)
