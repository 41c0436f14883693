import numpy as np
import pytest

from drivers.contract.instrument import (
    AcquireImage,
    StopScan,
    SwitchDetector,
    SwitchEnergy,
)
from drivers.microscope import EndOfFramesError
from sim_microscope.instrument import Instrument
from sim_microscope.server import FastClock, RealClock, SimulatedMicroscope
from sim_microscope.settings import SimulatorSettings


class HandClock(RealClock):
    """A real clock whose sleeps take no time."""

    def __init__(self):
        self.time_s = 100.0

    def now_s(self):
        return self.time_s

    def wait(self, seconds):
        self.time_s += seconds


def make(clock, **settings):
    small = {"fov_nm": 3.0, "pixels": 64}
    return SimulatedMicroscope(Instrument(SimulatorSettings(**(small | settings)), at_s=clock.now_s()), clock)


def test_at_a_real_pace_a_frame_comes_when_its_scan_has_ended():
    clock = HandClock()
    microscope = make(clock, dwell_us=50.0, flyback_us=0.0)  # 205 ms
    taken, waits = None, 0
    while taken is None:
        taken = microscope.take_frame(0.05)
        waits += 1
    assert waits == 5
    assert clock.time_s - 100.0 == pytest.approx(64**2 * 50e-6)
    assert taken.facts.monotonic_s == pytest.approx(clock.time_s)


def test_fast_frames_do_not_wait_but_time_passes_for_the_specimen():
    clock = FastClock()
    microscope = make(clock, dwell_us=10_000.0)  # 41 s
    before = clock.now_s()
    exposures = [microscope.take_frame(0.05) for _ in range(2)]
    assert all(exposure is not None for exposure in exposures)
    assert clock.now_s() - before == pytest.approx(2 * (64**2 * 10e-3 + 64 * 50e-6))


def test_a_fast_instrument_settles_by_being_asked():
    microscope = make(FastClock())
    microscope.execute(SwitchEnergy(energy_kev=60.0))
    asked = 0
    while microscope.state().is_settling:
        asked += 1
        assert asked < 500
    assert microscope.state().energy_kev == 60.0


def test_detectors_at_once_come_one_after_the_other():
    microscope = make(FastClock(), active=("HAADF", "MAADF"))
    names = [microscope.take_frame(0.05).facts.detector.name for _ in range(4)]
    assert names == ["HAADF", "MAADF"] * 2


def test_it_scans_until_the_last_frame_of_a_scan_is_handed_over():
    microscope = make(FastClock(), active=("HAADF", "MAADF"))
    microscope.take_frame(0.05)
    microscope.execute(StopScan())
    assert microscope.state().is_scanning
    assert microscope.take_frame(0.05).facts.detector.name == "MAADF"
    assert not microscope.state().is_scanning


def test_it_waits_for_requests_when_it_does_not_scan():
    microscope = make(FastClock())
    microscope.execute(StopScan())
    assert microscope.take_frame(0.01) is None
    microscope.execute(SwitchDetector(detectors=("MAADF",)))
    while microscope.state().is_settling:
        pass
    microscope.execute(AcquireImage(dwell_us=2.0))
    assert microscope.take_frame(0.01).facts.dwell_us == 2.0
    assert microscope.take_frame(0.01) is None


def test_the_truth_of_a_frame_is_kept_under_its_number():
    microscope = make(FastClock())
    exposures = [microscope.take_frame(0.05) for _ in range(3)]
    truths = [microscope.truth(sequence) for sequence in range(3)]
    assert [truth.sequence for truth in truths] == [0, 1, 2]
    assert microscope.truth(3) is None
    # The drift moves the columns from frame to frame, each by as much.
    _, i, j = np.intersect1d(truths[0].columns["site"], truths[2].columns["site"], return_indices=True)
    moved = truths[2].columns["row_px"][j] - truths[0].columns["row_px"][i]
    assert moved.std() < 1e-2
    assert exposures[0].pixels.shape == (64, 64)


def test_a_session_of_so_many_frames_ends_after_them():
    clock = FastClock()
    settings = SimulatorSettings(fov_nm=3.0, pixels=64)
    microscope = SimulatedMicroscope(Instrument(settings, at_s=clock.now_s()), clock, frames=2)
    assert all(microscope.take_frame(0.05) for _ in range(2))
    with pytest.raises(EndOfFramesError, match="all 2 frames"):
        microscope.take_frame(0.05)


def test_closing_blanks_the_beam():
    microscope = make(FastClock())
    microscope.close()
    assert microscope.state().is_blanked
    assert microscope.take_frame(0.01) is None
