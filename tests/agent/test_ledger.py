import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ledger import Exposure, Ledger, exposure_of_command, exposure_of_frame
from drivers.contract.header import FrameFacts, StagePosition, Window
from drivers.contract.instrument import AcquireImage

boxes = st.tuples(st.floats(-200, 200), st.floats(-200, 200), st.floats(1, 150), st.floats(1, 150)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
exposures = st.builds(Exposure, boxes, st.floats(1, 1e5))


@given(st.lists(exposures, max_size=8), boxes)
def test_a_region_never_counts_less_than_any_scan_that_covered_it(scans, box):
    ledger = Ledger(20.0)
    for scan in scans:
        ledger = ledger.booked(scan, (0.0, 0.0))
    inside = [
        scan.dose_e_per_a2
        for scan in scans
        if all(scan.box[k] < box[k + 2] and box[k] < scan.box[k + 2] for k in range(2))
    ]
    assert ledger.most_in(box, (0.0, 0.0)) >= max(inside, default=0.0) * (1 - 1e-9)


def test_doses_add_up_where_scans_overlap_and_stay_apart_elsewhere():
    ledger = Ledger(20.0).booked(Exposure((0, 0, 40, 40), 10.0), (0.0, 0.0))
    ledger = ledger.booked(Exposure((0, 0, 20, 20), 5.0), (0.0, 0.0))
    assert ledger.highest_e_per_a2 == 15.0
    assert ledger.most_in((28, 28, 32, 32), (0.0, 0.0)) == 10.0
    assert ledger.most_in((100, 100, 120, 120), (0.0, 0.0)) == 0.0


def test_a_scan_may_stray_into_the_region_beside_it():
    """Drift since the last map, and scan coils: 5 Å."""
    ledger = Ledger(20.0).booked(Exposure((0, 0, 20, 20), 10.0), (0.0, 0.0))
    assert ledger.most_in((24, 4, 36, 16), (0.0, 0.0)) == ledger.most_in((4, 24, 16, 36), (0.0, 0.0)) == 10.0
    assert ledger.most_in((-16, 4, -4, 16), (0.0, 0.0)) == 10.0
    assert ledger.most_in((26, 4, 36, 16), (0.0, 0.0)) == 0.0


def test_the_specimen_carries_its_dose_along():
    ledger = Ledger(20.0).booked(Exposure((0, 0, 20, 20), 10.0), (0.0, 0.0))
    assert ledger.most_in((107, 7, 113, 13), (100.0, 0.0)) == 10.0
    assert ledger.most_in((7, 7, 13, 13), (100.0, 0.0)) == 0.0


def test_what_a_frame_cost_is_told_by_its_header_or_not_at_all():
    facts = FrameFacts(pixel_size_angstrom=0.5, dose_e_per_a2=1e4, stage=StagePosition(x_nm=1.0, y_nm=2.0))
    assert exposure_of_frame(facts, (100, 200)) == Exposure((-5.0, -40.0, 45.0, 60.0), 1e4)
    without = FrameFacts(field_of_view_nm=10.0, beam_current_pa=10.0, dwell_us=4.0)
    told = exposure_of_frame(without, (100, 200))
    assert told.dose_e_per_a2 == pytest.approx(6.241509 * 10 * 4 / 0.25)
    assert exposure_of_frame(FrameFacts(pixel_size_angstrom=0.5), (100, 200)) is None


def test_what_a_window_would_cost_is_told_by_the_instruments_state(make):
    state = make.state_of(field_of_view_nm=10.0, shape_px=(200, 200), beam_current_pa=10.0, dwell_us=1.0)
    command = AcquireImage(dwell_us=4.0, window=Window(row_px=0, col_px=100, rows_px=100, cols_px=50))
    told = exposure_of_command(command, state)
    assert told.box == (-50.0, 0.0, 0.0, 25.0)
    assert told.dose_e_per_a2 == pytest.approx(6.241509 * 10 * 4 / 0.25)
    assert exposure_of_command(command, make.state_of()) is None


def test_the_width_of_a_field_that_is_no_square_is_that_of_its_rows(make):
    """A frame, and the request for one, of 100 x 200 px over 10 nm: pixels of 0.5 Å, whatever its height."""
    scan = {"field_of_view_nm": 10.0, "beam_current_pa": 10.0, "dwell_us": 4.0}
    asked = exposure_of_command(AcquireImage(), make.state_of(shape_px=(100, 200), **scan))
    came = exposure_of_frame(FrameFacts(**scan), (100, 200))
    assert asked == came
    assert asked.box == (-25.0, -50.0, 25.0, 50.0)
    assert asked.dose_e_per_a2 == pytest.approx(6.241509 * 10 * 4 / 0.25)
