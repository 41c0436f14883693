"""From maps to what is asked for next, on a made-up specimen that obeys the law."""

import itertools

import numpy as np
import pytest
from scipy.special import softmax

from agent.assessment import Situation
from agent.belief import believe
from agent.ledger import exposure_of_frame
from agent.mind import Means, Mind, consider, reconsider
from agent.requests import Repeat
from agent.settings import GoalSettings, LimitSettings, PolicySettings, Rules
from drivers.contract.context import HAADF, MAADF
from drivers.contract.errors import InputError
from drivers.contract.header import Simultaneous
from drivers.contract.instrument import AcquireImage, Capabilities
from drivers.contract.maps import DefectMap, FrameReference
from models.analysis import as_settled

CAN = Capabilities(
    instrument="fake",
    commands=("switch_detector", "switch_energy", "acquire_image"),
    detectors=(HAADF, MAADF),
    energies_kev=(60.0, 80.0),
    max_simultaneous=1,
    can_scan_windows=True,
    detector_switch_s=1.0,
)
PIXEL, EDGE = 0.3, 100.0


@pytest.fixture
def look(make, make_specimen, contexts):
    """Maps of a made-up specimen, as the analysis would make them."""
    specimen, numbers = make_specimen(4, 130.0), itertools.count()

    def taken(detector="HAADF", number=0, dose=1e4, energy_kev=80.0, **facts):
        context = getattr(contexts, detector.lower())
        scan, _ = specimen.look((0.0, 0.0), EDGE, context, dose)
        columns = make.columns_of(len(scan.is_metal))
        prior = np.array([0.6, 0.03, 0.005, 0.3, 0.01])
        logs = np.where(np.isfinite(scan.layers[0].log_likelihood), scan.layers[0].log_likelihood, -60.0)
        columns["p"] = softmax(logs + np.log(prior), axis=1)
        columns["sublattice"] = np.where(scan.is_metal, 0, 1)
        shape = round(EDGE / PIXEL)
        place = scan.positions_angstrom / PIXEL + (shape - 1) / 2
        columns["row_px"], columns["col_px"] = place.T
        header = make.map_header(0.1, detector, len(columns)).model_copy(
            update={
                "prior": tuple(prior / prior.sum()),
                "settled": as_settled(context.rebuilt(energy_kev=energy_kev)),
                "frame": FrameReference(shape=(16, 16), sha256=f"{next(numbers):064x}"),
            }
        )
        known = {"dose_e_per_a2": dose, "dwell_us": 4.0, "detector": context.detector} | facts
        frame = make.header_of(number, **known).model_copy(update={"shape": (shape, shape)})
        return DefectMap(header, columns), frame

    return taken


def means_of(law, goals=None, can=CAN, **limits):
    rules = Rules(
        policy=PolicySettings(least_gain_nats=0.1),
        limits=LimitSettings(**({"dose_e_per_a2": 0.0} | limits)),
        goals=goals or GoalSettings(),
    )
    return Means(rules, law, can)


def situation(make, **fields):
    return Situation(instrument=make.state_of(detectors=(HAADF,)), **fields)


def test_a_map_is_entered_and_leads_to_a_wish_with_its_promise(make, look, law):
    mind, told = consider(Mind(), *look(), situation(make), means_of(law))
    assert told.is_entered
    assert told.columns == told.new > 1000
    promise = told.wish.promise
    assert promise.gain_nats > 0.1
    assert promise.concerns[0].gain_nats == max(one.gain_nats for one in promise.concerns)
    assert f"{promise.columns} columns are in doubt" in told.wish.reason
    assert len(mind.register) == told.columns


@pytest.mark.parametrize("energy_kev", [79.5, 80.02, 81.0])
def test_an_energy_is_the_reference_energy_that_its_map_was_read_under(make, look, law, energy_kev):
    means = means_of(law, energies_kev=(80.0,))
    mind, told = consider(Mind(), *look(energy_kev=energy_kev), situation(make), means)
    assert told.is_entered, told.doubts
    assert told.wish is not None
    assert told.wish.command.kind != "switch_energy"
    mind, told = consider(mind, *look(number=1), situation(make), means)
    assert told.is_entered, told.doubts
    assert len(mind.register.sources) == 1
    assert mind.register.dose_e_per_a2.max() == 2e4


def test_a_dose_is_known_where_current_dwell_and_pixel_tell_it(make, look, law):
    facts = {"dose_e_per_a2": None, "beam_current_pa": 10.0, "pixel_size_angstrom": PIXEL}
    frame = look(**facts)
    dose = exposure_of_frame(frame[1], frame[1].shape).dose_e_per_a2
    mind, told = consider(Mind(), *frame, situation(make), means_of(law))
    assert mind.register.dose_e_per_a2.max() == pytest.approx(dose)
    assert told.wish is not None, told.remark
    assert told.wish.promise.dose_e_per_a2 / dose in (1.0, 2.0, 4.0)


def test_the_same_maps_give_the_same_assessments_to_the_bit(make, look, law):
    maps = [look(number=number) for number in range(3)]

    def read_all():
        mind, said = Mind(), []
        for one in maps:
            mind, told = consider(mind, *one, situation(make), means_of(law))
            said.append(told.model_dump_json())
        return said

    assert read_all() == read_all()


def test_the_request_that_asked_for_a_map_is_scored_by_it(make, look, law):
    mind, first = consider(Mind(), *look(), situation(make), means_of(law))
    promised = first.wish.promise.plain_nats
    _, second = consider(
        mind, *look("MAADF", 1), situation(make, request="r1", promised_nats=promised), means_of(law)
    )
    assert second.realised_nats > 0
    assert second.score.promised_nats == promised
    assert second.score.realised_nats == second.realised_nats


def test_detectors_that_read_one_scan_are_entered_together(make, look, law):
    groups = [Simultaneous(group="g", index=index, count=2) for index in range(2)]
    mind, told = consider(Mind(), *look(simultaneous=groups[0]), situation(make), means_of(law))
    assert not told.is_complete
    assert not len(mind.register)
    mind, told = consider(mind, *look("MAADF", 1, simultaneous=groups[1]), situation(make), means_of(law))
    assert told.is_complete
    assert len(mind.register.sources) == 2
    assert mind.register.taken_e_per_a2.max() == 1e4, "one pass of the beam"


def test_a_frame_that_is_played_again_is_one_observation(make, look, law):
    """As a recording does that answers a request with what it holds."""
    again = look()
    mind, _ = consider(Mind(), *again, situation(make), means_of(law))
    known = believe(mind.register, law)
    mind, told = consider(mind, *again, situation(make), means_of(law))
    assert not told.is_entered
    assert "pixel for pixel" in told.remark
    np.testing.assert_array_equal(believe(mind.register, law).probability, known.probability)
    first, second = (Simultaneous(group="g", index=index, count=2) for index in range(2))
    header = again[1].model_copy(update={"simultaneous": first})
    mind, _ = consider(mind, again[0], header, situation(make), means_of(law))
    mind, told = consider(mind, *look("MAADF", 1, simultaneous=second), situation(make), means_of(law))
    assert told.is_entered
    assert mind.register.dose_e_per_a2.max(axis=1).tolist() == [1e4, 1e4], "each detector once"


def test_a_scan_of_which_one_detector_is_missing_is_entered_by_the_other(make, look, law):
    first = Simultaneous(group="g", index=0, count=2)
    mind, told = consider(Mind(), *look(simultaneous=first), situation(make), means_of(law))
    assert not told.is_complete
    mind, told = consider(mind, *look(number=1), situation(make), means_of(law))
    assert told.is_entered
    assert mind.register.dose_e_per_a2.max() == 2e4, "both scans"


def test_goals_that_are_reached_or_cannot_be_end_the_asking(make, look, law):
    easy = GoalSettings(mean_entropy_nats=1.0)
    _, told = consider(Mind(), *look(), situation(make), means_of(law, easy))
    assert (told.verdict.status, told.wish) == ("reached", None)
    hard = GoalSettings(entropy_nats=1e-6, dose_e_per_a2=2e4)
    _, told = consider(Mind(), *look(), situation(make), means_of(law, hard))
    assert (told.verdict.status, told.wish) == ("cannot_be", None)
    assert "are expected" in told.verdict.standings[0].sentence


def test_a_goal_of_columns_is_not_given_up_that_the_dose_left_reaches(make, look, law):
    """Many columns become known although what is expected to be left of them is more than is asked for."""
    goal = GoalSettings(entropy_nats=0.05, fraction=0.94, dose_e_per_a2=1.4e4)
    mind, told = consider(Mind(), *look(dose=2e3), situation(make), means_of(law, goal, detectors=("HAADF",)))
    assert told.verdict.status == "not_yet", told.verdict.standings[0].sentence
    _, told = consider(mind, *look(number=1, dose=1.2e4), situation(make), means_of(law, goal))
    assert told.verdict.status == "reached"


def test_detectors_that_read_at_once_can_reach_what_they_could_not_in_turn(make, look, law):
    goal = GoalSettings(mean_entropy_nats=0.015, dose_e_per_a2=8e3)
    found = []
    for count in (1, 2):
        can = CAN.model_copy(update={"max_simultaneous": count})
        _, told = consider(Mind(), *look(dose=2e3), situation(make), means_of(law, goal, can))
        found.append(told.verdict.status)
    assert found == ["cannot_be", "not_yet"]


def test_nothing_is_wished_beyond_the_limits(make, look, law):
    _, told = consider(Mind(), *look(), situation(make), means_of(law, dose_e_per_a2=1.2e4))
    assert told.wish is None
    assert "limit of dose" in told.remark
    _, told = consider(Mind(), *look(), situation(make), means_of(law, detectors=("HAADF",)))
    assert told.wish is not None
    assert told.wish.promise.detectors == ("HAADF",)


def test_a_wish_names_its_columns_by_x_along_a_row_and_y_down_a_column(make, look, law):
    mind, told = consider(Mind(), *look(), situation(make), means_of(law))
    assert told.wish.promise.concerns
    for concern in told.wish.promise.concerns:
        place = mind.register.position_angstrom[concern.row]
        assert (concern.y_nm, concern.x_nm) == pytest.approx(place / 10)


def test_what_was_denied_is_not_wished_again_but_something_else_is(make, look, law):
    mind, told = consider(Mind(), *look(), situation(make), means_of(law))
    wish = told.wish
    repeat = Repeat(
        detectors=wish.promise.detectors,
        energy_kev=80.0,
        acquire=wish.then or wish.command,
        until_map=10,
        dose_e_per_a2=wish.promise.dose_e_per_a2,
        electrons=wish.promise.electrons,
    )
    again = reconsider(mind, situation(make, repeats=(repeat,)), means_of(law))
    assert again.wish is not None
    assert (again.wish.command, again.wish.then) != (wish.command, wish.then)


def test_what_could_not_be_read_is_wished_for_with_more_electrons_only(make, look, law):
    mind, _told = consider(Mind(), *look(), situation(make), means_of(law))
    repeat = Repeat(
        detectors=("MAADF",),
        energy_kev=80.0,
        acquire=AcquireImage(),
        until_map=1,
        dose_e_per_a2=1e4,
        electrons=1e4 * EDGE**2,
        is_unreadable=True,
    )
    promise = reconsider(mind, situation(make, repeats=(repeat,)), means_of(law)).wish.promise
    assert promise.dose_e_per_a2 > 1e4 or promise.electrons > 1e4 * EDGE**2


def test_a_window_that_was_in_vain_three_times_is_left_alone_at_any_dose(make, look, law):
    mind, told = consider(Mind(), *look(), situation(make), means_of(law))
    window = (told.wish.then or told.wish.command).window
    assert window is not None

    def repeats(count):
        vain = Repeat(
            detectors=told.wish.promise.detectors,
            energy_kev=80.0,
            acquire=AcquireImage(window=window),
            until_map=1,
            dose_e_per_a2=1.0,
            electrons=1.0,
            is_unreadable=True,
        )
        return (vain,) * count

    def wished(count):
        return reconsider(mind, situation(make, repeats=repeats(count)), means_of(law)).wish

    assert (wished(2).then or wished(2).command).window == window
    again = wished(3)
    assert (again.then or again.command).window != window


def test_frames_that_come_anyway_are_not_asked_for(make, look, law):
    state = make.state_of(detectors=(HAADF,), is_scanning=True)
    one_detector = CAN.model_copy(update={"commands": ("acquire_image",), "can_scan_windows": False})
    _, told = consider(Mind(), *look(), Situation(instrument=state), means_of(law, can=one_detector))
    assert told.wish is None
    assert "come anyway" in told.remark
    _, told = consider(Mind(), *look(dose=2e5), Situation(instrument=state), means_of(law))
    assert told.wish is not None
    assert told.wish.then.window is not None


def test_an_energy_is_wished_for_only_where_it_is_allowed(make, look, law):
    means = means_of(law, energies_kev=(60.0,))
    sharp = {name.replace("80 keV", "60 keV"): (1e4, 1e4, 1e4) for name in law.separations}
    from dataclasses import replace

    means = replace(means, law=replace(law, separations=law.separations | sharp, correlation=0.0))
    _mind, told = consider(Mind(), *look(dose=3e5), situation(make), means)
    assert told.wish.command.kind == "switch_energy"
    assert told.wish.promise.energy_kev == 60.0
    assert told.wish.then is not None


def test_an_energy_that_no_map_can_be_read_at_is_not_wished_for(make, look, law):
    can = CAN.model_copy(update={"energies_kev": (40.0, 80.0)})
    mind, told = consider(Mind(), *look(), situation(make), means_of(law, can=can, energies_kev=(40.0, 80.0)))
    assert told.is_entered, told.doubts
    assert told.wish is not None
    assert len(mind.register) > 1000


def test_a_map_is_kept_where_nothing_can_be_chosen(make, look, law, monkeypatch):
    def fails(*_):
        raise InputError("a choice of no kind")

    monkeypatch.setattr("agent.mind.next_wish", fails)
    mind, told = consider(Mind(), *look(), situation(make), means_of(law))
    assert told.is_entered
    assert "a choice of no kind" in told.remark
    assert len(mind.register) == told.columns > 1000
    assert reconsider(mind, situation(make), means_of(law)).wish is None


def test_a_map_that_cannot_be_used_is_left_out_with_its_reason(make, look, law):
    from dataclasses import replace

    means = replace(means_of(law), law=replace(law, separations={}))
    mind, told = consider(Mind(), *look(), situation(make), means)
    assert not told.is_entered
    assert "no figures for" in told.doubts[0]
    assert not len(mind.register)
