import json
import os
import shutil

import pytest

from agent.__main__ import main
from agent.journal import Journal
from drivers.session_layout import FACTS, segment_name


@pytest.fixture
def folder(recorded, tmp_path):
    """Sessions: one whole, one whose arrays are cut short, one without end, some of ruined or no facts."""
    shutil.copytree(recorded, tmp_path / "whole")
    shutil.copytree(recorded, tmp_path / "damaged")
    os.truncate(tmp_path / "damaged" / segment_name(0), 5000)
    shutil.copytree(recorded, tmp_path / "ruined")
    os.truncate(tmp_path / "ruined" / FACTS, 100)
    shutil.copytree(recorded, tmp_path / "arrays only")
    (tmp_path / "arrays only" / FACTS).unlink()
    Journal.create(tmp_path / "begun").close()
    (tmp_path / "no-session").mkdir()
    (tmp_path / "file").touch()
    return tmp_path


def test_sessions_are_listed_with_what_they_hold(folder, capsys):
    assert main(["sessions", str(folder), "--json"]) == 1
    found = {each["folder"].rsplit("/", 1)[1]: each for each in json.loads(capsys.readouterr().out)}
    assert {name: each["state"] for name, each in found.items()} == {
        "arrays only": "damaged",
        "begun": "cut short",
        "damaged": "ended",  # found by a check alone
        "ruined": "damaged",
        "whole": "ended",
    }
    assert (found["whole"]["frames"], found["whole"]["maps"]) == (3, 2)
    assert found["whole"]["began"] == "2026-11-25T00:00:00+00:00"
    assert found["whole"]["bytes"] > 3 * 160 * 160 * 4


def test_a_check_finds_what_is_damaged(folder, capsys):
    assert main(["sessions", str(folder / "damaged"), "--check"]) == 1
    out = capsys.readouterr().out
    assert "DAMAGE at entry 2: the array of entry 2 is lost: arrays-00000.npys is cut short" in out
    assert "replays the 2 entries before the first damage, and exports what is whole of 8" in out
    assert main(["sessions", str(folder / "whole"), "--check"]) == 0
    assert "8 entries and 5 arrays are whole; head " in capsys.readouterr().out
    for name in ("ruined", "arrays only"):
        assert main(["sessions", str(folder / name), "--check"]) == 1
        assert "holds 5 arrays, which numpy.load reads" in capsys.readouterr().out
    assert main(["replay", str(folder / "arrays only")]) == 2
    assert "journal.sqlite is missing" in capsys.readouterr().err


def test_a_session_that_is_being_recorded_is_said_to_be(tmp_path, capsys):
    journal = Journal.create(tmp_path / "live")
    assert main(["sessions", str(tmp_path)]) == 0
    assert "recording" in capsys.readouterr().out
    journal.close()


def test_a_folder_without_sessions_is_said_to_be(tmp_path, capsys):
    assert main(["sessions", str(tmp_path)]) == 0
    assert "no sessions in" in capsys.readouterr().out
    assert main(["sessions", str(tmp_path / "nowhere")]) == 2
    assert "expected a folder of sessions" in capsys.readouterr().err
