from pathlib import Path

from agent.results.runs import find_files


def test_of_a_folder_those_files_are_taken_that_can_be_read(tmp_path):
    for name in ("b.tif", "a.dm4", "notes.txt", ".hidden.tif"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files([tmp_path]).paths] == ["a.dm4", "b.tif"]


def test_a_file_is_taken_once_however_it_is_spelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.npy", "b.npy"):
        (tmp_path / name).touch()
    spelled = [Path("b.npy"), tmp_path / "a.npy", Path("a.npy"), tmp_path / "." / ".." / tmp_path.name]
    assert find_files(spelled).paths == spelled[:2]


def test_a_folder_without_micrographs_does_not_stop_the_rest(tmp_path):
    (tmp_path / "empty").mkdir()
    found = find_files([tmp_path / "empty", tmp_path / "a.npy"])
    assert [path.name for path in found.paths] == ["a.npy"]
    (failure,) = found.failed
    assert failure.file.name == "empty"
    assert "found none in this folder" in failure.error
