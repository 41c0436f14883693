"""Frames read on a GPU, where there is one."""

import numpy as np
import pytest
import torch

from drivers.contract.context import HAADF, MAADF, Context, Specimen
from models.analysis import analyse, analyse_of_scan, load_analyser
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

WSE2 = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
PLAN = SpecimenPlan(rotation_deg=13.0, concentrations=DefectConcentrations(0.05, 0.01, 0.01))


def images(context, count):
    taken = Acquisition(pixels=256, fov_nm=9.0, dose_e_per_a2=3e4, source_sigma_angstrom=0.5)
    return [simulate_frame(context, taken, PLAN, seed=seed).image for seed in range(count)]


@pytest.fixture(scope="module")
def cpu():
    return load_analyser()


@pytest.fixture(scope="module")
def gpu():
    return load_analyser(device="cuda")


def assert_alike(found, expected):
    assert len(found.columns) == len(expected.columns)
    for axis in ("row_px", "col_px"):
        np.testing.assert_allclose(found.columns[axis], expected.columns[axis], atol=1e-3)
    np.testing.assert_array_equal(found.columns["cls"], expected.columns["cls"])
    np.testing.assert_allclose(found.columns["p"], expected.columns["p"], atol=1e-4)
    assert found.header.flags == expected.header.flags


def test_a_gpu_makes_the_maps_of_the_processor(cpu, gpu):
    for image in images(WSE2, 4):
        assert_alike(analyse(image, WSE2, gpu), analyse(image, WSE2, cpu))
        counts = np.round(image).astype(np.uint16)
        assert_alike(analyse(counts, WSE2, gpu), analyse(counts, WSE2, cpu))


def test_a_gpu_makes_the_same_map_to_the_bit(gpu):
    image = images(WSE2, 1)[0]
    first = analyse(image, WSE2, gpu)
    for _ in range(10):
        np.testing.assert_array_equal(analyse(image, WSE2, gpu).columns, first.columns)


def test_detectors_of_one_scan_share_their_lattice_on_a_gpu_too(cpu, gpu):
    maadf = WSE2.model_copy(update={"detector": MAADF})
    made = {}
    for name, analyser in (("cpu", cpu), ("gpu", gpu)):
        _, geometry = analyse_of_scan(images(WSE2, 1)[0], WSE2, analyser)
        made[name], _ = analyse_of_scan(images(maadf, 1)[0], maadf, analyser, geometry=geometry)
    assert_alike(made["gpu"], made["cpu"])
