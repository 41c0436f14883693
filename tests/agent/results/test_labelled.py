import numpy as np
import pytest

from agent.results.labelled import EXAMPLE, find_labelled
from drivers.contract.errors import InputError
from models.scoring import Labels, score_map


def write_example(folder):
    (folder / "labelled.toml").write_text(EXAMPLE)
    np.save(folder / "points.npy", np.array([[10, 20], [30, 40], [50, 60]]))
    np.save(folder / "labels.npy", np.array([0, 1, 3]))


def test_a_folder_is_read_as_its_description_says(tmp_path):
    write_example(tmp_path)
    (image,) = find_labelled(tmp_path)
    assert image.labels.points[0].tolist() == [20.0, 10.0]
    assert image.labels.meaning.tolist() == ["x2", "vacancy", "apart"]
    assert image.group == "mine"
    assert image.facts.energy_kev is not None
    assert image.facts.energy_kev.value == 80.0


BROKEN = {
    "no folder": (lambda folder: folder / "nowhere", "expected a folder"),
    "no description": (lambda folder: folder, "describe the folder"),
}


@pytest.mark.parametrize(("place", "told"), BROKEN.values(), ids=BROKEN)
def test_what_is_missing_is_told(place, told, tmp_path):
    with pytest.raises(InputError, match=told):
        find_labelled(place(tmp_path))


def test_a_label_without_class_is_told(tmp_path):
    write_example(tmp_path)
    np.save(tmp_path / "labels.npy", np.array([0, 1, 7]))
    with pytest.raises(InputError, match="found none for 7"):
        _ = find_labelled(tmp_path)[0].labels


STRANGE = {
    "classes are no table": ("classes = {", "classes = [1]\nset2 = {", "table for classes"),
    "no name": ('set = "mine"', 'name = ""', "a text for name, found ''"),
    "a key of the context": ("dopant =", "dopnt =", "/labelled.toml: expected one of host.*found 'dopnt'"),
    "points are no name": ('points = "points.npy"', "points = 5", "a text for points, found 5"),
}


@pytest.mark.parametrize(("old", "new", "told"), STRANGE.values(), ids=STRANGE)
def test_values_of_another_type_are_told(old, new, told, tmp_path):
    write_example(tmp_path)
    text = EXAMPLE.replace(old, new).replace("set2 = { 0", "# { 0")
    (tmp_path / "labelled.toml").write_text(text)
    with pytest.raises(InputError, match=told):
        find_labelled(tmp_path)


@pytest.mark.parametrize(
    ("points", "told"),
    [(np.ones((2, 3)), "transpose"), (np.array([[1, 2], [3, np.nan], [5, 6]]), "found 1 that are not")],
    ids=["transposed", "not a number"],
)
def test_points_of_another_shape_or_none_are_told(points, told, tmp_path):
    write_example(tmp_path)
    np.save(tmp_path / "points.npy", points)
    (image,) = find_labelled(tmp_path)
    with pytest.raises(InputError, match=told):
        _ = image.labels


def test_headings_in_a_table_are_told_and_a_comment_is_left_out(tmp_path):
    write_example(tmp_path)
    (tmp_path / "labelled.toml").write_text(EXAMPLE.replace("points.npy", "points.csv"))
    rows = "10,20\n30,40\n50,60\n"
    (tmp_path / "points.csv").write_text("x,y\n" + rows)
    with pytest.raises(InputError, match=r"points\.csv.*leave out a line of headings, or begin it with #"):
        _ = find_labelled(tmp_path)[0].labels
    (tmp_path / "points.csv").write_text("# x,y\n" + rows)
    assert find_labelled(tmp_path)[0].labels.points[0].tolist() == [20.0, 10.0]


@pytest.mark.parametrize("left_out", ["points", "labels"])
def test_an_image_of_a_known_folder_is_found_by_its_points_or_its_labels(left_out, tmp_path):
    folder = tmp_path / "tiwse2"
    folder.mkdir()
    for name in ("points_2.npy", "labels_2.npy", "points_11.npy", "labels_11.npy"):
        np.save(folder / name, np.array([[10, 20]] if name.startswith("points") else [0]))
    for number in (2, 11):
        (folder / f"haadf_{number}.dm4").touch()
    (folder / f"{left_out}_2.npy").unlink()
    broken, whole = find_labelled(tmp_path)
    assert len(whole.labels.points) == 1
    with pytest.raises(InputError, match=f"{left_out}_2.npy: expected numbers"):
        _ = broken.labels


def test_a_column_answers_for_one_label_alone(a_map):
    defect_map = a_map((3, 0, 3, 0))
    first = [defect_map.columns["row_px"][0], defect_map.columns["col_px"][0]]
    points = np.array([[first[0] + shift, first[1]] for shift in (1.0, 0.5, 2.0)])
    score = score_map(defect_map, Labels(points, np.array(["metal", "x2", "vac1"])), radius_px=2.5)
    assert score.recall == pytest.approx(1 / 3)
    assert score.recall_vacancy == 0
    assert [site["labelled"] for site in score.wrong] == ["x2"]
