"""`columnist evaluate labelled`: what its figures are of, and what it says of images that it cannot score."""

import json

import numpy as np
import pytest

from agent.__main__ import main
from agent.commands.evaluate_labelled import summarise
from drivers.contract.context import MAADF, Context, Specimen
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

ENTRY = """
[[image]]
file = "{file}.npy"
points = "points.npy"
labels = "labels.npy"
order = "{order}"
context = {{ host = "WSe2", dopant = "Ti", energy_kev = 80, detector = "MAADF" }}
classes = {{ 0 = "{chalcogen}", 3 = "metal" }}
"""


def entry(file="frame", order="rc", chalcogen="x2"):
    return ENTRY.format(file=file, order=order, chalcogen=chalcogen)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A frame, and the columns that are found in it as its labels."""
    path = tmp_path_factory.mktemp("mine")
    context = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=MAADF)
    acquisition = Acquisition(pixels=192, fov_nm=192 * 0.039, dose_e_per_a2=5e4, source_sigma_angstrom=0.5)
    plan = SpecimenPlan(rotation_deg=13.0, concentrations=DefectConcentrations(0.05, 0.004, 0.002))
    np.save(path / "frame.npy", simulate_frame(context, acquisition, plan, seed=3).image)
    given = ["--host", "WSe2", "--dopant", "Ti", "--energy-kev", "80", "--detector", "MAADF"]
    assert main(["analyse", str(path / "frame.npy"), *given, "--tables-only", "--out", str(path)]) == 0
    table = np.genfromtxt(path / "frame.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    np.save(path / "points.npy", np.stack([table["row_px"], table["col_px"]], axis=1))
    np.save(path / "labels.npy", np.where(table["sublattice"] == "metal", 3, 0))
    return path


def evaluate(folder, text, capsys, *words, code=0):
    (folder / "labelled.toml").write_text(text)
    capsys.readouterr()
    assert main(["evaluate", "labelled", str(folder), "--json", *words]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out), " ".join(captured.err.split())


def row(group, detector, kappa, **others):
    figures = {"recall": 1.0, "precision": 0.9, "recall_vacancy": 1.0, "sublattice_right": 1.0}
    f1 = {"x2": 1.0, "vac1": kappa / 2, "vac2": None, "metal": 1.0, "dopant": None}
    known = {"model": "m", "set": group, "detector": detector, "kappa": kappa, "f1": f1}
    return known | figures | {"sublattice_margin_nats": 5.0} | others


def test_images_of_one_set_and_detector_are_averaged_together():
    rows = [row("one", "HAADF", 0.8), row("one", "HAADF", 0.6), row("two", "HAADF", 0.2)]
    rows += [row("two", "ADF 35-120 mrad", 0.4, recall=0.5), row("two", "HAADF", 1.0) | {"model": "other"}]
    report = summarise(rows, "m", 2.5)
    assert report["sets"]["one"]["HAADF"]["kappa"] == 0.7
    assert report["sets"]["one"]["HAADF"]["f1_vac1"] == 0.35
    assert report["sets"]["two"]["HAADF"]["kappa"] == 0.2
    assert report["sets"]["two"]["ADF 35-120 mrad"]["recall_min"] == 0.5
    assert "f1_dopant" not in report["sets"]["one"]["HAADF"]


def test_own_images_beside_the_known_ones_have_figures_of_their_own():
    report = summarise([row("tiwse2", "HAADF", 0.9), row("mine", "HAADF", 0.1)], "m", 2.5)
    assert report["haadf"]["kappa"] == 0.9
    assert report["sets"]["mine"]["HAADF"]["kappa"] == 0.1


def test_what_no_label_asks_for_has_no_figure(folder, capsys):
    report, _ = evaluate(folder, entry(), capsys)
    assert report["images"][0]["recall_vacancy"] is None
    assert report["recall_vacancy_min"] is None
    assert report["sublattice_right_min"] == 1.0
    assert report["recall_min"] == 1.0
    points = np.load(folder / "points.npy")
    np.save(folder / "points.npy", points + 5000)
    report, _ = evaluate(folder, entry(), capsys)
    np.save(folder / "points.npy", points)
    assert report["images"][0]["sublattice_right"] is None
    assert report["sublattice_right_min"] is None


def test_the_least_is_of_the_images_that_have_a_figure():
    report = summarise([row("mine", "HAADF", 0.9), row("mine", "HAADF", 0.9, recall_vacancy=None)], "m", 2.5)
    assert report["recall_vacancy_min"] == 1.0


def test_points_whose_coordinates_are_exchanged_are_told(folder, capsys):
    report, told = evaluate(folder, entry(order="xy"), capsys)
    assert report["images"][0]["recall"] < 0.8
    assert "mine" in told
    assert "100 % with rows and columns exchanged: check its order" in told


def test_a_missing_image_does_not_stop_the_rest(folder, capsys):
    report, told = evaluate(folder, entry("gone") + entry(), capsys, code=1)
    assert [one["image"] for one in report["images"]] == [f"{folder.name}/frame"]
    assert [one["image"] for one in report["failures"]] == [f"{folder.name}/gone"]
    assert "found no such file" in told
    report, _ = evaluate(folder, entry("gone"), capsys, code=2)
    assert report["images"] == []


@pytest.mark.parametrize("kind", ["points", "labels"])
@pytest.mark.parametrize("content", [None, b"\x93NUMPY cut"], ids=["missing", "cut short"])
def test_labels_that_cannot_be_read_do_not_stop_the_rest(kind, content, folder, capsys):
    path = folder / f"{kind}_9.npy"
    if content is not None:
        path.write_bytes(content)
    broken = entry().replace(f"{kind}.npy", path.name).replace("[[image]]", '[[image]]\nname = "broken"')
    report, told = evaluate(folder, broken + entry(), capsys, code=1)
    path.unlink(missing_ok=True)
    assert [one["image"] for one in report["images"]] == [f"{folder.name}/frame"]
    assert [one["image"] for one in report["failures"]] == ["broken"]
    assert f"broken: {path}: expected numbers in a .npy or .csv file" in told


def test_images_that_share_a_name_get_pictures_of_their_own(folder, tmp_path, capsys):
    report, _ = evaluate(folder, entry() + entry(chalcogen="vacancy"), capsys, "--out", str(tmp_path))
    names = [f"{folder.name}/frame", f"{folder.name}/frame_2"]
    assert [one["image"] for one in report["images"]] == names
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_the_table_names_its_units(folder, capsys):
    (folder / "labelled.toml").write_text(entry())
    assert main(["evaluate", "labelled", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "[nats]" in told
    assert f"{folder.name} MAADF: images 1" in told
