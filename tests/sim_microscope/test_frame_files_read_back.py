"""The simulator's frames pass through the reader of micrograph files as any other instrument's do."""

import numpy as np
import pytest

from drivers.contract.context import MAADF, Context, Specimen
from drivers.file_context import settle
from drivers.files import read_micrographs
from sim_microscope.frame_files import write_frame
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame


@pytest.mark.parametrize("dopant", ["V", None])
def test_the_file_alone_settles_the_context(tmp_path, dopant):
    context = Context(specimen=Specimen(host="MoS2", dopant=dopant), energy_kev=60.0, detector=MAADF)
    acquisition = Acquisition(pixels=64, fov_nm=2.0, dose_e_per_a2=2e4, dwell_us=7.0)
    frame = simulate_frame(context, acquisition, SpecimenPlan(), seed=1)
    path = tmp_path / "frame.hspy"
    write_frame(frame, path)
    (only,) = read_micrographs(path, is_trusted=True).micrographs
    np.testing.assert_array_equal(only.image, frame.image)
    settled = settle(only.facts)
    assert settled.context == context
    assert settled.facts.pixel_size_angstrom.value == pytest.approx(acquisition.pixel_size_angstrom)
    assert settled.facts.dwell_us.value == 7.0
    assert settled.facts.dose_e_per_a2.value == 2e4
    assert settled.facts.inner_mrad.source == "frame.hspy: Acquisition_instrument/Detector/inner_angle_mrad"
