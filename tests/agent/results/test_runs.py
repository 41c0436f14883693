import pytest

from agent.results.runs import find_files, write_all
from drivers.contract.errors import InputError


def test_results_appear_together_or_not_at_all(tmp_path):
    contents = {"csv": ("a.csv", b"1"), "report": ("no/such/folder.html", b"2")}
    with pytest.raises(OSError, match="folder"):
        write_all(tmp_path, contents)
    assert list(tmp_path.iterdir()) == []
    written = write_all(tmp_path, {"csv": ("a.csv", b"1"), "overlay": ("a_map.png", b"2")})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a_map.png"]
    assert written["overlay"].read_bytes() == b"2"


def test_of_a_folder_those_files_are_taken_that_can_be_read(tmp_path):
    for name in ("b.tif", "a.dm4", "notes.txt", ".hidden.tif"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files([tmp_path])] == ["a.dm4", "b.tif"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none in this folder"):
        find_files([tmp_path / "empty"])
