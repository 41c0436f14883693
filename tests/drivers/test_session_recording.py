import contextlib
import sqlite3

import numpy as np
import pytest

from agent.events import FrameSeen
from agent.journal import Journal, JournalEntry
from agent.sessions import summarise
from drivers.contract.context import HAADF, MAADF
from drivers.contract.errors import InputError
from drivers.contract.frame import build_frame
from drivers.contract.header import FrameFacts, StagePosition
from drivers.contract.instrument import SwitchDetector
from drivers.replay import Options, ReplayMicroscope
from drivers.session_layout import FACTS, DamagedSessionError, event_tree, next_digest, segment_name
from drivers.session_recording import read_session


def frame(number, *, detector=HAADF, x_nm=0.0, at_s=None, stage=True):
    pixels = np.random.default_rng(number).integers(1, 999, (16, 12)).astype(np.uint16)
    facts = FrameFacts(
        host="WSe2",
        detector=detector,
        energy_kev=80.0,
        stage=StagePosition(x_nm=x_nm, y_nm=0.0) if stage else None,
        command_id="req-1",
    )
    at_s = 10.0 + 2.0 * number if at_s is None else at_s
    return build_frame(facts, pixels, session="s-1", sequence=number, monotonic_s=at_s, wall_time_unix_s=1e9)


def record(folder, frames):
    journal = Journal.create(folder)
    for position, one in enumerate(frames):
        event = FrameSeen(at_s=one.header.monotonic_s, header=one.header)
        journal.append([JournalEntry(position, event, (), one.pixels)])
    journal.close()
    return folder


def test_a_session_is_played_frame_by_frame_to_the_bit(tmp_path):
    frames = [frame(number) for number in range(3)]
    recording = read_session(record(tmp_path / "s", frames))
    microscope = ReplayMicroscope(recording, Options(speed=float("inf"), at_end="end"))
    for one in frames:
        exposure = microscope.take_frame(1.0)
        assert np.array_equal(exposure.pixels, one.pixels)
        assert exposure.pixels.dtype == one.pixels.dtype
        assert (exposure.facts.host, exposure.facts.detector) == ("WSe2", HAADF)
        assert exposure.facts.command_id is None  # of another session
        assert exposure.facts.monotonic_s is None


def test_its_own_pace_is_that_of_the_recording(tmp_path):
    recording = read_session(record(tmp_path / "s", [frame(0), frame(1), frame(2, at_s=20.5)]))
    assert [held.lasts_s for held in recording.frames] == pytest.approx([1.0, 2.0, 8.5])


def test_frames_of_one_stage_position_answer_for_each_other(tmp_path):
    frames = [
        frame(0),
        frame(1, x_nm=500.0),
        frame(2, x_nm=0.3, detector=MAADF),
        frame(3, x_nm=500.2, detector=MAADF),
    ]
    recording = read_session(record(tmp_path / "s", frames))
    microscope = ReplayMicroscope(recording, Options(speed=float("inf")))
    microscope.take_frame(1.0)
    microscope.take_frame(1.0)
    microscope.execute(SwitchDetector(detectors=("MAADF",)))
    assert np.array_equal(microscope.take_frame(1.0).pixels, frames[3].pixels)


def test_frames_that_do_not_know_their_stage_are_places_of_their_own(tmp_path):
    recording = read_session(record(tmp_path / "s", [frame(0, stage=False), frame(1, stage=False)]))
    assert len({held.position for held in recording.frames}) == 2


def test_a_session_cut_short_is_played_as_far_as_it_goes(tmp_path):
    folder = record(tmp_path / "s", [frame(number) for number in range(3)])
    segment = folder / segment_name(0)
    with segment.open("r+b") as file:
        file.truncate(8192 + 100)  # records begin on pages of 4 KiB
    recording = read_session(folder)
    microscope = ReplayMicroscope(recording, Options(speed=float("inf"), at_end="end"))
    assert microscope.take_frame(1.0) is not None
    assert microscope.take_frame(1.0) is not None
    with pytest.raises(InputError, match="lost"):
        microscope.take_frame(1.0)


def test_a_folder_that_holds_no_frame_is_refused(tmp_path):
    with pytest.raises(InputError, match="no whole frame"):
        read_session(record(tmp_path / "s", []))
    with pytest.raises(InputError, match="expected a recorded session"):
        read_session(tmp_path)


@pytest.mark.parametrize(
    "event",
    ["[]", '"text"', '{"kind": "frame_seen"}', '{"kind": "frame_seen", "at_s": 1.0}', "[" * 900 + "]" * 900],
)
def test_an_entry_that_is_no_event_ends_the_playing_whatever_its_digest_says(tmp_path, event):
    folder = record(tmp_path / "s", [frame(0), frame(1)])
    facts = sqlite3.connect(folder / FACTS, isolation_level=None)
    with contextlib.closing(facts):
        ((actions, sha256),) = facts.execute(
            "SELECT actions, sha256 FROM entry JOIN array USING (position) WHERE position = 1"
        ).fetchall()
        ((before,),) = facts.execute("SELECT digest FROM entry WHERE position = 0").fetchall()
        digest = next_digest(before, 1, event, actions, sha256)
        facts.execute("UPDATE entry SET event = ?, digest = ? WHERE position = 1", (event, digest))
    recording = read_session(folder)
    assert len(recording.frames) == 1
    assert recording.notes
    assert summarise(folder, is_checked=True).state in ("damaged", "cut short")


@pytest.mark.parametrize("text", [None, b"\xff", 5], ids=repr)
def test_what_sqlite_returns_of_a_damaged_row_is_no_event(text):
    with pytest.raises(DamagedSessionError, match="expected an event"):
        event_tree(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"CREATE TABLE session", b"CREATE TABLE \xff\xfession"),
        (b"CREATE TABLE entry", b"CREATE \xffABLE entry"),
        (b"tablesessionsession", b"tablesessio\xffsession"),
        (b"frame_seen", b"frame\xffseen"),
    ],
    ids=str,
)
def test_facts_that_are_no_text_are_named_as_damaged(tmp_path, old, new):
    folder = record(tmp_path / "s", [frame(0), frame(1)])
    content = (folder / FACTS).read_bytes()
    assert old in content
    (folder / FACTS).write_bytes(content.replace(old, new))
    with pytest.raises(InputError):
        read_session(folder)
    assert summarise(folder, is_checked=True).state == "damaged"
