import pytest

from agent.contexts import DoubtError, facts_of_frame, settle_frame, states_around
from agent.settings import ContextSettings
from drivers.contract.context import HAADF, MAADF, Detector

NOBODY = ContextSettings()


def test_a_frame_that_says_everything_needs_nobody(make):
    settled = settle_frame(make.header_of(7), (), NOBODY)
    assert settled.context.specimen.dopant == "Ti"
    assert settled.facts.energy_kev.source == "frame 7"


def test_gaps_are_filled_by_the_instrument_and_then_by_the_operator(make):
    header = make.header_of(1, host=None, dopants=None, energy_kev=None)
    states = (make.state_of(5.0, host=None, dopants=None),)
    settled = settle_frame(header, states, ContextSettings(host="WSe2", dopant="V"))
    assert settled.facts.energy_kev.source == "the instrument at 5.0 s"
    assert settled.facts.host.source.startswith("settings [context]")
    assert settled.context.specimen.dopant == "V"


def test_no_dopant_is_known_to_be_none(make):
    assert settle_frame(make.header_of(1, dopants=()), (), NOBODY).context.specimen.dopant is None


def test_of_several_dopants_the_operator_picks_one(make):
    header = make.header_of(1, dopants=("Ti", "V"))
    assert settle_frame(header, (), ContextSettings(dopant="V")).context.specimen.dopant == "V"
    with pytest.raises(DoubtError, match="the dopant"):
        settle_frame(header, (), NOBODY)


def test_the_operator_overrides_where_told_to(make):
    operator = ContextSettings(energy_kev=60.0, override=("energy_kev",))
    settled = settle_frame(make.header_of(1), (make.state_of(),), operator)
    assert settled.context.energy_kev == 60.0
    assert settled.facts.energy_kev.source.startswith("settings")


def test_an_overriding_detector_brings_its_own_angles(make):
    operator = ContextSettings(detector="MAADF", override=("detector",))
    assert settle_frame(make.header_of(1), (make.state_of(),), operator).context.detector == MAADF


DOUBTS = {
    "nobody knows the host": ({"host": None, "dopants": None}, [], NOBODY, "missing: the host"),
    "a detector without angles": ({"detector": None}, [], NOBODY, "inner and outer angles"),
    "instrument and frame differ in energy": (
        {"energy_kev": 60.0},
        [{}],
        NOBODY,
        r"frame 1 says energy_kev 60.0, the instrument at 5.0 s says energy_kev 80.0",
    ),
    "instrument and frame differ in host": ({"host": "MoSe2"}, [{}], NOBODY, "says host MoSe2"),
    "instrument and frame differ in detector": (
        {"detector": MAADF},
        [{}, {"monotonic_s": 99.0}],
        NOBODY,
        r"frame 1 says detector MAADF \(30-120 mrad\), the instrument at 99.0 s says detector HAADF",
    ),
    "operator and frame differ": (
        {},
        [],
        ContextSettings(host="MoS2"),
        "settings .context.: host says host MoS2",
    ),
    "operator and instrument differ": (
        {"energy_kev": None},
        [{}],
        ContextSettings(energy_kev=60.0),
        "the instrument at 5.0 s says energy_kev 80.0",
    ),
    "the frame was taken while settling": ({"is_settled": False}, [], NOBODY, "still settling"),
    "the instrument was settling": (
        {"is_settled": None},
        [{"is_settling": True, "note": "ramping"}],
        NOBODY,
        r"still settling.*\(ramping\)",
    ),
}


@pytest.mark.parametrize(("facts", "states", "operator", "told"), DOUBTS.values(), ids=DOUBTS)
def test_doubt_is_told_and_not_guessed_away(facts, states, operator, told, make):
    with pytest.raises(DoubtError, match=told) as doubt:
        settle_frame(make.header_of(1, **facts), tuple(make.state_of(**state) for state in states), operator)
    assert doubt.value.remedy


def test_what_changed_while_the_frame_was_taken_does_not_fill_its_gap(make):
    states = (make.state_of(5.0, energy_kev=60.0), make.state_of(12.0, energy_kev=80.0))
    with pytest.raises(DoubtError, match="the beam energy"):
        settle_frame(make.header_of(1, energy_kev=None), states, NOBODY)


def test_a_frame_may_agree_with_the_state_before_or_after_it(make):
    states = (make.state_of(5.0, detectors=(MAADF,)), make.state_of(12.0))
    assert settle_frame(make.header_of(1), states, NOBODY).context.detector == HAADF


def test_a_frame_of_another_detector_is_newer_than_the_state_before_it(make):
    header = make.header_of(1, detector=MAADF)
    assert settle_frame(header, (make.state_of(),), NOBODY).context.detector == MAADF


def test_after_our_own_switch_a_header_may_be_stale(make):
    header = make.header_of(1, detector=MAADF)
    with pytest.raises(DoubtError, match="says detector MAADF"):
        settle_frame(header, (make.state_of(),), NOBODY, confirmed_s=5.0)
    assert settle_frame(header, (make.state_of(),), NOBODY, ["MAADF"], 5.0).context.detector == MAADF


def test_a_state_after_the_frame_alone_says_nothing_of_it(make):
    states = (make.state_of(99.0, energy_kev=60.0, detectors=(MAADF,)),)
    assert settle_frame(make.header_of(1), states, NOBODY).context.energy_kev == 80.0
    with pytest.raises(DoubtError, match="the beam energy"):
        settle_frame(make.header_of(1, energy_kev=None), states, NOBODY)


def test_rounding_is_no_contradiction(make):
    near = Detector(name="HAADF", inner_mrad=68.4, outer_mrad=280.0)
    settle_frame(make.header_of(1, energy_kev=80.2, detector=near), (make.state_of(),), NOBODY)


def test_detectors_recorded_at_once_contradict_none_of_them(make):
    state = make.state_of(detectors=(HAADF, MAADF))
    assert settle_frame(make.header_of(1, detector=MAADF), (state,), NOBODY).context.detector == MAADF


def test_what_a_frame_says_counts_before_what_the_instrument_says_about_alike(make):
    settled = settle_frame(make.header_of(7, energy_kev=80.2), (make.state_of(),), NOBODY)
    assert (settled.context.energy_kev, settled.facts.energy_kev.source) == (80.2, "frame 7")


def test_a_frame_that_says_that_all_stood_still_is_believed_before_a_state_that_was_read_earlier(make):
    settling = make.state_of(is_settling=True, note="ramping")
    assert settle_frame(make.header_of(1, is_settled=True), (settling,), NOBODY)
    with pytest.raises(DoubtError, match="ramping"):
        settle_frame(make.header_of(1, is_settled=None), (settling,), NOBODY)


def test_of_the_states_those_next_to_a_frame_are_taken_and_one_of_its_very_time_is_before_it(make):
    states = [make.state_of(at_s) for at_s in (5.0, 9.5, 10.0, 10.5, 12.0)]
    assert [state.monotonic_s for state in states_around(states, 9.99)] == [9.5, 10.0]
    assert [state.monotonic_s for state in states_around(states, 10.0)] == [10.0, 10.5]
    assert states_around(states, 4.0) == (None, states[0])
    assert states_around(states, 13.0) == (states[-1], None)


def test_a_dose_of_nothing_is_a_dose_that_is_not_known(make):
    assert facts_of_frame(make.header_of(1, dose_e_per_a2=0.0)).dose_e_per_a2 is None
    assert facts_of_frame(make.header_of(1, dose_e_per_a2=5.0)).dose_e_per_a2.value == 5.0
