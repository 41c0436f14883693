import pytest

from agent.interlocks import Circumstances, find_objection, must_ask
from agent.ledger import Exposure, Ledger
from agent.settings import LimitSettings
from drivers.contract.context import HAADF, MAADF
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    MoveStage,
    Refocus,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from drivers.contract.knock_on import onset_kev

LIMITS = LimitSettings(energies_kev=(80.0,), requests_per_minute=2, dose_e_per_a2=0)


def told(make, **facts):
    known = {"capabilities": make.CAPABILITIES, "state": make.state_of(), "host": "WSe2"}
    return Circumstances(**(known | facts))


CASES = {
    "an allowed detector": (SwitchDetector(detectors=("MAADF",)), None),
    "a detector that is not allowed": (SwitchDetector(detectors=("BF",)), "not among the allowed"),
    "an allowed energy": (SwitchEnergy(energy_kev=80.0), None),
    "an energy that is not allowed": (SwitchEnergy(energy_kev=60.0), "allowed energies: 80"),
    "another frame": (AcquireImage(), None),
    "the stage": (MoveStage(x_nm=1.0), "does not take move_stage"),
    "blanking": (BlankBeam(), None),
}


@pytest.mark.parametrize(("command", "said"), CASES.values(), ids=CASES)
def test_commands_are_checked_against_the_limits(command, said, make):
    objection = find_objection(command, LIMITS, told(make), 0.0)
    assert (objection is None) if said is None else (said in objection)


@pytest.mark.parametrize("command", [MoveStage(x_nm=1.0), Refocus(), UnblankBeam()])
def test_what_is_the_operators_is_never_sent(command, make):
    able = make.CAPABILITIES.model_copy(update={"commands": (command.kind,)})
    assert "the operator's" in find_objection(command, LIMITS, told(make, capabilities=able), 0.0)


def test_a_detector_that_is_allowed_but_not_there_is_not_asked_for(make):
    limits = LimitSettings(detectors=("BF",))
    command = SwitchDetector(detectors=("BF",))
    objection = find_objection(command, limits, told(make), 0.0)
    assert "has no detector BF" in objection


def test_requests_a_minute_are_limited(make):
    command = AcquireImage()
    assert find_objection(command, LIMITS, told(make, sent_s=(0.0, 10.0)), 59.0)
    assert not find_objection(command, LIMITS, told(make, sent_s=(0.0, 10.0)), 61.0)


def test_nothing_is_sent_while_the_instrument_settles_or_is_unknown(make):
    command = AcquireImage()
    settling = make.state_of(is_settling=True, note="ramping")
    assert "ramping" in find_objection(command, LIMITS, told(make, state=settling), 0.0)
    assert find_objection(command, LIMITS, Circumstances(None, None), 0.0)
    assert find_objection(BlankBeam(), LIMITS, Circumstances(None, None), 0.0) is None


def test_an_energy_change_waits_for_the_operator_unless_told_in_so_many_words():
    assert must_ask(SwitchEnergy(energy_kev=80.0), LIMITS)
    assert not must_ask(SwitchEnergy(energy_kev=80.0), LimitSettings(energy_without_asking=True))
    assert not must_ask(AcquireImage(), LIMITS)


def test_energies_at_which_chalcogens_go_are_refused_unless_told_in_so_many_words(make):
    limits = LimitSettings(energies_kev=(60.0, 80.0))
    low, high = SwitchEnergy(energy_kev=60.0), SwitchEnergy(energy_kev=80.0)
    assert find_objection(low, limits, told(make, host="MoS2"), 0.0) is None
    assert "knocks chalcogens out of MoS2" in find_objection(high, limits, told(make, host="MoS2"), 0.0)
    assert find_objection(high, limits, told(make, host="MoSe2"), 0.0) is None
    assert "not known" in find_objection(high, limits, told(make, host=None), 0.0)
    allowed = limits.model_copy(update={"above_knock_on": True})
    assert find_objection(high, allowed, told(make, host="MoS2"), 0.0) is None


@pytest.mark.parametrize("host", ["MoS2", "WSe2"])
def test_the_energy_at_which_chalcogens_begin_to_go_is_too_high_itself(host, make):
    onset = onset_kev(host)
    limits = LimitSettings(energies_kev=(onset - 0.5, onset))
    below, at = (SwitchEnergy(energy_kev=energy) for energy in limits.energies_kev)
    assert find_objection(below, limits, told(make, host=host), 0.0) is None
    assert "knocks chalcogens out" in find_objection(at, limits, told(make, host=host), 0.0)


def test_no_region_is_brought_above_the_limit_of_dose(make):
    limits = LimitSettings(dose_e_per_a2=1e5)
    scan = {"field_of_view_nm": 10.0, "shape_px": (200, 200), "beam_current_pa": 10.0, "dwell_us": 100.0}
    command = AcquireImage()  # 24,966 e/Å²
    before = Ledger(20.0).booked(Exposure((40.0, 40.0, 45.0, 45.0), 7e4), (0.0, 0.0))
    now = told(make, state=make.state_of(**scan), ledger=before)
    assert find_objection(command, limits, now, 0.0) is None
    more = told(
        make, state=make.state_of(**scan), ledger=before.booked(Exposure((0, 0, 50, 50), 1e4), (0, 0))
    )
    assert "would pass the limit of 1e+05" in find_objection(command, limits, more, 0.0)
    elsewhere = told(make, state=make.state_of(**scan), ledger=more.ledger, drift_angstrom=(500.0, 0.0))
    assert find_objection(command, limits, elsewhere, 0.0) is None


def test_what_cannot_be_counted_is_not_sent_under_a_limit(make):
    limits = LimitSettings()
    assert "dose of this scan is not known" in find_objection(AcquireImage(), limits, told(make), 0.0)
    scan = {"field_of_view_nm": 10.0, "shape_px": (200, 200), "beam_current_pa": 10.0, "dwell_us": 1.0}
    unsure = told(make, state=make.state_of(**scan), ledger=Ledger(20.0).booked(None, (0.0, 0.0)))
    assert "1 frames before" in find_objection(AcquireImage(), limits, unsure, 0.0)


def test_no_scan_is_sent_that_a_detector_would_read_which_is_not_allowed(make):
    limits = LimitSettings(detectors=("MAADF",), dose_e_per_a2=0)
    assert "HAADF would read" in find_objection(AcquireImage(), limits, told(make), 0.0)
    both = make.state_of(detectors=(MAADF, HAADF))
    assert "HAADF would read" in find_objection(AcquireImage(), limits, told(make, state=both), 0.0)
    alone = make.state_of(detectors=(MAADF,))
    assert find_objection(AcquireImage(), limits, told(make, state=alone), 0.0) is None
