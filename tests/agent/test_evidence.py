from dataclasses import replace

import numpy as np
import pytest

from agent.belief import believe
from agent.drift import Steadiness
from agent.evidence import enter
from agent.register import empty_register
from agent.scans import join_layers, join_scans

STEADY = Steadiness()


def calibration_error(probability, label):
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == label
    bins = np.minimum((confidence * 15).astype(int), 14)
    return np.abs(np.bincount(bins, right - confidence, 15)).sum() / len(label)


def followed(specimen, law, looks):
    """Enter looks (place, context, dose); returns the register, each row's column, and the entries."""
    register, identity, entries = empty_register(), np.zeros(0, int), []
    for number, (place, context, dose) in enumerate(looks):
        scan, seen = specimen.look(place, 90.0, context, dose, taken_s=20.0 * number)
        register, entry = enter(register, scan, law, STEADY)
        entries.append(entry)
        identity = np.concatenate([identity, np.full(len(register) - len(identity), -1)])
        rows = entry.row[entry.row >= 0]
        fresh = identity[rows] < 0
        identity[rows[fresh]] = seen[entry.row >= 0][fresh]
        assert (identity[rows] == seen[entry.row >= 0]).all(), "a column was taken for another"
    return register, identity, entries


def walk(rng, count, reach=25.0):
    places = np.cumsum(rng.uniform(-reach, reach, (count, 2)), axis=0)
    return [tuple(np.clip(place, -70, 70)) for place in places]


def test_columns_keep_their_identity_over_drift_and_detectors_and_their_posteriors_hold(
    make_specimen, law, contexts
):
    doubtful, right = [], []
    for seed in range(2):
        specimen, rng = make_specimen(seed, 240.0), np.random.default_rng(seed)
        looks = [
            (place, contexts.maadf if k % 3 == 2 else contexts.haadf, 5e3)
            for k, place in enumerate(walk(rng, 8))
        ]
        register, identity, entries = followed(specimen, law, looks)
        assert all(entry.is_entered for entry in entries)
        belief = believe(register, law)
        np.testing.assert_allclose(belief.probability.sum(axis=1), 1.0)
        assert calibration_error(belief.probability, specimen.label[identity]) < 0.01
        doubt = belief.probability.max(axis=1) < 0.95
        doubtful.append(belief.probability.max(axis=1)[doubt])
        right.append((belief.probability.argmax(axis=1) == specimen.label[identity])[doubt])
    confidence, right = np.concatenate(doubtful), np.concatenate(right)
    assert len(confidence) > 30
    assert abs(confidence.mean() - right.mean()) < 0.1


def test_a_source_that_repeats_itself_is_not_believed_without_end(make_specimen, law, contexts):
    """Twelve bright frames of one detector share one error: their sum would be surer than right."""
    specimen = make_specimen(5, 100.0, shares=(0.8, 0.15, 0.05, 0.9, 0.1))
    register, identity, _ = followed(specimen, law, [((0.0, 0.0), contexts.haadf, 1e5)] * 12)
    belief = believe(register, law)
    assert calibration_error(belief.probability, specimen.label[identity]) < 0.02
    once, _, _ = followed(specimen, law, [((0.0, 0.0), contexts.haadf, 1e5)])
    most, alone = (-np.nan_to_num(believe(r, law).log_likelihood, neginf=0.0).min() for r in (register, once))
    assert most < 1.6 * alone


def test_the_prior_counts_once(make_specimen, law, contexts):
    """Scans that say nothing leave the shares that were expected, however many there are."""
    scan, _ = make_specimen(0, 60.0).look((0.0, 0.0), 50.0)
    nothing = np.where(np.isfinite(scan.layers[0].log_likelihood), 0.0, -np.inf)
    silent = replace(scan, layers=(replace(scan.layers[0], log_likelihood=nothing),))
    register, _ = enter(empty_register(), silent, law, STEADY)
    once = believe(register, law)
    np.testing.assert_allclose(once.shares, [0.9615, 0.035, 0.0035, 0.999, 0.001])
    for number in range(1, 4):
        register, _ = enter(register, replace(silent, taken_s=number * 1e-3), law, Steadiness(0.1, 0.0))
    assert register.dose_e_per_a2.max() == 4e4
    np.testing.assert_allclose(believe(register, law).probability, once.probability[: len(register)])


def test_two_detectors_read_at_once_are_one_observation(make_specimen, law, contexts):
    specimen = make_specimen(3, 70.0)
    first, seen = specimen.look((0.0, 0.0), 60.0, contexts.haadf, 1e4)
    second, also = specimen.look((0.0, 0.0), 60.0, contexts.maadf, 1e4)
    joined = join_layers(first, second)
    assert [layer.source.detector for layer in joined.layers] == ["HAADF", "MAADF"]
    assert (seen == also).all()
    register, entry = enter(empty_register(), joined, law, STEADY)
    assert register.sources == tuple(layer.source for layer in joined.layers)
    np.testing.assert_allclose(register.taken_e_per_a2, 1e4)  # the specimen took the dose once
    apart, _ = enter(empty_register(), first, law, STEADY)
    apart, _ = enter(apart, second, law, STEADY)
    np.testing.assert_allclose(apart.taken_e_per_a2, 2e4)
    assert believe(register, law).entropy_nats.mean() == pytest.approx(
        believe(apart, law).entropy_nats.mean(), rel=1e-6
    )
    assert entry.new == len(register)
    with pytest.raises(ValueError, match="none"):
        join_scans([])


def test_an_empty_map_says_nothing_beside_another_detector_s(make_specimen, contexts):
    specimen = make_specimen(3, 70.0)
    full, _ = specimen.look((0.0, 0.0), 60.0, contexts.haadf, 1e4)
    empty, _ = specimen.look((500.0, 0.0), 60.0, contexts.maadf, 1e4)
    assert len(empty.grain) == 0
    assert join_scans([full, empty]) is full
    assert join_scans([empty, full]) is full


def test_a_column_takes_the_dose_of_a_scan_whose_map_lacks_it(make_specimen, law, contexts):
    specimen = make_specimen(3, 70.0)
    scan, _ = specimen.look((0.0, 0.0), 60.0, contexts.haadf, 1e4)
    register, first = enter(empty_register(), scan, law, STEADY)
    again, _ = specimen.look((0.0, 0.0), 60.0, contexts.haadf, 1e4, taken_s=1.0)
    found = np.abs(again.positions_angstrom).max(axis=1) > 5.0
    layer = again.layers[0]
    holed = replace(
        again,
        positions_angstrom=again.positions_angstrom[found],
        is_metal=again.is_metal[found],
        grain=again.grain[found],
        layers=(
            replace(layer, log_likelihood=layer.log_likelihood[found], is_usable=layer.is_usable[found]),
        ),
    )
    register, entry = enter(register, holed, law, STEADY)
    missed = np.setdiff1d(first.row, entry.row)
    assert len(missed) > 10
    np.testing.assert_allclose(register.dose_e_per_a2[0, missed], 1e4)
    np.testing.assert_allclose(register.taken_e_per_a2[missed], 2e4)


def test_detectors_that_stray_together_are_believed_less(make_specimen, law, contexts):
    """Under carbon both detectors are off by the same: agreement of the two proves little."""
    doubts, errors = {}, {}
    for correlation in (0.0, 0.9):
        specimen = make_specimen(11, 170.0, shares=(0.85, 0.1, 0.05, 0.95, 0.05), correlation=correlation)
        looks = [((0.0, 0.0), context, 2e5) for context in (contexts.haadf, contexts.maadf)]
        register, identity, _ = followed(specimen, law, looks)
        belief, chalcogen = believe(register, law), ~register.is_metal
        doubts[correlation] = belief.entropy_nats[chalcogen].mean()
        label = specimen.label[identity][chalcogen]
        errors[correlation] = calibration_error(belief.probability[chalcogen], label)
        assert belief.correlation == pytest.approx(min(1.3 * correlation * 2e5 / 2.2e5, 0.9), abs=0.15)
    assert doubts[0.9] > 1.3 * doubts[0.0]
    assert max(errors.values()) < 0.02


def test_what_cannot_be_placed_is_left_out_and_said(make_specimen, law, contexts):
    register, _ = enter(empty_register(), make_specimen(0, 100.0).look((0.0, 0.0), 60.0)[0], law, STEADY)
    stranger, _ = make_specimen(1, 100.0).look((0.0, 0.0), 60.0, taken_s=30.0)
    after, entry = enter(register, stranger, law, STEADY)
    assert after is register
    assert not entry.is_entered
    assert "cannot be told" in entry.doubts[0]


def test_what_no_layer_may_speak_of_is_no_evidence(make_specimen, law, contexts):
    scan, _ = make_specimen(0, 70.0).look((0.0, 0.0), 60.0)
    mute = np.zeros(len(scan.grain), bool)
    refused, entry = enter(
        empty_register(), replace(scan, layers=(replace(scan.layers[0], is_usable=mute),)), law, STEADY
    )
    assert len(refused) == 0
    assert "nothing is said" in entry.doubts[0]
    half = ~mute
    half[::2] = False
    register, entry = enter(
        empty_register(), replace(scan, layers=(replace(scan.layers[0], is_usable=half),)), law, STEADY
    )
    assert (register.dose_e_per_a2[0, entry.row[~half]] == 0).all()
    assert (register.dose_e_per_a2[0, entry.row[half]] > 0).all()


def test_grains_are_kept_apart_and_found_again(make_specimen, law, contexts):
    left = make_specimen(0, 160.0, turn_deg=0.0)
    right = make_specimen(1, 160.0, turn_deg=23.0)

    def look(place, taken_s):
        parts = []
        for specimen, side in ((left, -1.0), (right, 1.0)):
            scan, _ = specimen.look(place, 90.0, taken_s=taken_s)
            keep = side * (scan.positions_angstrom[:, 1] + place[1]) > 1.0
            parts.append((scan, scan.layers[0], keep))

        def joined(of):
            return np.concatenate([of(scan, layer)[keep] for scan, layer, keep in parts])

        layer = replace(
            parts[0][1],
            log_likelihood=joined(lambda scan, layer: layer.log_likelihood),
            is_usable=joined(lambda scan, layer: layer.is_usable),
        )
        return replace(
            parts[0][0],
            positions_angstrom=joined(lambda scan, layer: scan.positions_angstrom),
            is_metal=joined(lambda scan, layer: scan.is_metal),
            grain=np.repeat([0, 1], [int(keep.sum()) for _, _, keep in parts]),
            layers=(layer,),
        )

    register, first = enter(empty_register(), look((0.0, 0.0), 0.0), law, STEADY)
    assert sorted(np.unique(register.grain)) == [0, 1]
    register, second = enter(register, look((6.0, 9.0), 20.0), law, STEADY)
    assert len(second.registrations) == 2
    assert all(found.is_decided for found in second.registrations)
    assert sorted(np.unique(register.grain)) == [0, 1]
    assert second.new < 0.25 * first.new


def test_what_is_left_of_a_grain_that_another_has_taken_in_does_no_harm(make_specimen, law, contexts):
    specimen = make_specimen(0, 100.0)
    register, _ = enter(empty_register(), specimen.look((0.0, 0.0), 60.0)[0], law, STEADY)
    grain = register.grain.copy()
    grain[0] = 1
    _, entry = enter(replace(register, grain=grain), specimen.look((3.0, 4.0), 60.0)[0], law, STEADY)
    assert entry.is_entered
    assert not entry.doubts


def test_entering_leaves_the_register_as_it_was(make_specimen, law, contexts):
    specimen = make_specimen(0, 100.0)
    register, _ = enter(empty_register(), specimen.look((0.0, 0.0), 60.0)[0], law, STEADY)
    sums, position = register.sums.copy(), register.position_angstrom.copy()
    enter(register, specimen.look((3.0, 4.0), 60.0, taken_s=10.0)[0], law, STEADY)
    np.testing.assert_array_equal(register.sums, sums)
    np.testing.assert_array_equal(register.position_angstrom, position)
