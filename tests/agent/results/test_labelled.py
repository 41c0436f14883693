import numpy as np
import pytest

from agent.results.labelled import EXAMPLE, find_labelled
from drivers.contract.errors import InputError


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
        find_labelled(tmp_path)
