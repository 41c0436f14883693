import numpy as np
import pytest

from drivers.contract.errors import InputError
from sim_microscope.aberrations import Aberrations, ProbeTransfer


def test_a_perfect_probe_needs_no_transfer_and_defocus_damps():
    rows, columns = np.fft.fftfreq(300, 0.25), np.fft.rfftfreq(280, 0.25)
    perfect = ProbeTransfer(Aberrations(), 80.0)(rows, columns)
    carried = np.hypot(rows[:, None], columns) < 1.3
    np.testing.assert_allclose(perfect[carried], 1.0, atol=1e-9)
    defocused = ProbeTransfer(Aberrations(defocus_angstrom=30.0), 80.0)(rows, columns)
    assert defocused[0, 0] == pytest.approx(1.0)
    assert np.abs(defocused).max() <= 1.0 + 1e-9
    assert defocused[carried].mean() < 0.8


def test_astigmatism_damps_across_its_azimuth_as_along_it_with_the_opposite_focus():
    rows, columns = np.fft.fftfreq(256, 0.25), np.fft.rfftfreq(256, 0.25)
    first = ProbeTransfer(Aberrations(defocus_angstrom=15.0, astigmatism_angstrom=15.0), 80.0)(rows, columns)
    turned = Aberrations(defocus_angstrom=15.0, astigmatism_angstrom=15.0, astigmatism_deg=90.0)
    second = ProbeTransfer(turned, 80.0)(rows, columns)
    np.testing.assert_allclose(first[0, :100], second[:100, 0], atol=1e-6)
    assert np.abs(first[0, 20:60] - second[0, 20:60]).max() > 0.05


def test_aberrations_beyond_the_kernels_are_refused():
    with pytest.raises(InputError, match="--method multislice"):
        ProbeTransfer(Aberrations(defocus_angstrom=500.0), 80.0)


def test_the_transfer_does_not_depend_on_the_grid_that_asks():
    transfer = ProbeTransfer(Aberrations(defocus_angstrom=40.0), 80.0)
    coarse = transfer(np.fft.fftfreq(40, 0.6), np.fft.rfftfreq(40, 0.6))
    fine = transfer(np.fft.fftfreq(120, 0.2), np.fft.rfftfreq(120, 0.2))
    np.testing.assert_allclose(coarse[:15, :15], fine[:15, :15])
