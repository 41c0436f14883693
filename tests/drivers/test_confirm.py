import pytest

from drivers.confirm import Tolerances, disagreement, is_frame_of, refusal
from drivers.contract.context import HAADF, MAADF
from drivers.contract.header import FrameFacts, StagePosition, Window
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    Capabilities,
    InstrumentState,
    MoveStage,
    Refocus,
    SetFieldOfView,
    StartScan,
    StopScan,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from drivers.fake import FakeMicroscope

WINDOW = Window(row_px=2, col_px=3, rows_px=4, cols_px=5)
STATE = InstrumentState(
    monotonic_s=0.0,
    energy_kev=80.02,
    detectors=(HAADF,),
    field_of_view_nm=10.05,
    shape_px=(512, 512),
    dwell_us=1.01,
    stage=StagePosition(x_nm=10.4, y_nm=-3.0),
    is_blanked=False,
    is_scanning=True,
)
BARE = InstrumentState(monotonic_s=0.0)


@pytest.mark.parametrize(
    "command",
    [
        SwitchDetector(detectors=("HAADF",)),
        SwitchEnergy(energy_kev=80.0),
        SetFieldOfView(field_of_view_nm=10.0),
        MoveStage(x_nm=10.0),
        Refocus(),
        UnblankBeam(),
        StartScan(dwell_us=1.0, shape_px=(512, 512)),
    ],
    ids=lambda command: command.kind,
)
def test_a_state_within_the_tolerance_agrees(command):
    assert disagreement(command, STATE, Tolerances()) == ""


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (SwitchDetector(detectors=("HAADF", "MAADF")), "detectors: asked for"),
        (SwitchDetector(detectors=("MAADF",)), "detectors: asked for"),
        (SwitchEnergy(energy_kev=60.0), "energy_kev: asked for 60.0, read back 80.02"),
        (SetFieldOfView(field_of_view_nm=12.0), "read back 10.05"),
        (MoveStage(x_nm=10.0, y_nm=0.0), "stage y_nm: asked for 0.0, read back -3.0"),
        (BlankBeam(), "is_blanked: asked for True, read back False"),
        (StartScan(dwell_us=2.0), "dwell_us"),
        (StartScan(shape_px=(8, 8)), "shape_px"),
        (StopScan(), "is_scanning"),
        (AcquireImage(), "has not come"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_state_that_differs_says_how(command, reason):
    assert reason in disagreement(command, STATE, Tolerances())


@pytest.mark.parametrize(
    "command",
    [SwitchEnergy(energy_kev=60.0), BlankBeam(), SetFieldOfView(field_of_view_nm=3.0), MoveStage(x_nm=0.0)],
    ids=lambda command: command.kind,
)
def test_what_is_not_read_back_is_never_confirmed(command):
    assert "does not read it back" in disagreement(command, BARE, Tolerances())


def test_nothing_agrees_while_it_settles_but_the_blanker():
    settling = STATE.model_copy(update={"is_settling": True, "note": "ramping"})
    assert "settling still: ramping" in disagreement(SwitchEnergy(energy_kev=80.0), settling, Tolerances())
    assert disagreement(UnblankBeam(), settling, Tolerances()) == ""


@pytest.mark.parametrize(
    ("facts", "shape", "answers"),
    [
        (FrameFacts(window=WINDOW, field_shape_px=(32, 32), dwell_us=2.01), (4, 5), True),
        (FrameFacts(window=WINDOW, field_shape_px=(32, 32), dwell_us=1.0), (4, 5), False),
        (FrameFacts(window=WINDOW, field_shape_px=(64, 64), dwell_us=2.0), (4, 5), False),
        (FrameFacts(dwell_us=2.0), (32, 32), False),
    ],
    ids=["same", "dwell", "grid", "whole-field"],
)
def test_a_frame_answers_a_request_if_it_is_what_was_asked_for(facts, shape, answers):
    command = AcquireImage(window=WINDOW, shape_px=(32, 32), dwell_us=2.0)
    assert is_frame_of(command, facts, shape, 0.02) is answers


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (SwitchDetector(detectors=("EELS",)), "detector EELS is not among"),
        (SwitchEnergy(energy_kev=300.0), "300 keV is not among"),
        (AcquireImage(dwell_us=1e6), "outside the instrument's 0.1 to 1000 us"),
        (StartScan(shape_px=(4096, 16)), "larger than the instrument's"),
        (SetFieldOfView(field_of_view_nm=0.1), "outside"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_what_an_instrument_cannot_do_is_refused_before_it_moves(command, reason):
    assert reason in refusal(command, FakeMicroscope().capabilities())


def test_limits_of_stage_and_detectors_are_kept():
    capabilities = Capabilities(
        instrument="x",
        commands=("move_stage", "switch_detector", "acquire_image"),
        detectors=(HAADF, MAADF),
        stage_nm_range=(-5.0, 5.0),
    )
    assert "outside" in refusal(MoveStage(y_nm=7.0), capabilities)
    assert "at most 1" in refusal(SwitchDetector(detectors=("HAADF", "MAADF")), capabilities)
    assert "window" in refusal(AcquireImage(window=WINDOW), capabilities)


def test_an_instrument_that_takes_no_commands_refuses_all():
    assert "it takes none" in refusal(BlankBeam(), Capabilities(instrument="x"))


def test_a_detector_that_reads_beside_the_one_that_was_asked_for_is_another_setting():
    both = STATE.model_copy(update={"detectors": (HAADF, MAADF)})
    assert "asked for" in disagreement(SwitchDetector(detectors=("HAADF",)), both, Tolerances())
    assert disagreement(SwitchDetector(detectors=("MAADF", "HAADF")), both, Tolerances()) == ""


def test_an_energy_beside_those_of_the_instrument_is_refused():
    capabilities = Capabilities(instrument="x", commands=("switch_energy",), energies_kev=(60.0, 80.0))
    assert refusal(SwitchEnergy(energy_kev=80.0), capabilities) == ""
    assert "81 keV is not among" in refusal(SwitchEnergy(energy_kev=81.0), capabilities)
