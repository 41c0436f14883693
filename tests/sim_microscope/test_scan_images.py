import numpy as np
import pytest

from drivers.contract.context import MAADF
from sim_microscope.field import Raster, render
from sim_microscope.scan_images import kernel_image, multislice_image
from sim_microscope.scan_path import ScanPath
from sim_microscope.simulate import load_kernels

PATH = ScanPath.of_field(3.0, (96, 96), dwell_us=100.0, flyback_us=0.0)
STILL = np.zeros(96)


@pytest.fixture
def crystal(make_doped):
    return make_doped()


def test_a_still_scan_is_the_render_of_its_raster(crystal, make_context):
    kernels = load_kernels(make_context())
    middle = np.full(2, 20.0)
    scan_map = PATH.scan_map(middle, middle)
    image = kernel_image(crystal, kernels, PATH, scan_map, STILL, source_sigma_angstrom=0.4)
    corner = 20 - 47.5 * PATH.step_angstrom
    expected = render(
        crystal, kernels, Raster((96, 96), PATH.step_angstrom, (corner, corner)), source_sigma_angstrom=0.4
    )
    assert np.abs(image - expected).max() < 2e-3 * np.ptp(expected)


@pytest.mark.parametrize("detector", [None, MAADF], ids=["HAADF", "MAADF"])
def test_at_one_percent_of_skew_a_drifting_scan_is_right_to_two_percent(crystal, make_context, detector):
    kernels = load_kernels(make_context(detector) if detector else make_context())
    start, end = np.array([20.0, 20.0]), np.array([20.2, 20.3])  # 0.3 Å while it scans 30 Å
    scan_map = PATH.scan_map(start, end)
    image = kernel_image(crystal, kernels, PATH, scan_map, STILL, source_sigma_angstrom=0.4)
    differences = []
    rng = np.random.default_rng(0)
    for row, column in rng.integers(8, 88, (12, 2)):
        (place,) = scan_map.to_specimen(np.array([[row, column]], float))
        point = Raster((1, 1), PATH.step_angstrom, (float(place[0]), float(place[1])))
        exact = render(crystal, kernels, point, source_sigma_angstrom=0.4)
        differences.append(float(image[row, column] - exact[0, 0]))
    assert np.sqrt(np.mean(np.square(differences))) < 0.02 * image.std()


def test_shifted_rows_see_what_lies_beside_them(crystal, make_context):
    kernels = load_kernels(make_context())
    middle = np.full(2, 20.0)
    scan_map = PATH.scan_map(middle, middle)
    shifts = np.random.default_rng(1).normal(0, 0.5, 96)
    image = kernel_image(crystal, kernels, PATH, scan_map, shifts, source_sigma_angstrom=0.4)
    moved = PATH.scan_map(
        middle + [0, shifts[40] * PATH.step_angstrom], middle + [0, shifts[40] * PATH.step_angstrom]
    )
    expected = kernel_image(crystal, kernels, PATH, moved, STILL, source_sigma_angstrom=0.4)
    assert np.abs(image[40] - expected[40]).max() < 0.01 * np.ptp(expected)


@pytest.mark.slow
def test_multislice_scans_the_same_points(crystal, make_context):
    context = make_context()
    path = ScanPath.of_field(0.8, (8, 6), dwell_us=100.0, flyback_us=0.0)
    scan_map = path.scan_map(np.full(2, 20.0), np.array([20.1, 20.0]))
    exact = multislice_image(
        crystal,
        context,
        path,
        scan_map,
        np.zeros(8),
        source_sigma_angstrom=0.0,
        defocus_angstrom=0.0,
        workers=1,
    )
    image = kernel_image(
        crystal, load_kernels(context), path, scan_map, np.zeros(8), source_sigma_angstrom=0.0
    )
    assert exact.shape == (8, 6)
    assert np.corrcoef(exact.ravel(), image.ravel())[0, 1] > 0.99
