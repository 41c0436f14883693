import json
from dataclasses import replace

import numpy as np
import pytest

from drivers.contract.context import HAADF, MAADF, ColumnClass, Context, Detector, Specimen
from drivers.contract.errors import InputError
from models.contexts import context_name, reference_contexts
from models.fusion import (
    ON_METAL,
    START_SHARES,
    SourceErrors,
    calibrate,
    fuse,
    is_taken_for_whole,
    joint_separation,
    likelihoods,
    said,
    source_errors,
    source_weights,
)
from models.fusion_law import context_key, law_as_plain, law_from_plain, load_shipped_law


@pytest.fixture
def law():
    return load_shipped_law("mlp-simple")


def test_likelihoods_are_posteriors_over_priors():
    prior = np.array([0.6, 0.05, 0.01, 0.33, 0.01])
    likelihood = np.array([[0.2, 0.9, 0.1, 0.0, 0.0], [0.0, 0.0, 0.0, 0.4, 0.8]])
    joint = likelihood * prior
    logs = likelihoods(joint / joint.sum(axis=1, keepdims=True), prior, np.array([False, True]))
    np.testing.assert_allclose(logs[0, :3], np.log(likelihood[0, :3] / 0.9))
    np.testing.assert_allclose(logs[1, 3:], np.log(likelihood[1, 3:] / 0.8))
    assert np.isneginf(logs[0, 3:]).all()
    assert np.isneginf(logs[1, :3]).all()


def test_certainty_is_bounded():
    logs = likelihoods(np.array([[1.0, 0.0, 0.0, 0.0, 0.0]]), np.full(5, 0.2), np.array([False]))
    assert logs[0, 1] == -25.0


def test_a_source_alone_counts_whole_and_two_equal_ones_share_what_is_common():
    np.testing.assert_allclose(source_weights(np.array([0.0, 0.7]), 0.3), [0.0, 1.0])
    np.testing.assert_allclose(source_weights(np.array([0.7, 0.7]), 0.3), [1 / 1.3, 1 / 1.3])
    np.testing.assert_allclose(source_weights(np.full(4, 0.2), 0.3), np.full(4, 1 / 1.9))
    np.testing.assert_allclose(source_weights(np.zeros(3), 0.3), 0.0)
    np.testing.assert_allclose(source_weights(np.array([0.5, 0.1]), 0.0), [1.0, 1.0])


def test_weights_and_separations_are_those_of_generalised_least_squares():
    rng = np.random.default_rng(0)
    correlation = np.where(np.eye(3) > 0, 1.0, 0.2)
    for strength in rng.uniform(0.4, 1.0, (20, 3)):
        root = np.sqrt(strength)
        solved = np.linalg.solve(correlation, root)
        np.testing.assert_allclose(source_weights(strength, 0.2), solved / root)
        np.testing.assert_allclose(joint_separation(strength, 0.2), root @ solved)


def test_a_faint_source_takes_nothing_from_a_strong_one():
    """A frame of next to no dose must not make what is known less sure."""
    weights = source_weights(np.array([[0.9, 1e-6], [0.9, 0.05]]), 0.3)
    np.testing.assert_allclose(weights[0], [1.0, 0.0])
    grown = joint_separation(np.array([[0.9, dose] for dose in np.geomspace(1e-6, 0.9, 40)]), 0.3)
    assert (np.diff(grown) >= -1e-12).all()
    assert grown[0] == pytest.approx(0.9)
    assert grown[-1] == pytest.approx(2 * 0.9 / 1.3)


def test_what_a_source_has_said_rises_to_all_it_can(law):
    half = law.half_dose_e_per_a2
    np.testing.assert_allclose(said(np.array([0.0, half, 1e12]), law), [0.0, 0.5, 1.0])


def made_up_ratios(rng, count, correlation, separations):
    """Calibrated log ratios (count, 2) of whole columns whose errors are correlated."""
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    roots = np.sqrt(separations)
    return rng.multivariate_normal(np.zeros(2), covariance, count) * roots - roots**2 / 2


def test_whole_columns_show_how_sure_sources_are_and_how_far_they_stray_together(law):
    rng = np.random.default_rng(8)
    part = np.full((4000, 2), 0.5)
    for correlation in (0.0, 0.3, 0.6):
        shown = source_errors(made_up_ratios(rng, 4000, correlation, (20.0, 40.0)), part, law)
        assert shown.correlation == pytest.approx(1.3 * correlation, abs=0.06)
        assert shown.strength[1] / shown.strength[0] == pytest.approx(2.0, rel=0.06)
    assert source_errors(made_up_ratios(rng, 4000, 0.95, (20.0, 40.0)), part, law).correlation == 0.9
    # A source of twice the dose claims more, but is no stronger.
    twice = source_errors(made_up_ratios(rng, 4000, 0.3, (20.0, 40.0)), part * [1.0, 2.0], law)
    np.testing.assert_allclose(twice.strength, 1.0, rtol=0.05)


def test_few_columns_leave_the_law_s_own_figures(law):
    rng = np.random.default_rng(9)
    for ratio in (np.zeros((0, 3)), np.full((20, 3), np.nan), np.zeros((20, 3))):
        shown = source_errors(ratio, np.full(ratio.shape, 0.5), law)
        assert shown.correlation == pytest.approx(law.correlation)
        np.testing.assert_allclose(shown.strength, 1.0)
    some = made_up_ratios(rng, 10, 0.9, (20.0, 40.0))
    assert source_errors(some, np.full((10, 2), 0.5), law).correlation < 0.5
    # Columns that only one source has seen say nothing of two.
    apart = made_up_ratios(rng, 400, 0.0, (30.0, 30.0))
    apart[:200, 0], apart[200:, 1] = np.nan, np.nan
    assert source_errors(apart, np.full((400, 2), 0.5), law).correlation == pytest.approx(law.correlation)


def test_frames_split_in_two_say_the_same(law):
    """The law asks only what dose a source has given, not in how many frames."""
    half, errors, rng = law.half_dose_e_per_a2, np.array([0.7, -1.2]), np.random.default_rng(3)
    for doses in ([1e4], [4e3, 6e3], [2e3, 3e3, 5e3]):
        dose = np.array(doses)[:, None]
        noise = rng.normal(size=(len(doses), 2)) * np.sqrt(half / dose)
        single = (errors + noise) / (1 + half / dose)  # what each frame says for VAC1 of two columns
        sums = np.zeros((1, 2, 5))
        sums[0, :, ColumnClass.VAC1] = (single * (dose + half)).sum(axis=0)
        fused, correlation = fuse(sums, np.full((1, 2), dose.sum()), np.zeros(2, bool), law)
        mean = (dose * noise).sum(axis=0) / dose.sum()
        np.testing.assert_allclose(fused[:, ColumnClass.VAC1], (errors + mean) / (1 + half / dose.sum()))
        assert np.isneginf(fused[:, ColumnClass.METAL]).all()
        assert correlation == law.correlation


def test_two_sources_are_weighed_by_what_is_their_own(law):
    """As few columns show nothing, two equal sources count 1 / (1 + correlation) each."""
    dose, sums = np.full((2, 1), law.half_dose_e_per_a2), np.zeros((2, 1, 5))
    sums[:, 0, ColumnClass.DOPANT] = 3.0 * 2 * law.half_dose_e_per_a2
    fused, _ = fuse(sums, dose, np.array([True]), law)
    assert fused[0, ColumnClass.DOPANT] == pytest.approx(6.0 / (1 + law.correlation))


def test_frames_are_believed_as_the_law_has_it_for_their_dose(law):
    logs = np.array([[0.0, -4.0, -8.0, -np.inf, -np.inf], [-np.inf, -np.inf, -np.inf, 0.0, -4.0]])
    is_metal = np.array([False, True])
    of_dose = law.scales | {"HAADF": ((0.5, 0.6, 0.7, 0.8, 0.9), (0.7, 0.8, 0.9, 1.0, 1.1))}
    faint, bright = (
        calibrate(logs, is_metal, HAADF, 10**dose, replace(law, scales=of_dose))
        for dose in law.log10_doses[:: len(law.log10_doses) - 1]
    )
    np.testing.assert_allclose(faint[0, :3], 0.5 * logs[0, :3])
    np.testing.assert_allclose(faint[1, 3:], 0.7 * logs[1, 3:])
    np.testing.assert_allclose(bright[0, :3], 0.9 * logs[0, :3])
    np.testing.assert_allclose(bright[1, 3:], 1.1 * logs[1, 3:])
    assert np.isneginf(faint[0, 3:]).all()
    np.testing.assert_array_equal(calibrate(logs, is_metal, HAADF, None, law), logs)


def test_the_shipped_law_knows_every_reference_context(law):
    for context in reference_contexts():
        assert context_key(context) == context_name(context)
        assert min(law.separation(context)) > 0
        bare = Context(
            specimen=Specimen(host=context.specimen.host),
            energy_kev=context.energy_kev,
            detector=context.detector,
        )
        assert law.separation(bare)[:2] == law.separation(context)[:2]
    assert 0 < law.correlation < 1
    assert 1e3 < law.half_dose_e_per_a2 < 1e6


def test_an_annulus_of_one_s_own_goes_by_the_one_that_its_maps_are_read_by(law):
    own = Context(
        specimen=Specimen(host="WSe2", dopant="Ti"),
        energy_kev=80.0,
        detector=Detector(name="ADF 32-120 mrad", inner_mrad=32.0, outer_mrad=120.0),
    )
    assert context_key(own) == "WSe2-Ti 80 keV MAADF"
    np.testing.assert_array_equal(law.scale(own.detector, 1e4), law.scale(MAADF, 1e4))
    for name, inner, outer in (("BF", 0.0, 20.0), ("ADF", 35.0, 120.0), ("HAADF", 40.0, 280.0)):
        strange = Detector(name=name, inner_mrad=inner, outer_mrad=outer)
        with pytest.raises(InputError, match=f"{inner:g}-{outer:g} mrad"):
            law.separation(own.rebuilt(detector=strange))
        with pytest.raises(InputError, match=f"{inner:g}-{outer:g} mrad"):
            law.scale(strange, 1e4)
    elsewhere = Context(specimen=own.specimen, energy_kev=300.0, detector=HAADF)
    with pytest.raises(InputError, match="300 keV"):
        law.separation(elsewhere)


def test_the_law_survives_json_and_damage_is_refused(law):
    plain = json.loads(json.dumps(law_as_plain(law, {"what": "test"})))
    again = law_from_plain(plain)
    assert again.correlation == law.correlation
    assert again.separations == law.separations
    np.testing.assert_allclose(again.scales["MAADF"], law.scales["MAADF"])
    for damage in ({"format": 99}, {"scales": None}, {"separations": {"x": [1.0]}}):
        with pytest.raises(InputError, match="columnist derive fusion"):
            law_from_plain(plain | damage)
    with pytest.raises(InputError, match="derive fusion --network attn-4k-none"):
        load_shipped_law("attn-4k-none")


def test_starting_shares_are_whole_within_a_sublattice():
    assert list(ON_METAL) == [k in (ColumnClass.METAL, ColumnClass.DOPANT) for k in ColumnClass]
    assert [START_SHARES[side].sum() for side in (ON_METAL, ~ON_METAL)] == pytest.approx([1, 1])


def test_a_source_that_is_stronger_for_vacancies_weighs_more_there_and_no_more_for_metals():
    weak_and_strong = SourceErrors(np.array([0.5, 1.5]), 0.4)
    chalcogen, metal = weak_and_strong.weights(np.full((2, 2), 0.6), np.array([False, True]))
    np.testing.assert_allclose(metal, 1 / 1.4)
    assert chalcogen[0] < 1 / 1.4 < chalcogen[1]


def test_a_source_that_is_far_weaker_is_known_for_it(law):
    rng = np.random.default_rng(10)
    shown = source_errors(made_up_ratios(rng, 4000, 0.3, (6.0, 40.0)), np.full((4000, 2), 0.5), law)
    assert shown.strength[1] / shown.strength[0] == pytest.approx(40 / 6, rel=0.1)


def seen_by_two(rng, law, correlation, *, chalcogens=3000, metals=2000, vacancies=600):
    """Sums and doses of two sources of the same half dose each, whose errors are correlated."""
    ratio = made_up_ratios(rng, chalcogens + metals, correlation, (30.0, 30.0)).T  # (2, C)
    ratio[:, :vacancies] += 30.0
    dose = np.full(ratio.shape, law.half_dose_e_per_a2)
    sums, is_metal = np.zeros((*ratio.shape, 5)), np.arange(ratio.shape[1]) >= chalcogens
    sums[:, ~is_metal, ColumnClass.VAC1] = ratio[:, ~is_metal] * 2 * law.half_dose_e_per_a2
    sums[:, ~is_metal, ColumnClass.VAC2] = -50.0 * 2 * law.half_dose_e_per_a2
    sums[:, is_metal, ColumnClass.DOPANT] = ratio[:, is_metal] * 2 * law.half_dose_e_per_a2
    return sums, dose, is_metal, ratio


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_two_sources_add_up_as_far_as_whole_columns_show_them_to_be_independent(law, correlation):
    rng = np.random.default_rng(11)
    sums, dose, is_metal, ratio = seen_by_two(rng, law, correlation)
    fused, found = fuse(sums, dose, is_metal, law)
    assert found == pytest.approx(1.3 * correlation, abs=0.08)
    np.testing.assert_allclose(fused[is_metal, 4], ratio.sum(axis=0)[is_metal] / (1 + found))
    np.testing.assert_allclose(fused[~is_metal, 1], ratio.sum(axis=0)[~is_metal] / (1 + found), rtol=0.2)


def test_a_source_that_has_not_looked_yet_shows_nothing_of_how_far_sources_stray_together(law):
    sums, dose, is_metal, _ = seen_by_two(np.random.default_rng(12), law, 0.6)
    blind = np.arange(len(is_metal)) % 2 == 0
    sums[1, blind], dose[1, blind] = 0.0, 0.0
    assert fuse(sums, dose, is_metal, law)[1] == pytest.approx(1.3 * 0.6, abs=0.08)


def test_a_column_is_taken_for_whole_unless_more_speaks_for_a_vacancy_than_they_are_rare():
    """27 times as many columns are whole as lack an atom."""
    fused = np.full((4, 5), -np.inf)
    fused[:3, :3] = [[0, 0, -5], [-2, 0, -5], [-5, 0, -9]]
    fused[3, 3:] = [0, -9]
    assert is_taken_for_whole(fused).tolist() == [True, True, False, False]
