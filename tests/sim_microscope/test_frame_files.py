import csv

import numpy as np
import pytest

from drivers.contract.context import HAADF, Context, Specimen
from drivers.contract.errors import InputError
from sim_microscope.crystal import Defect, DefectConcentrations, GrainBoundary
from sim_microscope.frame_files import TRUTH_COLUMNS, read_frame, write_frame, write_picture, write_truth
from sim_microscope.imaging import Acquisition
from sim_microscope.kernels import default_table
from sim_microscope.simulate import SpecimenPlan, simulate_frame


@pytest.fixture(scope="module")
def frame():
    context = Context(specimen=Specimen(host="MoS2", dopant="V"), energy_kev=60.0, detector=HAADF)
    acquisition = Acquisition(pixels=96, fov_nm=3.0, dose_e_per_a2=2e4, drift_row_angstrom_per_s=0.1)
    plan = SpecimenPlan(
        concentrations=DefectConcentrations(0.1, 0.02, 0.1),
        defects=(Defect("empty", 12.0, 14.0),),
        strain=((0.01, 0.0), (0.0, -0.01)),
        boundary=GrainBoundary(15.0),
    )
    return simulate_frame(context, acquisition, plan, seed=11)


def test_metadata_survive_the_file(frame, tmp_path):
    path = tmp_path / "frame.hspy"
    write_frame(frame, path)
    recorded = read_frame(path)
    np.testing.assert_array_equal(recorded.image, frame.image)
    for name in ("context", "acquisition", "plan", "seed", "method"):
        assert getattr(recorded, name) == getattr(frame, name), name
    assert default_table().card["digest"] in recorded.method


def test_other_software_finds_energy_and_scale_in_the_file(frame, tmp_path):
    from rsciio.hspy import file_reader

    path = tmp_path / "frame.hspy"
    write_frame(frame, path)
    (signal,) = file_reader(str(path))
    tem = signal["metadata"]["Acquisition_instrument"]["TEM"]
    assert tem["beam_energy"] == 60.0
    assert tem["convergence_angle"] == 31.0
    for axis in signal["axes"]:
        assert axis["units"] == "nm"
        assert axis["scale"] == pytest.approx(3.0 / 96)


def test_a_frame_can_be_made_again_from_its_file(frame, tmp_path):
    path = tmp_path / "frame.hspy"
    write_frame(frame, path)
    recorded = read_frame(path)
    again = simulate_frame(recorded.context, recorded.acquisition, recorded.plan, seed=recorded.seed)
    np.testing.assert_array_equal(again.image, frame.image)


def test_the_truth_has_a_row_a_column(frame, tmp_path):
    path = tmp_path / "truth.csv"
    write_truth(frame, path)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == TRUTH_COLUMNS
    assert len(rows) == len(frame.pixel_positions)
    positions = np.array([[float(row["row_px"]), float(row["col_px"])] for row in rows])
    np.testing.assert_allclose(positions, frame.pixel_positions, atol=1e-4)
    species = {(row["class"], row["species"]) for row in rows}
    assert species <= {("x2", "S2"), ("vac1", "S"), ("vac2", ""), ("metal", "Mo"), ("dopant", "V")}
    assert {row["sublattice"] for row in rows if row["class"] == "dopant"} <= {"metal"}


def test_the_picture_is_a_picture(frame, tmp_path):
    from matplotlib.image import imread

    path = tmp_path / "frame.png"
    write_picture(frame, path)
    picture = imread(path)
    assert picture.shape[0] > 800
    assert picture.std() > 0.1


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", None], ids=["empty", "text", "cut short"])
def test_a_broken_file_is_named(frame, tmp_path, content):
    path = tmp_path / "broken.hspy"
    if content is None:
        write_frame(frame, path)
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.hspy: expected a frame"):
        read_frame(path)
