import errno
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from agent.journal import Journal, JournalEntry
from agent.journal_errors import DiskFullError, JournalBrokenError, JournalError, ReadOnlyError
from drivers.contract.context import Message
from drivers.contract.errors import InputError
from drivers.session_check import check_session
from drivers.session_layout import FACTS, DamagedSessionError, segment_name
from drivers.session_reader import SessionReader

WRITER = Path(__file__).parent / "journal_writer.py"


class Step(Message):
    kind: str = "frame_seen"
    at_s: float = 0.0
    header: dict[str, int] = Field(default_factory=dict)


class Answer(Message):
    kind: str = "notice"
    text: str = "ünïcode ☃"


COLUMNS = np.dtype([("row_px", "<f4"), ("cls", "u1"), ("p", "<f4", (5,))])


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return [
        rng.normal(size=(64, 48)).astype(np.float32),
        rng.integers(0, 2**16, (3, 5), dtype=np.uint16),
        np.zeros(7, COLUMNS),
        np.zeros((0, 4), ">f8"),
        np.float64(3.5).reshape(()),
    ]


@pytest.fixture
def session(tmp_path, arrays):
    """A closed session of 11 entries, every other one with an array."""
    journal = Journal.create(tmp_path / "session")
    for array in arrays:
        position = journal.next_position
        with_array = JournalEntry(position, Step(header={"sequence": position}), (Answer(),), array)
        journal.append([with_array, JournalEntry(position + 1, Step(kind="ticked", at_s=position / 7))])
    journal.append([JournalEntry(journal.next_position, Step(kind="session_ending"))])
    journal.close()
    return tmp_path / "session"


def test_what_is_appended_reads_back_the_same(session, arrays):
    with SessionReader(session) as reader:
        rows = list(reader.rows())
        assert reader.name == "session"
        assert [row.position for row in rows] == list(range(11))
        assert rows[0].actions == f"[{Answer().model_dump_json()}]"
        assert Step.model_validate_json(rows[3].event).at_s == 2 / 7
        read = [reader.array(row) for row in rows if row.array]
        assert [frame.position for frame in reader.frames()] == [0, 2, 4, 6, 8]
    for expected, found in zip(arrays, read, strict=True):
        assert found.dtype == expected.dtype
        assert not found.flags.writeable
        np.testing.assert_array_equal(found, expected)


def test_an_array_that_is_not_contiguous_is_kept_as_it_looks(tmp_path):
    journal = Journal.create(tmp_path / "session")
    array = np.arange(24.0).reshape(4, 6)[::2, ::3].T
    journal.append([JournalEntry(0, Step(), (), array)])
    journal.close()
    with SessionReader(tmp_path / "session") as reader:
        np.testing.assert_array_equal(next(reader.frames()).pixels, array)


def test_a_session_is_read_with_numpy_and_sqlite_alone(session, arrays):
    facts = sqlite3.connect(session / FACTS)
    (segment, offset) = facts.execute("SELECT segment, offset FROM array WHERE position = 2").fetchone()
    facts.close()
    with (session / f"arrays-{segment:05d}.npys").open("rb") as file:
        file.seek(offset)
        np.testing.assert_array_equal(np.load(file), arrays[1])


def test_a_closed_session_is_two_files(session):
    assert sorted(path.name for path in session.iterdir()) == [segment_name(0), FACTS]
    findings = check_session(session)
    assert findings.is_whole
    assert findings.is_closed
    assert (findings.entries, findings.arrays, findings.whole_entries) == (11, 5, 11)
    assert findings.notes == ()


def test_a_session_is_read_while_it_is_written(tmp_path):
    journal = Journal.create(tmp_path / "session")
    journal.append([JournalEntry(0, Step())])
    with SessionReader(tmp_path / "session") as reader:
        assert len(list(reader.rows())) == 1
        journal.append([JournalEntry(1, Step())])
        assert len(list(reader.rows())) == 2
        journal.close()
    assert check_session(tmp_path / "session").entries == 2


def test_an_array_is_on_the_disk_before_the_entry_that_names_it(tmp_path, monkeypatch):
    journal, flush, seen = Journal.create(tmp_path / "session"), os.fdatasync, []

    def flushed(handle):
        with SessionReader(tmp_path / "session") as reader:
            seen.append(sum(reader.counts().values()))
        flush(handle)

    monkeypatch.setattr(os, "fdatasync", flushed)
    for number in range(3):
        journal.append([JournalEntry(number, Step(), (), np.zeros(3))])
    assert seen == [0, 1, 2]
    journal.close()


def test_entries_outlast_a_loss_of_power(tmp_path):
    """A transaction is flushed before it counts as done: `synchronous` is 2, FULL."""
    journal = Journal.create(tmp_path / "session")
    for _ in range(2):
        assert journal._facts.execute("PRAGMA synchronous").fetchone() == (2,)
        journal.close()
        journal, _ = Journal.reopen(tmp_path / "session")
    journal.close()


def test_the_names_of_a_session_and_of_its_files_are_on_the_disk(tmp_path, monkeypatch):
    synced, sync = set(), os.fsync

    def watched(handle):
        synced.add(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    Journal.create(tmp_path / "sessions" / "one").close()
    assert {str(tmp_path / "sessions"), str(tmp_path / "sessions" / "one")} <= synced


def test_positions_go_on_without_a_gap(tmp_path):
    journal = Journal.create(tmp_path / "session")
    with pytest.raises(ValueError, match="expected position 0, found 1"):
        journal.append([JournalEntry(1, Step())])
    journal.append([])
    assert journal.next_position == 0
    journal.close()
    journal.close()
    with pytest.raises(JournalBrokenError, match="closed"):
        journal.append([JournalEntry(0, Step())])


def test_a_folder_that_holds_a_session_is_refused(session):
    with pytest.raises(JournalError, match="expected a folder without a session"):
        Journal.create(session)


def test_one_process_records_to_a_session(tmp_path):
    journal = Journal.create(tmp_path / "session")
    with pytest.raises(JournalError, match="another process is recording"):
        Journal.reopen(tmp_path / "session")
    journal.close()


def test_segments_follow_one_another(tmp_path, monkeypatch):
    monkeypatch.setattr("agent.segments.SEGMENT_BYTES", 8192)
    journal = Journal.create(tmp_path / "session")
    arrays = [np.full(300, n, np.float64) for n in range(9)]
    for position, array in enumerate(arrays):
        journal.append([JournalEntry(position, Step(), (), array)])
    journal.close()
    assert len(list((tmp_path / "session").glob("*.npys"))) == 5
    with SessionReader(tmp_path / "session") as reader:
        for frame, array in zip(reader.frames(), arrays, strict=True):
            np.testing.assert_array_equal(frame.pixels, array)


def _flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def _edit(session, statement):
    facts = sqlite3.connect(session / FACTS)
    facts.execute(statement)
    facts.commit()
    facts.close()


@pytest.mark.parametrize(
    ("statement", "position", "problem"),
    [
        ("UPDATE entry SET event = replace(event, '2', '3') WHERE position = 2", 2, "entry 2 is altered"),
        ("UPDATE entry SET actions = '[]' WHERE position = 4", 4, "entry 4 is altered"),
        ("UPDATE entry SET digest = zeroblob(32) WHERE position = 5", 5, "entry 5 is altered"),
        ("DELETE FROM entry WHERE position = 3", 3, "entry 3 is missing"),
        ("DELETE FROM array WHERE position = 4", 4, "entry 4 is altered"),
        ("UPDATE array SET offset = 0 WHERE position = 4", 4, "do not have the recorded SHA-256"),
        ("UPDATE array SET length = 1000000000000 WHERE position = 4", 4, "cut short"),
        ("UPDATE array SET segment = 7 WHERE position = 4", 4, "arrays-00007.npys is missing"),
    ],
    ids=["event", "actions", "digest", "entry removed", "array removed", "moved", "length", "segment"],
)
def test_an_altered_fact_is_found_and_named(session, statement, position, problem):
    _edit(session, statement)
    findings = check_session(session)
    assert not findings.is_whole
    assert findings.damages[0].position == position == findings.whole_entries
    assert problem in findings.damages[0].problem
    with SessionReader(session) as reader:
        assert len(list(reader.rows(stop=position))) == position
        with pytest.raises(DamagedSessionError, match=str(position)):
            [reader.array(row) for row in reader.rows()]


def test_an_altered_pixel_is_found_and_named(session):
    _flip(session / segment_name(0), 4096 * 4 + 140)
    findings = check_session(session)
    assert [damage.position for damage in findings.damages] == [2]
    assert "arrays-00000.npys is altered: bytes 16384 to" in findings.damages[0].problem
    assert (findings.entries, findings.arrays) == (11, 4)


@pytest.mark.parametrize("seed", range(12))
def test_no_flipped_byte_of_the_facts_passes_unseen(session, seed):
    with SessionReader(session) as reader:
        before = list(reader.rows())
    path = session / FACTS
    _flip(path, random.Random(seed).randrange(path.stat().st_size))
    try:
        findings = check_session(session)
        with SessionReader(session) as reader:
            after = list(reader.rows())
    except InputError:
        return  # found
    assert findings.is_whole
    assert after == before  # the byte was one that holds nothing


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
@pytest.mark.parametrize("name", [FACTS, segment_name(0)])
def test_a_session_cut_short_says_what_is_damaged(session, name, share):
    path = session / name
    os.truncate(path, int(path.stat().st_size * share))
    findings = check_session(session)
    assert not findings.is_whole
    if name == FACTS:
        assert "5 arrays" in findings.notes[0]
    else:
        assert "cut short" in findings.damages[0].problem
        with SessionReader(session) as reader:
            assert len(list(reader.rows(stop=findings.whole_entries))) == findings.whole_entries


def test_a_folder_without_a_session_is_said_to_be_none(tmp_path):
    with pytest.raises(ValueError, match=r"expected a recorded session, found no journal.sqlite"):
        SessionReader(tmp_path)


def test_an_sqlite_file_of_another_program_is_refused(tmp_path):
    facts = sqlite3.connect(tmp_path / FACTS)
    facts.execute("CREATE TABLE t (x)")
    facts.close()
    with pytest.raises(ValueError, match="another program"):
        SessionReader(tmp_path)


def test_a_layout_of_the_future_is_refused(session):
    _edit(session, "PRAGMA user_version = 2")
    with pytest.raises(ValueError, match="expected layout 1 of a session, found 2"):
        SessionReader(session)


def test_a_session_that_may_not_be_written_beside_is_read_from_a_copy(session, monkeypatch):
    import drivers.session_reader as module

    connect = module._connect

    def refuse(path, stack):
        if path.parent == session:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return connect(path, stack)

    monkeypatch.setattr(module, "_connect", refuse)
    with SessionReader(session) as reader:
        assert len(list(reader.rows())) == 11


def test_a_full_disk_is_said_and_recording_goes_on_once_there_is_room(tmp_path):
    journal = Journal.create(tmp_path / "session")
    journal.append([JournalEntry(0, Step(), (), np.zeros(1000))])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    entry = JournalEntry(1, Step(), (), np.ones(100_000))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        for _ in range(2):
            with pytest.raises(DiskFullError, match="the disk is full"):
                journal.append([entry])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.append([entry])
    journal.close()
    findings = check_session(tmp_path / "session")
    assert findings.is_whole
    assert (findings.entries, findings.arrays) == (2, 2)
    assert (tmp_path / "session" / segment_name(0)).stat().st_size < 820_000  # nothing of the failed appends


def test_a_database_that_finds_no_room_takes_the_arrays_back(tmp_path):
    journal = Journal.create(tmp_path / "session")
    journal.append([JournalEntry(0, Step())])
    (pages,) = journal._facts.execute("PRAGMA page_count").fetchone()
    journal._facts.execute(f"PRAGMA max_page_count = {pages}")
    entry = JournalEntry(1, Step(header={str(n): n for n in range(2000)}), (), np.ones(1000))
    with pytest.raises(DiskFullError):
        journal.append([entry])
    assert (tmp_path / "session" / segment_name(0)).stat().st_size == 0
    journal._facts.execute("PRAGMA max_page_count = 100000")
    journal.append([entry])
    journal.close()
    assert check_session(tmp_path / "session").is_whole


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EROFS, ReadOnlyError),
        (errno.EIO, JournalBrokenError),
        (errno.EMFILE, JournalError),
    ],
    ids=errno.errorcode.get,
)
def test_what_the_system_says_becomes_a_typed_error(tmp_path, monkeypatch, code, error):
    journal = Journal.create(tmp_path / "session")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(error, match=os.strerror(code)):
            journal.append([JournalEntry(0, Step(), (), np.ones(3))])
    if error is JournalBrokenError:
        with pytest.raises(JournalBrokenError, match="broken"):
            journal.append([JournalEntry(0, Step())])
    else:
        journal.append([JournalEntry(0, Step(), (), np.ones(3))])
    journal.close()


def test_a_file_system_that_always_caches_serves_too(tmp_path, monkeypatch):
    open_file = os.open

    def refuse_uncached(path, flags, *mode):
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return open_file(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse_uncached)
    journal = Journal.create(tmp_path / "session")
    journal.append([JournalEntry(0, Step(), (), np.ones(3))])
    journal.close()
    assert check_session(tmp_path / "session").is_whole


@pytest.mark.system
@pytest.mark.parametrize("seed", range(5))
def test_a_kill_at_any_instant_loses_nothing_that_was_acknowledged(tmp_path, seed):
    folder = tmp_path / "session"
    waits = random.Random(seed)
    acknowledged = 0
    for arguments in ([], ["reopen"]):
        acknowledged = max(acknowledged, _write_until_killed(folder, arguments, waits.uniform(0.0, 0.25)))
        findings = check_session(folder)
        assert findings.damages == ()
        assert findings.entries >= acknowledged
        assert not findings.is_closed
    journal, repair = Journal.reopen(folder)
    assert journal.next_position == findings.entries
    assert repair.bytes_cut == 0 or "no entry names" in repair.notes[1]
    journal.append([JournalEntry(journal.next_position, Step(kind="session_ending"))])
    journal.close()
    findings = check_session(folder)
    assert findings.is_whole
    assert findings.notes == ()


def _write_until_killed(folder, arguments, wait_s):
    """Return how many entries the writer said were recorded before it was killed."""
    with subprocess.Popen(
        [sys.executable, WRITER, folder, *arguments], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "ready\n"
        try:
            writer.wait(wait_s)
        except subprocess.TimeoutExpired:
            writer.send_signal(signal.SIGKILL)
        lines = writer.stdout.read().split("\n")[:-1]
    assert writer.returncode == -signal.SIGKILL
    return int(lines[-1]) if lines else 0


def test_an_append_that_was_cut_short_is_cut_off_and_said(session):
    with (session / segment_name(0)).open("ab") as file:
        file.write(b"half an array")
    assert "13 bytes that no entry names" in check_session(session).notes[0]
    journal, repair = Journal.reopen(session)
    assert repair.bytes_cut == 13
    journal.close()
    assert check_session(session).notes == ()


def test_a_session_whose_newest_entries_are_damaged_is_not_written_on(session):
    shutil.copytree(session, session.with_name("second"))
    _edit(session, "UPDATE entry SET event = replace(event, '8', '9') WHERE position = 8")
    with pytest.raises(DamagedSessionError, match="entry 8 is altered"):
        Journal.reopen(session)
    os.truncate(session.with_name("second") / segment_name(0), 100)
    with pytest.raises(DamagedSessionError, match="cut short"):
        Journal.reopen(session.with_name("second"))
