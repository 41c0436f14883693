from pathlib import Path

import pytest

from agent.results.runs import find_files, write_all


def test_results_appear_together_or_not_at_all(tmp_path):
    contents = {"csv": ("a.csv", b"1"), "report": ("no/such/folder.html", b"2")}
    with pytest.raises(OSError, match="folder"):
        write_all(tmp_path, contents)
    assert list(tmp_path.iterdir()) == []
    written = write_all(tmp_path, {"csv": ("a.csv", b"1"), "overlay": ("a_map.png", b"2")})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a_map.png"]
    assert written["overlay"].read_bytes() == b"2"


def test_a_folder_in_the_place_of_a_result_leaves_no_half(tmp_path):
    (tmp_path / "a.nxs").mkdir()
    with pytest.raises(IsADirectoryError, match="in the place of a result"):
        write_all(tmp_path, {"csv": ("a.csv", b"1"), "nexus": ("a.nxs", b"2")})
    assert [path.name for path in tmp_path.iterdir()] == ["a.nxs"]


def test_results_that_cannot_all_be_placed_leave_the_earlier_ones(tmp_path, monkeypatch):
    write_all(tmp_path, {"csv": ("a.csv", b"1"), "nexus": ("a.nxs", b"2"), "report": ("a.html", b"3")})
    replace = Path.replace

    def refuse_one(path, target):
        if path == tmp_path / "a.nxs":
            raise PermissionError(f"{path} is locked")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse_one)
    with pytest.raises(PermissionError, match="locked"):
        write_all(tmp_path, {"csv": ("a.csv", b"4"), "map": ("a.png", b"5"), "nexus": ("a.nxs", b"6")})
    with pytest.raises(PermissionError, match="locked"):
        write_all(tmp_path, {"csv": ("a.csv", b"4"), "nexus": ("a.nxs", b"6")}, stale=["a.html"])
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"a.csv": b"1", "a.nxs": b"2", "a.html": b"3"}


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
