import csv
import errno
import json
import os
import shutil
from collections import Counter

import h5py
import numpy as np

from agent.__main__ import main
from agent.events import Ticked
from agent.exporting import export, write_results
from agent.journal import Journal, JournalEntry
from agent.recording import Recording
from agent.retention import MARKER, look
from drivers.session_layout import segment_name


def test_every_map_is_written_with_the_course_and_a_report(recorded, tmp_path, capsys):
    out = tmp_path / "results"
    assert main(["export", str(recorded), "--out", str(out), "--pictures", "1", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["frames"], summary["maps"], summary["rejected"], summary["how"]) == (3, 2, 1, "enough")
    assert sorted(path.name for path in out.iterdir()) == [
        "frame_000000.csv",
        "frame_000000.nxs",
        "frame_000000_map.png",
        "frame_000000_patches.png",
        "frame_000001.csv",
        "frame_000001.nxs",
        "maps.csv",
        "report.html",
        "summary.json",
    ]
    assert json.loads((out / "summary.json").read_text())["columns"] == summary["columns"]
    with Recording(recorded) as recording:
        mapped = list(recording.maps())
    with (out / "maps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["columns"]) for row in rows] == [each.defect_map.header.columns for each in mapped]
    assert rows[1]["detector"] == "HAADF"
    assert [row["file"] for row in rows] == ["scan 3.dm4", "scan 4.dm4"]
    kinds = Counter(flag.kind for each in mapped for flag in each.defect_map.header.flags)
    assert kinds
    assert summary["flags"] == kinds
    with h5py.File(out / "frame_000001.nxs") as file:
        image = file["entry/measurement/event1/image1/image/intensity"][()]
        assert file["entry/summary/file"][()] == b"scan 4.dm4"
    np.testing.assert_array_equal(image, mapped[1].pixels)
    page = (out / "report.html").read_text()
    assert all(f"<tr><td>{kind}</td>" in page for kind in kinds)
    for expected in (
        "frame 0 of bridge-1 (scan 3.dm4)",
        "request r1 proposed",
        "frame 1 of bridge-1",
        "data:image/png",
    ):
        assert expected in page


def test_pictures_of_an_earlier_export_go_where_their_map_is_written_anew(recorded, tmp_path):
    out = tmp_path / "results"
    assert main(["export", str(recorded), "--out", str(out)]) == 0
    (out / "frame_000001_notes.png").write_bytes((out / "frame_000001_map.png").read_bytes())
    (out / "frame_000001_patches.png").write_bytes(b"not ours")
    assert main(["export", str(recorded), "--out", str(out), "--pictures", "0"]) == 0
    assert sorted(path.name for path in out.glob("*.png")) == [
        "frame_000001_notes.png",
        "frame_000001_patches.png",
    ]


def test_the_results_of_a_run_are_the_newest_maps_and_the_whole_course(recorded, tmp_path):
    written = write_results(recorded, tmp_path / "results")
    assert set(written) == {"csv", "nexus", "overlay", "patches", "report", "course", "summary"}
    assert written["csv"].name == "frame_000001.csv"
    assert all(path.stat().st_size > 0 for path in written.values())
    assert len(written["course"].read_text().splitlines()) == 3


def test_of_a_damaged_session_what_is_whole_is_exported(recorded, tmp_path, capsys):
    copy = shutil.copytree(recorded, tmp_path / "copy")
    path = copy / segment_name(0)
    os.truncate(path, path.stat().st_size // 2)
    words = ["export", str(copy), "--out", str(tmp_path / "results")]
    assert main(words) == 2
    assert "is lost" in capsys.readouterr().err
    assert main([*words, "--recover"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "results" / "report.html")
    assert json.loads((tmp_path / "results" / "summary.json").read_text())["maps_lost"] == 1
    assert (tmp_path / "results" / "frame_000000.csv").exists()
    assert not (tmp_path / "results" / "frame_000001.csv").exists()


def test_a_session_is_not_exported_into_itself(recorded, capsys):
    assert main(["export", str(recorded), "--out", str(recorded)]) == 2
    assert "is a session itself" in capsys.readouterr().err


def test_a_session_that_cannot_be_written_to_is_exported_and_kept(recorded, tmp_path, capsys, monkeypatch):
    def refuse(*told):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("agent.commands.export.mark_exported", refuse)
    out = tmp_path / "results"
    assert main(["export", str(recorded), "--out", str(out), "--pictures", "0"]) == 0
    *_, said, report = capsys.readouterr().out.splitlines()
    assert "Read-only file system): session.delete = exported keeps this session" in said
    assert report == str(out / "report.html")


def test_a_session_with_its_only_results_in_its_own_folder_may_not_be_deleted(
    recorded, tmp_path, capsys, monkeypatch
):
    marked = []
    monkeypatch.setattr("agent.commands.export.mark_exported", lambda *told: marked.append(told) or True)
    copy = shutil.copytree(recorded, tmp_path / "copy")
    words = ["export", str(copy), "--pictures", "0", "--out"]
    assert main([*words, str(copy / "deep" / "results")]) == 0
    assert "would go with it: session.delete = exported keeps this session" in capsys.readouterr().out
    assert not marked
    assert main([*words, str(tmp_path / "results")]) == 0
    assert "keeps this session" not in capsys.readouterr().out
    assert len(marked) == 1


def test_a_session_that_goes_on_while_it_is_exported_is_not_exported(recorded, tmp_path, monkeypatch):
    copy = shutil.copytree(recorded, tmp_path / "s")

    def export_slowly(recording, *words, **options):
        summary = export(recording, *words, **options)
        journal, _ = Journal.reopen(copy)
        journal.append([JournalEntry(journal.next_position, Ticked(at_s=1e6))])
        journal.close()
        return summary | {"frames": 2}

    monkeypatch.setattr("agent.commands.export.export", export_slowly)
    assert main(["export", str(copy), "--out", str(tmp_path / "results"), "--pictures", "0"]) == 0
    assert (copy / MARKER).is_file()
    (stored,) = look(tmp_path)
    assert not stored.is_exported


def test_a_session_that_was_exported_with_recover_is_kept_for_that(recorded, tmp_path, capsys):
    words = ["export", str(recorded), "--out", str(tmp_path / "results"), "--pictures", "0", "--recover"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "what --recover leaves out is in no export: session.delete = exported keeps this session" in said
    assert "frames without a map" not in said


def test_a_session_that_goes_on_while_a_copy_of_it_is_opened_is_not_exported(recorded, tmp_path, monkeypatch):
    """As where SQLite may not make files beside the session's (`drivers.session_reader`)."""
    session = shutil.copytree(recorded, tmp_path / "sessions" / "s")

    def open_copy(folder):
        copy = shutil.copytree(folder, tmp_path / "copy")
        journal, _ = Journal.reopen(folder)
        journal.append([JournalEntry(journal.next_position, Ticked(at_s=1e6))])
        journal.close()
        return Recording(copy)

    monkeypatch.setattr("agent.commands.export.Recording", open_copy)
    monkeypatch.setattr(
        "agent.commands.export.export", lambda *words, **told: export(*words, **told) | {"frames": 2}
    )
    assert main(["export", str(session), "--out", str(tmp_path / "results"), "--pictures", "0"]) == 0
    (stored,) = look(tmp_path / "sessions")
    assert not stored.is_exported


def test_results_of_two_sessions_or_of_files_are_not_mixed(recorded, tmp_path, capsys):
    out = tmp_path / "results"
    words = ["export", str(recorded), "--out", str(out), "--pictures", "0"]
    assert main(words) == 0
    assert main(words) == 0, "the same session may be exported again"
    before = sorted(out.iterdir())
    assert main(["analyse", "frame.npy", "--out", str(out)]) == 2
    assert f"holds results of the session {recorded.name}" in capsys.readouterr().err
    (out / "summary.json").write_text('{"session": "another"}')
    assert main(words) == 2
    assert f"{out} holds results of the session another; name another folder" in capsys.readouterr().err
    (out / "summary.json").write_text("[1]")
    assert main(words) == 2
    assert "is of no session and would be written over" in capsys.readouterr().err
    assert sorted(out.iterdir()) == before
    (out / "summary.json").unlink()
    assert main(words) == 2
    assert f"{out} holds reports of something else" in capsys.readouterr().err
