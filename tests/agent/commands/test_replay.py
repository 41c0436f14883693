import json
import os
import shutil

import pytest

from agent.__main__ import main
from agent.decide import decide
from agent.journal import Journal, JournalEntry
from agent.recording import Recording
from agent.state import State
from drivers.session_layout import FACTS, segment_name


@pytest.fixture
def copy(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "copy")


def test_a_session_replays_to_the_bit(recorded, capsys):
    assert main(["replay", str(recorded), "--verify", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["frames"], report["maps"], report["maps_verified"]) == (3, 2, 2)
    assert report["is_same"]
    assert report["first_difference"] is None


def test_the_story_is_told_line_by_line(recorded, capsys):
    assert main(["replay", str(recorded)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "     0.000 s  session 20261125T000000Z-0001 of 2026-11-25T00:00:00+00:00, made-up frames"
    )
    assert any("frame 0: " in line and "columns" in line for line in lines)
    assert any("request r1 proposed" in line for line in lines)
    assert any("frame 1 of bridge-1 rejected" in line for line in lines)
    assert lines[-1] == "all decisions are the same; --verify makes the maps again too"


def test_a_session_whose_decisions_were_changed_differs(recorded, tmp_path, capsys):
    """Even where the chain of digests is right, for whoever wrote the session made it so."""
    journal, state = Journal.create(tmp_path / "changed"), State()
    with Recording(recorded) as recording:
        for entry in recording.entries():
            state, actions = decide(state, entry.event)
            actions = () if entry.position == 4 else actions
            array = recording.array(entry) if entry.row.array else None
            journal.append([JournalEntry(entry.position, entry.event, actions, array)])
    journal.close()
    assert main(["replay", str(tmp_path / "changed")]) == 1
    assert "FIRST DIFFERENCE at entry 4, frame_seen: recorded nothing; replayed" in capsys.readouterr().out


def test_a_session_cut_short_says_what_is_whole_and_replays_that(copy, capsys):
    path = copy / segment_name(0)
    os.truncate(path, path.stat().st_size // 2)
    assert main(["replay", str(copy), "--verify"]) == 2
    error = capsys.readouterr().err
    assert "is cut short: expected at least" in error
    assert f"columnist sessions {copy} --check" in error
    assert main(["replay", str(copy), "--verify", "--recover", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["maps_verified"] == 1


def test_no_session_is_an_error_that_names_the_remedy(tmp_path, capsys):
    assert main(["replay", str(tmp_path)]) == 2
    assert "expected a recorded session" in capsys.readouterr().err
    (tmp_path / FACTS).write_text("not a database, but long enough to look like one" * 30)
    assert main(["replay", str(tmp_path)]) == 2
    assert f"{FACTS} is cut short or altered" in capsys.readouterr().err
