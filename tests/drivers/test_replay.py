from dataclasses import replace

import numpy as np
import pytest

from drivers.contract.context import HAADF, MAADF
from drivers.contract.errors import CommandRefusedError, InputError
from drivers.contract.header import FrameFacts, Simultaneous, Window
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    MoveStage,
    StartScan,
    StopScan,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from drivers.microscope import EndOfFramesError
from drivers.recording import Held, Recording
from drivers.replay import Options, ReplayMicroscope

DETECTORS = {"H": HAADF, "M": MAADF}


class HandClock:
    """Time that passes only by waiting."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s

    def wait(self, seconds):
        self.now_s += seconds


def held(label, *, energy_kev=80.0, lasts_s=1.0, group=None):
    """A frame ``H3``: HAADF at position 3; its pixels tell both."""
    facts = FrameFacts(
        detector=DETECTORS[label[0]],
        energy_kev=energy_kev,
        dwell_us=2.0,
        source=label,
        simultaneous=group,
    )
    pixels = np.full((6, 8), int(label[1:]), np.uint16)
    return Held(label[1:], facts, (6, 8), lasts_s, lambda: pixels)


def replay(*labels, is_series=False, clock=None, **options):
    frames = tuple(one if isinstance(one, Held) else held(one) for one in labels)
    clock = clock or HandClock()
    return ReplayMicroscope(
        Recording("test", frames, is_series=is_series), Options(**options), clock=clock, wait=clock.wait
    )


def take(microscope, count=1):
    """Take frames, however long they last; returns their labels."""
    found = []
    for _ in range(1000):
        if len(found) == count:
            break
        exposure = microscope.take_frame(0.5)
        if exposure is not None:
            found.append(exposure.facts.source)
    return found


def test_frames_that_are_not_played_are_counted_and_the_reason_told():
    told = replay("H1", "M1", "H2", "M2", "M3").unplayed
    assert told.startswith("3 of 5 frames are not played unless they are asked for")
    assert "they are of MAADF at 80 keV, and what is played is of HAADF at 80 keV" in told
    assert replay("H1", "H2").unplayed == ""
    assert replay("H1", "M1", is_series=True).unplayed == ""


def test_a_collection_plays_the_frames_of_one_detector():
    microscope = replay("H1", "M1", "H2", "M2", at_end="end")
    assert take(microscope, 2) == ["H1", "H2"]
    with pytest.raises(EndOfFramesError):
        microscope.take_frame(0.5)


def test_a_series_plays_every_frame_in_its_order():
    microscope = replay("H1", "M1", "M2", "H2", is_series=True)
    assert take(microscope, 2) == ["H1", "M1"]
    assert microscope.state().detectors == (MAADF,)
    assert take(microscope, 2) == ["M2", "H2"]


def test_asked_for_another_detector_it_sees_the_same_position_again_and_goes_on():
    microscope = replay("H1", "M1", "H2", "M2", "H3", "M3")
    assert take(microscope, 2) == ["H1", "H2"]
    microscope.execute(SwitchDetector(detectors=("MAADF",)))
    assert microscope.state().detectors == (MAADF,)
    assert take(microscope, 2) == ["M2", "M3"]


def test_a_series_that_is_asked_stops_following_its_record():
    microscope = replay("H1", "H2", "M2", "H3", "M3", is_series=True)
    assert take(microscope, 2) == ["H1", "H2"]
    microscope.execute(SwitchDetector(detectors=("MAADF",)))
    assert take(microscope, 2) == ["M2", "M3"]


def test_where_a_position_lacks_the_detector_the_next_that_has_it_is_played():
    microscope = replay("H1", "M1", "H2", "H3", "M3")
    take(microscope, 2)
    microscope.execute(SwitchDetector(detectors=("MAADF",)))
    assert take(microscope) == ["M3"]


def test_detectors_at_once_are_marked_as_a_group():
    microscope = replay("H1", "M1", "H2", "M2")
    assert microscope.capabilities().max_simultaneous == 2
    microscope.execute(SwitchDetector(detectors=("HAADF", "MAADF")))
    assert take(microscope, 4) == ["H1", "M1", "H2", "M2"]


def test_groups_of_a_record_stay_groups():
    groups = [Simultaneous(group="old", index=index, count=2) for index in range(2)]
    microscope = replay(held("H1", group=groups[0]), held("M1", group=groups[1]), "H2", is_series=True)
    exposures = [microscope.take_frame(5.0) for _ in range(3)]
    marks = [exposure.facts.simultaneous for exposure in exposures]
    assert (marks[0].group, marks[0].index, marks[1].index) == (marks[1].group, 0, 1)
    assert marks[2] is None


def test_asked_for_another_energy_it_answers_if_it_holds_it():
    microscope = replay("H1", held("H1", energy_kev=60.0))
    assert microscope.capabilities().energies_kev == (60.0, 80.0)
    take(microscope)
    microscope.execute(SwitchEnergy(energy_kev=60.0))
    assert microscope.state().energy_kev == 60.0
    assert microscope.take_frame(5.0).facts.energy_kev == 60.0


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (SwitchDetector(detectors=("EELS",)), "holds no frame at 80 keV of EELS; it holds HAADF at 80 keV"),
        (SwitchEnergy(energy_kev=60.0), "holds no frame at 60 keV of HAADF"),
        (AcquireImage(dwell_us=9.0), "holds a frame of 2 us, not 9 us"),
        (AcquireImage(shape_px=(3, 3)), "holds a frame of 6 x 8 px, not 3 x 3"),
        (AcquireImage(window=Window(row_px=5, col_px=0, rows_px=2, cols_px=2)), "reaches out"),
        (MoveStage(x_nm=0.0), "does not take move_stage"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_what_is_not_held_is_refused_and_changes_nothing(command, reason):
    microscope = replay("H1", "H2")
    with pytest.raises(CommandRefusedError, match=reason):
        microscope.execute(command)
    assert take(microscope, 2) == ["H1", "H2"]


def test_an_image_that_is_asked_for_is_the_present_position_again():
    microscope = replay("H1", "H2", "H3")
    take(microscope, 2)
    microscope.execute(AcquireImage())
    assert take(microscope, 2) == ["H2", "H3"]


def test_a_window_is_cut_out_of_the_frame_that_is_held():
    microscope = replay("H1")
    window = Window(row_px=1, col_px=2, rows_px=3, cols_px=4)
    microscope.execute(AcquireImage(window=window))
    exposure = microscope.take_frame(5.0)
    assert exposure.pixels.shape == (3, 4)
    assert (exposure.facts.window, exposure.facts.field_shape_px) == (window, (6, 8))


def test_a_window_holds_the_pixels_of_its_own_rows_and_columns():
    pixels = np.arange(48, dtype=np.uint16).reshape(6, 8)
    microscope = replay(replace(held("H1"), load=lambda: pixels))
    microscope.execute(AcquireImage(window=Window(row_px=1, col_px=4, rows_px=3, cols_px=2)))
    np.testing.assert_array_equal(microscope.take_frame(5.0).pixels, pixels[1:4, 4:6])


def test_what_was_recorded_of_its_time_and_of_who_asked_for_it_is_not_played():
    """They are of another clock and of another session."""
    one = held("H1")
    facts = one.facts.model_copy(update={"monotonic_s": 5.0, "wall_time_unix_s": 1e9, "command_id": "s1.r1"})
    played = replay(replace(one, facts=facts)).take_frame(5.0).facts
    assert (played.monotonic_s, played.wall_time_unix_s, played.command_id) == (None, None, None)


def test_of_a_frame_that_is_itself_a_window_none_is_cut():
    one = held("H1")
    window = Window(row_px=0, col_px=0, rows_px=6, cols_px=8)
    facts = one.facts.model_copy(update={"window": window, "field_shape_px": (12, 16)})
    microscope = replay(replace(one, facts=facts))
    with pytest.raises(CommandRefusedError, match="itself a window"):
        microscope.execute(AcquireImage(window=window))


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_it_plays_at_its_own_pace_or_so_many_times_faster(speed):
    clock = HandClock()
    microscope = replay(held("H1", lasts_s=8.0), held("H2", lasts_s=2.0), clock=clock, speed=speed)
    take(microscope, 2)
    assert clock.now_s == pytest.approx(10.0 / speed)


def test_at_full_speed_no_time_passes():
    clock = HandClock()
    take(replay("H1", "H2", clock=clock, speed=float("inf")), 2)
    assert clock.now_s == 0.0


def test_a_window_takes_its_share_of_the_time():
    clock = HandClock()
    microscope = replay(held("H1", lasts_s=12.0), clock=clock)
    microscope.execute(AcquireImage(window=Window(row_px=0, col_px=0, rows_px=2, cols_px=2)))
    take(microscope)
    assert clock.now_s == pytest.approx(1.0)


def test_it_can_begin_again_at_the_end_or_hold_there():
    assert take(replay("H1", "H2", at_end="loop"), 5) == ["H1", "H2", "H1", "H2", "H1"]
    microscope = replay("H1", at_end="hold")
    assert take(microscope, 2) == ["H1"]
    microscope.execute(AcquireImage())
    assert take(microscope) == ["H1"]


def test_a_stopped_scan_and_a_blanked_beam_give_no_frames():
    microscope = replay("H1", "H2", "H3")
    microscope.execute(StopScan())
    assert take(microscope) == []
    microscope.execute(StartScan())
    assert take(microscope) == ["H1"]
    microscope.execute(BlankBeam())
    assert take(microscope) == []
    microscope.execute(UnblankBeam())
    assert take(microscope) == ["H2"]


def test_it_can_begin_with_a_detector_of_choice():
    assert take(replay("H1", "M1", "M2", detectors=("MAADF",)), 2) == ["M1", "M2"]
    with pytest.raises(InputError, match="holds no frame"):
        replay("H1", detectors=("MAADF",))


def test_a_frame_that_cannot_be_read_is_passed_over():
    def fail():
        raise InputError("the file is gone")

    broken = Held("1", FrameFacts(detector=HAADF, energy_kev=80.0), (6, 8), 0.0, fail)
    microscope = replay(broken, "H2")
    with pytest.raises(InputError, match="is gone"):
        microscope.take_frame(5.0)
    assert take(microscope) == ["H2"]
