import numpy as np
import pytest

from drivers.contract.context import MAADF, Context, Detector, Specimen
from drivers.contract.errors import InputError
from sim_microscope.crystal import Crystal
from sim_microscope.field import Raster, render
from sim_microscope.imaging import Acquisition, ScanMap
from sim_microscope.simulate import SpecimenPlan, load_kernels, simulate_frame, simulate_multislice

CONTEXT = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=MAADF)


@pytest.mark.parametrize("pixels", [64, 130], ids=["coarse", "fine"])
def test_a_drifting_scan_sees_what_a_probe_at_each_point_would(pixels):
    acquisition = Acquisition(
        pixels=pixels, fov_nm=2.6, dose_e_per_a2=None, drift_column_angstrom_per_s=3.0, dwell_us=30.0
    )
    frame = simulate_frame(CONTEXT, acquisition, SpecimenPlan(rotation_deg=12.0), seed=3)
    kernels, scan = load_kernels(CONTEXT), ScanMap.of(acquisition)
    for row, column in (
        (pixels // 2, pixels // 2),
        (pixels // 3, pixels // 2 + 3),
        (pixels // 2 + 5, pixels // 3),
    ):
        (place,) = scan.to_specimen(np.array([[row, column]], float))
        raster = Raster((1, 1), acquisition.pixel_size_angstrom, (float(place[0]), float(place[1])))
        exact = render(frame.crystal, kernels, raster, source_sigma_angstrom=0.4)
        # The truth holds the field alone, so points are taken well inside it.
        assert frame.image[row, column] == pytest.approx(
            float(exact[0, 0]), abs=0.05 * float(frame.image.std())
        )


def test_multislice_makes_the_same_frame_at_rest():
    acquisition = Acquisition(pixels=16, fov_nm=0.8, dose_e_per_a2=None, source_sigma_angstrom=0.0)
    plan, done = SpecimenPlan(rotation_deg=5.0), []
    reference = simulate_multislice(CONTEXT, acquisition, plan, seed=2, workers=2, on_done=done.append)
    frame = simulate_frame(CONTEXT, acquisition, plan, seed=2)
    assert sum(done) == 16 * 16
    assert reference.method == "multislice"
    np.testing.assert_array_equal(reference.pixel_positions, frame.pixel_positions)
    assert isinstance(reference.crystal, Crystal)
    assert np.corrcoef(reference.image.ravel(), frame.image.ravel())[0, 1] > 0.99


def test_a_device_that_is_not_there_is_named():
    acquisition = Acquisition(pixels=32, fov_nm=1.0)
    with pytest.raises(InputError, match="device 'nonsense' cannot make the field"):
        simulate_frame(CONTEXT, acquisition, SpecimenPlan(), seed=0, device="nonsense")


def test_a_bright_field_frame_of_a_clean_specimen_is_made_by_multislice():
    bright_field = CONTEXT.rebuilt(detector=Detector(name="BF", inner_mrad=0.0, outer_mrad=10.0))
    acquisition = Acquisition(pixels=16, fov_nm=0.4, dose_e_per_a2=None)
    frame = simulate_multislice(bright_field, acquisition, SpecimenPlan(), seed=2, workers=1)
    assert frame.image.min() > 0.0
    assert frame.image.max() < (10 / 31) ** 2 * 1.2
    with pytest.raises(InputError, match="contamination on BF"):
        simulate_multislice(
            bright_field, acquisition.rebuilt(contamination=0.1), SpecimenPlan(), seed=2, workers=1
        )
