import math
from dataclasses import replace

import pytest

from agent.belief import believe
from agent.boxes import Field
from agent.drift import Steadiness
from agent.evidence import enter
from agent.known import Known
from agent.register import empty_register
from agent.settings import PolicySettings
from agent.worth import choose, list_offers
from drivers.contract.context import HAADF, MAADF, Detector
from drivers.contract.header import Window
from drivers.contract.instrument import Capabilities

FIELD = (-50.0, -50.0, 50.0, 50.0)
CAN = Capabilities(
    instrument="fake",
    commands=("switch_detector", "acquire_image"),
    detectors=(HAADF, MAADF),
    max_simultaneous=2,
    can_scan_windows=True,
    dwell_us_range=(0.5, 100.0),
    flyback_us=10.0,
    detector_switch_s=2.0,
)


@pytest.fixture
def known(make_specimen, law, contexts):
    def make(dose=2e4):
        scan, _ = make_specimen(4, 120.0).look((0.0, 0.0), 100.0, contexts.haadf, dose)
        register, _ = enter(empty_register(), scan, law, Steadiness())
        return Known(register, believe(register, law), law)

    return make


@pytest.fixture
def offers(make, law, contexts):
    def listed(known, capabilities=CAN, allowed=("HAADF", "MAADF"), without=(), **more):
        present, energies = more.pop("present", (HAADF,)), more.pop("energies_kev", ())
        is_scanning = more.pop("is_scanning", False)
        facts = {"dwell_us": 4.0, "dose_e_per_a2": 1e4} | more
        return list_offers(
            known,
            capabilities,
            make.state_of(detectors=present, is_scanning=is_scanning),
            make.header_of(1, **facts),
            FIELD,
            contexts.haadf,
            allowed=allowed,
            energies_kev=energies,
            without=without,
        )

    return listed


def test_windows_are_put_elsewhere_than_where_they_were_given_up(known, offers):
    def windows(without):
        return {offer.acquire.window for offer in offers(known(), without=without)} - {None}

    first = windows(())
    others = windows(tuple(first))
    assert first
    assert others
    assert not first & others


def test_offers_are_what_the_instrument_can_do(known, offers):
    listed = offers(known())
    assert len(listed) > 20
    for offer in listed:
        names = tuple(source.detector for source in offer.candidate.sources)
        assert (offer.switch is None) == (names == ("HAADF",))
        assert offer.switch is None or offer.switch.detectors == names
        assert offer.candidate.settling_s == (0.0 if offer.switch is None else 2.0)
        assert 0.5 <= offer.acquire.dwell_us <= 100.0
        if offer.acquire.window is not None:
            offer.acquire.window.check_inside((16, 16))
            low_row, low_column, high_row, high_column = offer.candidate.box
            assert min(low_row, low_column) >= -50.0
            assert max(high_row, high_column) <= 50.0
    whole = next(o for o in listed if o.switch is None and o.acquire.window is None)
    assert whole.candidate.scan_s == pytest.approx((256 * 2.0 + 16 * 10.0) * 1e-6)
    assert whole.candidate.dose_e_per_a2 == 5e3


def test_a_dwell_that_the_instrument_does_not_have_is_not_offered(known, offers):
    can = CAN.model_copy(update={"dwell_us_range": (3.0, 8.0)})
    assert {offer.acquire.dwell_us for offer in offers(known(), can)} == {4.0, 8.0}


def test_of_a_live_scan_the_next_frame_comes_as_the_last_did(known, offers):
    listed = offers(known(), is_scanning=True)
    assert {offer.factor for offer in listed if offer.acquire.window is None} == {1.0}
    assert {offer.factor for offer in listed if offer.acquire.window is not None} == {0.5, 1.0, 2.0, 4.0}


def test_a_window_is_the_pixels_that_a_box_touches_and_no_others():
    field = Field(FIELD, (16, 32))
    assert field.window_of((-50.0, -25.0, 0.0, 50.0)) == Window(row_px=0, col_px=8, rows_px=8, cols_px=24)
    whole = Window(row_px=0, col_px=0, rows_px=16, cols_px=32)
    assert field.window_of((-60.0, -60.0, 60.0, 60.0)) == whole


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"commands": ("switch_detector",)}, 0),
        ({"commands": ("acquire_image",)}, {("HAADF",)}),
        ({"max_simultaneous": 1}, {("HAADF",), ("MAADF",)}),
    ],
    ids=["cannot-acquire", "cannot-switch", "one-at-a-time"],
)
def test_what_it_cannot_do_is_not_offered(known, offers, change, kept):
    listed = offers(known(), CAN.model_copy(update=change))
    sets = {tuple(source.detector for source in offer.candidate.sources) for offer in listed}
    assert sets == (kept or set())


def test_what_is_not_allowed_or_not_known_is_not_offered(known, offers):
    told = known()
    assert all(o.switch is None for o in offers(told, allowed=("HAADF",)))
    assert offers(told, dwell_us=None) == []
    assert offers(told, dose_e_per_a2=None) == []
    assert all(
        offer.acquire.window is None
        for offer in offers(told, CAN.model_copy(update={"can_scan_windows": False}))
    )


BF = Detector(name="BF", inner_mrad=0.0, outer_mrad=20.0)


@pytest.mark.parametrize(
    ("commands", "present"),
    [(CAN.commands, (HAADF,)), (CAN.commands, (HAADF, BF)), (("acquire_image",), (HAADF, BF))],
    ids=["switches", "beside-another", "cannot-switch"],
)
def test_a_detector_whose_maps_cannot_be_read_is_not_asked_for(known, offers, commands, present):
    told = known()
    can = CAN.model_copy(update={"detectors": (HAADF, MAADF, BF), "commands": commands})
    listed = offers(told, can, allowed=("HAADF", "MAADF", "BF"), present=present)
    sets = {tuple(source.detector for source in offer.candidate.sources) for offer in listed}
    assert sets == {("HAADF",)} | ({("HAADF", "MAADF")} if len(commands) > 1 else set())


@pytest.mark.parametrize(("allowed", "offered"), [(("HAADF", "MAADF"), True), (("MAADF",), False)])
def test_an_energy_is_not_offered_where_a_detector_reads_that_is_not_allowed(
    known, offers, law, allowed, offered
):
    can = CAN.model_copy(update={"commands": (*CAN.commands, "switch_energy")})
    there = {name.replace("80 keV", "60 keV"): row for name, row in law.separations.items()}
    wide = replace(law, separations=law.separations | there)
    listed = offers(replace(known(), law=wide), can, allowed=allowed, energies_kev=(60.0,))
    kinds = {offer.switch.kind for offer in listed if offer.switch is not None}
    assert kinds == {"switch_detector"} | ({"switch_energy"} if offered else set())


def test_it_asks_for_the_other_detector_when_one_has_said_what_it_can(known, offers, law):
    told = known(2e5)
    choice = choose(offers(told), told, PolicySettings(least_gain_nats=0.1))
    assert "MAADF" in [source.detector for source in choice.worth.candidate.sources]
    assert "MAADF" in choice.reason
    assert "columns are in doubt" in choice.reason
    assert "the whole field once more as before would tell" in choice.reason
    low_row, low_column, high_row, high_column = choice.worth.candidate.box
    assert f" {(high_row - low_row) / 10:.1f} x {(high_column - low_column) / 10:.1f} nm " in choice.reason
    assert max(high_row - low_row, high_column - low_column) <= 100.0, "of a field of 10 nm"


@pytest.mark.parametrize("least", [0.0, 1e4, 2e4])
def test_the_field_once_more_as_before_is_at_the_dose_of_before(known, offers, law, least):
    told = known()
    listed = [offer for offer in offers(told) if offer.candidate.dose_e_per_a2 >= least]
    again = choose(listed, told, PolicySettings(least_gain_nats=0.1)).again
    assert (again and again.candidate.dose_e_per_a2) == (None if least > 1e4 else 1e4)


def test_a_switch_must_be_worth_it(known, offers, law):
    told = known()
    listed = offers(told)
    stubborn = choose(listed, told, PolicySettings(least_gain_nats=0.01, advantage=1e6))
    assert stubborn.offer.switch is None


def test_nothing_is_asked_for_that_tells_too_little(known, offers, law):
    told = known()
    assert choose(offers(told), told, PolicySettings(least_gain_nats=1e4)) is None
    assert choose([], told, PolicySettings()) is None


def test_dear_time_is_not_spent_waiting_for_a_detector(known, offers, law):
    told = known(2e5)
    listed = offers(told)
    cheap, dear = (
        choose(listed, told, PolicySettings(least_gain_nats=0.1, electrons_per_s=rate))
        for rate in (0.0, 1e12)
    )
    assert cheap.offer.switch is not None
    assert dear.offer.switch is None
    assert dear.worth.candidate.seconds < cheap.worth.candidate.seconds


def test_near_a_goal_a_small_scan_is_enough(known, offers, law):
    """Where time is dear much is asked for at once, unless little is needed."""
    told = known()
    listed, dear = offers(told), PolicySettings(least_gain_nats=0.1, electrons_per_s=1e8)
    much, some, little = (choose(listed, told, dear, needed_nats=needed) for needed in (math.inf, 1.0, 0.2))
    electrons = [one.worth.candidate.electrons for one in (much, some, little)]
    assert electrons[0] > electrons[1] > electrons[2]
    assert little.offer.acquire.window is not None


def test_fewer_detectors_than_can_be_read_at_once_are_not_switched_to(known, offers):
    sets = {tuple(s.detector for s in offer.candidate.sources) for offer in offers(known())}
    assert sets == {("HAADF",), ("HAADF", "MAADF")}
