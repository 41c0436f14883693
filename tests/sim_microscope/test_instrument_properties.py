"""Whatever is asked of the simulated microscope in whatever order, it keeps its word."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.contract.context import Specimen
from drivers.contract.errors import CommandRefusedError
from drivers.contract.header import Window
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    MoveStage,
    Refocus,
    SetFieldOfView,
    StartScan,
    StopScan,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from sim_microscope.instrument import Instrument
from sim_microscope.settings import SimulatorSettings
from sim_microscope.simulate import load_kernels

KNOWN = {}


def find_kernels(context):
    if context not in KNOWN:
        KNOWN[context] = load_kernels(context)
    return KNOWN[context]


EDGE = st.integers(1, 40)
COMMANDS = st.one_of(
    st.sampled_from([BlankBeam(), UnblankBeam(), StopScan(), StartScan(), Refocus(), AcquireImage()]),
    st.builds(SwitchEnergy, energy_kev=st.sampled_from([60.0, 80.0, 100.0, 200.0])),
    st.builds(
        SwitchDetector,
        detectors=st.sampled_from([("HAADF",), ("MAADF",), ("HAADF", "MAADF"), ("BF",), ("HAADF", "HAADF")]),
    ),
    st.builds(SetFieldOfView, field_of_view_nm=st.sampled_from([0.1, 1.5, 3.0, 200.0])),
    st.builds(MoveStage, x_nm=st.floats(-2e3, 2e3), z_nm=st.none() | st.floats(-60, 60)),
    st.builds(StartScan, dwell_us=st.floats(0.01, 1e5), shape_px=st.none() | st.tuples(EDGE, EDGE)),
    st.builds(
        AcquireImage,
        dwell_us=st.none() | st.floats(0.01, 100),
        window=st.none() | st.builds(Window, row_px=EDGE, col_px=EDGE, rows_px=EDGE, cols_px=EDGE),
    ),
)
#: A command; or whether the scan under way ends; or how much time passes.
STEPS = st.lists(st.one_of(COMMANDS, st.just("scan"), st.floats(0.001, 20)), max_size=25)


@given(steps=STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_it_never_does_what_it_must_not(steps):
    instrument = Instrument(
        SimulatorSettings(specimen=Specimen(host="MoS2"), fov_nm=2.0, pixels=24), find_kernels=find_kernels
    )
    now_s, electrons = 0.0, 0.0
    for step in steps:
        before = instrument.state(now_s)
        if isinstance(step, float):
            now_s += step
        elif step == "scan":
            end_s = instrument.begin_scan(now_s)
            if end_s is None:
                continue
            assert not before.is_blanked
            assert before.energy_kev in (60.0, 80.0, 100.0)
            now_s = max(now_s, end_s)
            for frame in instrument.end_scan():
                facts = frame.facts
                assert facts.energy_kev == before.energy_kev
                assert facts.detector in before.detectors
                assert facts.window is not None or frame.pixels.shape == facts.field_shape_px
                assert frame.pixels.min() >= 0
            electrons += frame.pixels.size * facts.dwell_us * facts.beam_current_pa * 6.241509074
        else:
            try:
                instrument.execute(step, now_s)
            except CommandRefusedError:
                after = instrument.state(now_s)
                assert after == before  # nothing was begun
        state = instrument.state(now_s)
        assert 60.0 <= state.energy_kev <= 100.0
        assert (state.settles_in_s > 0) == state.is_settling
    # Scans are begun and ended together here, so that none was given up: every electron is in a frame.
    assert instrument.specimen.dose.electrons == pytest.approx(electrons, rel=1e-6)
