"""Small scans, found by where they stand; and what faint frames break or leave out."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from agent.drift import Steadiness
from agent.evidence import enter
from agent.register import empty_register

STEADY = Steadiness(drift_sigma_angstrom_per_s=0.5)


def part_of(scan, keep, **changes):
    """Some of a scan's columns."""
    (layer,) = scan.layers
    layer = replace(layer, log_likelihood=layer.log_likelihood[keep], is_usable=layer.is_usable[keep])
    known = {"positions_angstrom": scan.positions_angstrom[keep], "is_metal": scan.is_metal[keep]}
    return replace(scan, **known | {"grain": scan.grain[keep], "layers": (layer,)} | changes)


def near(scan, place, edge):
    return np.abs(scan.positions_angstrom - place).max(axis=1) < edge / 2


@pytest.fixture
def whole(make_specimen, law):
    specimen = make_specimen(0, 100.0)
    scan, seen = specimen.look((0.0, 0.0), 90.0)
    scan = replace(scan, stage_angstrom=(0.0, 0.0))
    register, entry = enter(empty_register(), scan, law, STEADY)
    names = np.full(len(register), -1)
    names[entry.row[entry.row >= 0]] = seen[entry.row >= 0]
    return specimen, register, names


@pytest.mark.parametrize("place", [(0.0, 0.0), (21.0, -17.0), (-30.0, 30.0)])
@pytest.mark.parametrize("edge", [8.0, 12.0])
def test_a_few_columns_are_found_where_they_stood(whole, law, place, edge):
    specimen, register, names = whole
    scan, seen = specimen.look((0.3, -0.2), 90.0, dose=2e3, taken_s=0.5)
    keep = near(scan, place, edge)
    register, entry = enter(register, part_of(scan, keep, stage_angstrom=(0.0, 0.0)), law, STEADY)
    assert entry.is_entered
    assert entry.new == 0
    assert (names[entry.row[entry.row >= 0]] == seen[keep][entry.row >= 0]).all()
    # In part: the rest may be the scan's own.
    assert 0.1 < entry.drift_angstrom @ (-0.3, 0.2) / np.hypot(0.3, 0.2) ** 2 < 1.0


def test_a_specimen_that_has_gone_is_followed(whole, law):
    specimen, register, _ = whole
    gone = np.zeros(2)
    for number in range(1, 25):
        scan, _ = specimen.look((0.3, -0.2), 90.0, dose=1e4, taken_s=0.5 * number)
        scan = part_of(scan, near(scan, (5.0, 5.0), 14.0), stage_angstrom=(0.0, 0.0))
        register, entry = enter(register, scan, law, STEADY)
        gone += entry.drift_angstrom
    np.testing.assert_allclose(gone, (-0.3, 0.2), atol=0.15)


def test_scans_that_are_each_a_little_off_do_not_lead_astray(whole, law):
    """As small faint ones are: all of their columns aside by the same."""
    specimen, register, _ = whole
    rng, start, astray = np.random.default_rng(1), register.position_angstrom.copy(), []
    for number in range(1, 81):
        scan, _ = specimen.look(tuple(rng.normal(0, 0.4, 2)), 90.0, dose=2e3, taken_s=0.2 * number)
        scan = part_of(scan, near(scan, rng.uniform(-30, 30, 2), 12.0), stage_angstrom=(0.0, 0.0))
        register, _ = enter(register, scan, law, Steadiness(drift_sigma_angstrom_per_s=0.3))
        astray.append(np.linalg.norm(np.median(register.position_angstrom[: len(start)] - start, axis=0)))
    assert max(astray) < 0.6  # followed in full, they lead 1.3 Å astray


DURATION = 4.0


def sheared(specimen, middle_s, gone, is_passed=lambda spots: np.ones(len(spots), bool)):
    """A frame that takes `DURATION`, of a specimen that has gone(t) by then; and which columns it shows."""
    here = gone(middle_s)
    scan, seen = specimen.look(tuple(-here), 90.0, dose=1e4, taken_s=middle_s + DURATION / 2)
    lead = -scan.positions_angstrom[:, 0] / 90.0 * DURATION
    spots = scan.positions_angstrom + np.array([gone(middle_s - one) for one in lead]) - here
    keep = is_passed(spots)
    known = {"positions_angstrom": spots, "duration_s": DURATION, "stage_angstrom": (0.0, 0.0)}
    return replace(part_of(replace(scan, **known), keep), lead_s=lead[keep]), seen[keep]


class Followed:
    """A register, and how far its columns stand off their places."""

    def __init__(self, specimen, gone, law):
        self.specimen, self.gone, self.law = specimen, gone, law
        self.register, self.names = empty_register(), {}

    def enter(self, scan, seen):
        self.register, entry = enter(self.register, scan, self.law, STEADY)
        assert entry.is_entered
        self.names |= {row: name for row, name in zip(entry.row, seen, strict=True) if row >= 0}

    def window(self, middle_s, place):
        scan, seen = self.specimen.look(tuple(-self.gone(middle_s)), 90.0, dose=1e4, taken_s=middle_s)
        keep = near(scan, place, 14.0)
        self.enter(part_of(scan, keep, stage_angstrom=(0.0, 0.0)), seen[keep])

    def astray(self):
        rows, names = np.array(list(self.names.items())).T
        there = self.specimen.position[names] + self.gone(self.register.middle_s)
        return np.linalg.norm(self.register.position_angstrom[rows] - there, axis=1)


def test_a_frame_that_a_drift_has_sheared_is_set_right_by_what_windows_show(make_specimen, law):
    """The beam takes 4 s over the field; the specimen goes on at 0.5 Å/s meanwhile and afterwards."""
    velocity = np.array([0.3, -0.4])
    specimen, gone = make_specimen(0, 100.0), lambda at_s: velocity * at_s
    followed = Followed(specimen, gone, law)
    followed.enter(*sheared(specimen, 0.0, gone))
    assert followed.astray().max() > 0.9
    for number, place in enumerate([(-35.0, 10.0), (35.0, -20.0), (-30.0, -30.0), (30.0, 30.0)] * 3):
        followed.window(DURATION / 2 + 0.1 * (number + 1), place)
    assert followed.astray().max() < 0.5
    np.testing.assert_allclose(followed.register.drift.velocity_angstrom_per_s, velocity, atol=0.12)


def test_what_lies_in_one_half_of_a_drifting_frame_is_not_led_astray(make_specimen, law):
    """All of its columns are passed later than the middle of the scan."""
    velocity = np.array([0.3, -0.4])
    specimen, gone = make_specimen(0, 100.0), lambda at_s: velocity * at_s
    followed = Followed(specimen, gone, law)
    for number in range(8):
        followed.enter(*sheared(specimen, 4.2 * number, gone, lambda spots: spots[:, 0] > 0))
    assert followed.astray().max() < 0.5
    np.testing.assert_allclose(followed.register.drift.velocity_angstrom_per_s, velocity, atol=0.03)


def test_a_drift_that_dies_away_does_not_shear_old_frames_again(make_specimen, law):
    first, last_s = np.array([0.6, -0.8]), 60.0
    specimen = make_specimen(0, 140.0)

    def gone(at_s):
        return first * last_s * (1 - np.exp(-at_s / last_s))

    followed = Followed(specimen, gone, law)
    for middle_s in (2.0, 6.2):
        followed.enter(*sheared(specimen, middle_s, gone))
    for number in range(90):
        followed.window(9.0 + 2.0 * number, (5.0, 5.0))
    assert followed.astray().max() < 1.0


def test_a_scan_that_comes_late_does_not_turn_the_clock(make_specimen, law):
    velocity = np.array([0.3, -0.4])
    specimen, gone = make_specimen(0, 100.0), lambda at_s: velocity * at_s
    followed = Followed(specimen, gone, law)
    for middle_s in (0.0, 4.2, 8.4, 12.6, 8.5, 16.8):
        followed.enter(*sheared(specimen, middle_s, gone))
        assert middle_s < 4.0 or followed.astray().max() < 0.6
    np.testing.assert_allclose(followed.register.drift.velocity_angstrom_per_s, velocity, atol=0.03)


def test_a_scan_without_columns_is_not_entered(whole, law):
    _, register, _ = whole
    scan, seen = whole[0].look((0.0, 0.0), 90.0, taken_s=1.0)
    scan = part_of(scan, np.zeros(len(seen), bool), stage_angstrom=(0.0, 0.0))
    after, entry = enter(register, scan, law, STEADY)
    assert after is register
    assert not entry.is_entered


def test_where_the_stage_went_meanwhile_no_frame_is_set_right(whole, law):
    specimen, register, _ = whole
    register = replace(register, lever_s=np.linspace(-2.0, 2.0, len(register)))
    before = register.position_angstrom
    scan, _ = specimen.look((3.0, -4.0), 60.0, taken_s=10.0)
    register, entry = enter(register, replace(scan, stage_angstrom=(3.0, -4.0)), law, STEADY)
    assert entry.is_entered
    elsewhere = np.setdiff1d(np.arange(len(before)), entry.row)
    moved = (register.position_angstrom - before)[elsewhere]
    assert len(elsewhere) > 100
    assert np.linalg.norm(moved[0]) > 1.0
    np.testing.assert_allclose(moved, moved[:1].repeat(len(moved), axis=0), atol=1e-9)


def test_a_few_columns_that_may_have_gone_anywhere_are_left_out(whole, law):
    specimen, register, _ = whole
    scan, _ = specimen.look((0.0, 0.0), 90.0, taken_s=60.0)
    after, entry = enter(register, part_of(scan, near(scan, (0.0, 0.0), 8.0)), law, STEADY)
    assert not entry.is_entered
    assert after is register


def test_a_grain_with_its_sublattices_the_other_way_round_is_left_out_and_said(whole, law):
    specimen, register, _ = whole
    scan, _ = specimen.look((0.0, 0.0), 90.0, taken_s=1.0)
    logs = np.where(scan.is_metal[:, None], [0, -9, -9, -np.inf, -np.inf], [-np.inf, -np.inf, -np.inf, 0, -9])
    layer = replace(scan.layers[0], log_likelihood=logs)
    wrong = replace(scan, is_metal=~scan.is_metal, layers=(layer,), stage_angstrom=(0.0, 0.0))
    after, entry = enter(register, wrong, law, STEADY)
    assert not entry.is_entered
    assert "the other way round" in entry.doubts[0]
    assert len(after) == len(register)


def test_what_a_faint_frame_broke_into_two_grains_becomes_one(make_specimen, law):
    specimen = make_specimen(0, 100.0)
    scan, _ = specimen.look((0.0, 0.0), 90.0, dose=2e3)
    apart = near(scan, (25.0, 25.0), 20.0)
    register, _ = enter(empty_register(), replace(scan, grain=apart.astype(np.int64)), law, STEADY)
    assert np.bincount(register.grain).min() > 50
    count, dose = len(register), register.dose_e_per_a2.sum()
    again, _ = specimen.look((0.0, 0.0), 90.0, dose=2e3, taken_s=1.0)
    register, _ = enter(register, again, law, STEADY)
    assert len(np.unique(register.grain)) == 1
    assert len(register) <= count + 20  # no column twice
    distance = cKDTree(register.position_angstrom).query(register.position_angstrom, k=2)[0][:, 1]
    assert distance.min() > 1.0
    assert register.dose_e_per_a2.sum() == pytest.approx(2 * dose, rel=0.03)  # and nothing is forgotten


def test_holes_are_filled_with_columns_that_no_scan_has_shown(make_specimen, law):
    specimen = make_specimen(0, 100.0)
    scan, seen = specimen.look((0.0, 0.0), 80.0)
    hole = near(scan, (5.0, 5.0), 11.0) | (np.random.default_rng(0).random(len(seen)) < 0.03)
    register, entry = enter(empty_register(), part_of(scan, ~hole), law, STEADY)
    unseen = ~register.is_seen
    assert entry.new == register.is_seen.sum()
    distance, nearest = cKDTree(specimen.position).query(register.position_angstrom[unseen])
    assert distance.max() < 0.5
    assert (specimen.is_metal[nearest] == register.is_metal[unseen]).all()
    assert np.isin(nearest, seen[hole]).mean() > 0.95  # nothing beyond the field
    assert unseen.sum() > 0.8 * hole.sum()
    again, entry = enter(register, replace(scan, taken_s=1.0), law, STEADY)
    assert entry.new >= 0.95 * unseen.sum()
    assert again.is_seen.sum() >= 0.99 * len(seen)


def test_beyond_an_edge_of_the_specimen_nothing_is_expected(make_specimen, law):
    scan, _ = make_specimen(0, 100.0).look((0.0, 0.0), 80.0)
    keep = scan.positions_angstrom @ np.array([0.6, 0.8]) < 10.0
    register, _ = enter(empty_register(), part_of(scan, keep), law, STEADY)
    assert (~register.is_seen).sum() < 0.01 * keep.sum()
