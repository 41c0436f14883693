from pathlib import Path

import pytest

from agent.events import SessionEnding, Ticked
from agent.journal import Journal, JournalEntry
from agent.retention import MARKER, Stored, choose, look, mark_exported, newest_digest, prune

OLD, MIDDLE, NEW = (
    Stored(Path("1"), 100, True, False),
    Stored(Path("2"), 100, True, True),
    Stored(Path("3"), 100, False, True),
)


@pytest.mark.parametrize(
    ("budget", "deletable", "gone", "excess"),
    [
        (0, "any", [], 0),
        (300, "any", [], 0),
        (250, "nothing", [], 50),
        (250, "exported", [MIDDLE], 0),
        (250, "any", [OLD], 0),
        (50, "exported", [MIDDLE], 150),
        (50, "any", [OLD, MIDDLE], 50),
    ],
)
def test_the_oldest_that_may_go_goes_and_no_more_than_has_to(budget, deletable, gone, excess):
    assert choose([OLD, MIDDLE, NEW], budget, deletable) == (gone, excess)


@pytest.fixture
def sessions(tmp_path, make):
    """Three sessions; the last has not ended."""
    for name in ("s1", "s2", "s3"):
        journal = Journal.create(tmp_path / name)
        journal.append([JournalEntry(0, make.opened())])
        if name != "s3":
            ending = SessionEnding(at_s=9.0, reason="enough", is_aborted=False, wall_time="")
            journal.append([JournalEntry(1, ending)])
        journal.close()
    return tmp_path


WHOLE = {"frames": 4, "maps": 4, "maps_lost": 0}


def mark(session, summary):
    return mark_exported(session, summary, newest_digest(session))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_session_that_lies_elsewhere_takes_no_room_here_and_is_not_touched(sessions, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "s0"
    (sessions / "s1").rename(elsewhere)
    (sessions / "s0").symlink_to(elsewhere)
    assert [each.folder.name for each in look(sessions)] == ["s2", "s3"]
    assert not any("s0" in line for line in prune(sessions, 1, "any"))
    assert names(elsewhere)


def test_what_is_not_exported_stays(sessions):
    assert mark(sessions / "s2", WHOLE)
    assert [(each.has_ended, each.is_exported) for each in look(sessions)] == [
        (True, False),
        (True, True),
        (False, False),
    ]
    assert "none is left that may" in prune(sessions, 1, "nothing")[-1]
    assert names(sessions) == ["s1", "s2", "s3"]
    assert "s2 is deleted" in prune(sessions, 1, "exported")[0]
    assert names(sessions) == ["s1", "s3"]
    prune(sessions, 1, "any")
    assert names(sessions) == ["s3"]


def test_frames_without_a_map_are_in_no_export(sessions):
    assert not mark(sessions / "s1", WHOLE | {"maps": 3})
    assert not mark(sessions / "s1", WHOLE | {"maps_lost": 1})
    assert not (sessions / "s1" / MARKER).exists()


def test_a_session_that_went_on_after_its_export_is_not_exported(sessions):
    assert mark(sessions / "s3", WHOLE)
    journal, _ = Journal.reopen(sessions / "s3")
    journal.append([JournalEntry(1, Ticked(at_s=10.0))])
    journal.close()
    assert not look(sessions)[-1].is_exported


@pytest.mark.parametrize("text", ["", "{", "[]", '{"head": 5}', "[" * 50_000], ids=range(5))
def test_a_marker_that_is_none_marks_nothing(sessions, text):
    (sessions / "s1" / MARKER).write_text(text)
    assert not look(sessions)[0].is_exported


def test_a_link_to_elsewhere_is_left_alone(sessions, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "s0"
    (sessions / "s1").rename(elsewhere)
    (sessions / "s0").symlink_to(elsewhere)
    prune(sessions, 1, "any")
    assert elsewhere.is_dir()
