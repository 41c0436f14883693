import numpy as np
import pytest

from sim_microscope.dose import DoseMap, electrons_per_pixel, scan_dose


def box(*edges):
    return np.array(edges[:2], float), np.array(edges[2:], float)


def test_a_picoampere_brings_six_electrons_a_microsecond():
    # 1 pA over the elementary charge is 6.2415e6 electrons a second.
    assert electrons_per_pixel(1.0, 1.0) == pytest.approx(6.2415, abs=1e-4)


def test_the_dose_of_a_scan_is_its_electrons_over_its_area():
    # 50 pA for 512 x 512 points of 4 us on 10 nm x 10 nm.
    total = 50e-12 / 1.602176634e-19 * 512**2 * 4e-6
    assert scan_dose(50.0, 4.0, 100 / 512) == pytest.approx(total / 100**2)


def test_the_map_keeps_every_electron():
    doses = DoseMap()
    doses.add(*box(-33.3, 4.2, 71.9, 58.8), 1000.0)
    doses.add(*box(0, 0, 7, 3), 500.0)
    assert doses.electrons == pytest.approx(1000 * 105.2 * 54.6 + 500 * 21)


def test_the_mean_of_a_scanned_box_is_its_dose_and_beyond_there_is_none():
    doses = DoseMap()
    doses.add(*box(0, 0, 100, 100), 300.0)
    doses.add(*box(0, 0, 100, 50), 200.0)
    assert doses.mean(*box(10, 0, 90, 50)) == pytest.approx(500)
    assert doses.mean(*box(10, 50, 90, 90)) == pytest.approx(300)
    assert doses.mean(*box(0, 50, 100, 150)) == pytest.approx(150)
    assert doses.mean(*box(-50, -50, -20, -20)) == 0
    assert doses.highest_e_per_a2 == pytest.approx(500)
    assert DoseMap().highest_e_per_a2 == 0
