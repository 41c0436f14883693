import numpy as np

from agent.sightings import field_box, read_map
from drivers.contract.header import StagePosition, Window
from drivers.contract.maps import ColumnFlag, DefectMap


def made_map(make, count=4):
    columns = make.columns_of(count)
    columns["row_px"], columns["col_px"] = [0, 10, 15, 3], [0, 5, 15, 9]
    columns["sublattice"] = [0, 1, 1, 0]
    columns["p"] = [[0, 0, 0, 0.9, 0.1], [0.5, 0.4, 0.1, 0, 0], [0.6, 0.2, 0.2, 0, 0], [0, 0, 0, 1, 0]]
    columns["flags"] = [0, 0, ColumnFlag.FOREIGN, ColumnFlag.UNDECIDED]
    header = make.map_header(0.1, columns=count)
    return DefectMap(header, columns)


def test_positions_are_where_the_stage_would_centre_the_column(make, law):
    header = make.header_of(1, stage=StagePosition(x_nm=2.0, y_nm=-1.0))
    scan = read_map(made_map(make), header, law)
    # Pixels of 0.3 Å; the middle of a field of 16 px lies at 7.5.
    np.testing.assert_allclose(scan.positions_angstrom[0], [-10.0 - 7.5 * 0.3, 20.0 - 7.5 * 0.3])
    assert scan.taken_s == header.monotonic_s
    low_row, low_column, high_row, high_column = field_box(made_map(make), header)
    np.testing.assert_allclose([high_row - low_row, high_column - low_column], 16 * 0.3)
    np.testing.assert_allclose([(low_row + high_row) / 2, (low_column + high_column) / 2], [-10.0, 20.0])


def test_a_window_lies_in_its_field(make, law):
    window = Window(row_px=20, col_px=30, rows_px=16, cols_px=16)
    header = make.header_of(1, window=window, field_shape_px=(64, 64))
    scan = read_map(made_map(make), header, law)
    np.testing.assert_allclose(scan.positions_angstrom[0], [(20 - 31.5) * 0.3, (30 - 31.5) * 0.3], rtol=1e-6)
    low_row, _, high_row, _ = field_box(made_map(make), header)
    np.testing.assert_allclose(high_row - low_row, 64 * 0.3)


def test_the_frame_s_prior_is_taken_out(make, law):
    scan = read_map(made_map(make), make.header_of(1, dose_e_per_a2=1e4), law)
    logs = scan.layers[0].log_likelihood
    # p / prior: 0.9 / 0.3 against 0.1 / 0.1 of the metal.
    np.testing.assert_allclose(logs[0, 3] - logs[0, 4], np.log(3.0), rtol=1e-6)
    assert np.isneginf(logs[0, :3]).all()
    assert np.isneginf(logs[1, 3:]).all()
    assert scan.layers[0].dose_e_per_a2 == 1e4


def test_columns_that_the_map_does_not_vouch_for_say_nothing(make, law):
    scan = read_map(made_map(make), make.header_of(1), law)
    np.testing.assert_array_equal(scan.layers[0].is_usable, [True, True, False, False])
    assert scan.layers[0].dose_e_per_a2 == law.half_dose_e_per_a2  # of which nothing is known


def test_rows_are_passed_one_after_the_other(make, law):
    header = make.header_of(1, dwell_us=1000.0)
    scan = read_map(made_map(make), header, law, flyback_us=4000.0)
    row_s = (header.shape[1] * 1000.0 + 4000.0) * 1e-6
    assert scan.duration_s == header.shape[0] * row_s
    assert scan.middle_s == header.monotonic_s - scan.duration_s / 2
    np.testing.assert_allclose(scan.levers_s, (7.5 - np.array([0, 10, 15, 3])) * row_s)
    unknown = read_map(made_map(make), make.header_of(1, dwell_us=None), law, flyback_us=4000.0)
    assert not unknown.levers_s.any()
    assert unknown.middle_s == header.monotonic_s
