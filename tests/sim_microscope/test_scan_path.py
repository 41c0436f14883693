import numpy as np
import pytest

from drivers.contract.header import Window
from sim_microscope.scan_path import ScanPath


def make(window=None, magnification=1.0):
    return ScanPath.of_field(
        6.0, (40, 60), window, dwell_us=100.0, flyback_us=1000.0, magnification=magnification
    )


def test_the_middle_of_the_grid_is_the_middle_of_the_field():
    scan_map = make().scan_map(np.array([5.0, 7.0]), np.array([5.0, 7.0]))
    np.testing.assert_allclose(scan_map.to_specimen(np.array([[19.5, 29.5]])), [[5.0, 7.0]])
    np.testing.assert_allclose(
        scan_map.to_specimen(np.array([[20.5, 29.5]])) - [[5.0, 7.0]], [[1.0, 0.0]], atol=1e-12
    )


def test_a_window_covers_its_pixels_of_the_whole_field():
    window = make(Window(row_px=10, col_px=20, rows_px=8, cols_px=9))
    middle = np.zeros(2)
    whole, part = make().scan_map(middle, middle), window.scan_map(middle, middle)
    np.testing.assert_allclose(
        part.to_specimen(np.array([[3.0, 4.0]])), whole.to_specimen(np.array([[13.0, 24.0]]))
    )


def test_the_last_point_sees_the_specimen_where_it_is_then():
    path = make()
    end = np.array([0.3, -0.2])
    scan_map = path.scan_map(np.zeros(2), end)
    still = path.scan_map(np.zeros(2), np.zeros(2))
    last = np.array([[39.0, 59.0]])
    # All but the last dwell and the last flyback have passed.
    passed = (path.duration_s - 1100e-6) / path.duration_s
    np.testing.assert_allclose(scan_map.to_specimen(last) - still.to_specimen(last), [end * passed])


def test_its_box_holds_its_points_and_grows_with_the_magnification():
    low, high = make(magnification=1.05).box(
        make(magnification=1.05).scan_map(np.zeros(2), np.zeros(2)), rows=10
    )
    np.testing.assert_allclose(low, [-21.0, -31.5])
    np.testing.assert_allclose(high - low, [10 * 1.05, 63.0])


def test_pixels_half_a_step_beyond_the_outermost_points_still_belong_to_it():
    inside = make().contains(np.array([[-0.5, 0], [39.4, 59.4], [39.6, 0], [0, -0.6]]))
    assert inside.tolist() == [True, True, False, False]


def test_it_lasts_as_long_as_its_rows():
    assert make().duration_s == pytest.approx(40 * (60 * 100e-6 + 1e-3))
