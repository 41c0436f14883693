import os
from pathlib import Path

import pytest

from agent.results.writing import write_all


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


def test_results_are_on_the_disk_before_any_of_them_appears(tmp_path, monkeypatch):
    seen, replace = [], Path.replace

    def sync(handle):
        seen.append(f"{os.fstat(handle).st_size} bytes")

    def place(path, target):
        seen.append(target.name)
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", place)
    write_all(tmp_path, {"csv": ("a.csv", b"123"), "nexus": ("a.nxs", b"45678")})
    assert seen == ["3 bytes", "5 bytes", "a.csv", "a.nxs"]
