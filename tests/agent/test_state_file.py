import pytest

from agent.journal import Journal, JournalEntry
from agent.recording import Recording
from agent.recovery import _think_through
from agent.state import State
from agent.state_file import STATE_FILE, keep_state, read_state


@pytest.fixture
def session(make, tmp_path):
    """A folder with a session in which much has happened, and the state after each entry."""
    events = [make.opened(mode="auto"), make.link_made()]
    for number in range(12):
        events += [make.frame_seen(number), make.frame_mapped(number, 0.3), make.state_seen(20.0 + number)]
    journal, state, states = Journal.create(tmp_path / "s1"), State(), []
    for position, event in enumerate(events):
        state, actions = make.run_through([event], state)
        journal.append([JournalEntry(position, event, tuple(actions))])
        states.append(state)
    journal.close()
    return tmp_path / "s1", states


@pytest.mark.parametrize("position", [0, 1, 7, 20, 37])
def test_a_state_reads_back_as_it_was(session, position):
    folder, states = session
    assert keep_state(folder, states[position], position)
    kept = read_state(folder)
    assert (kept.position, kept.state) == (position, states[position])


@pytest.mark.parametrize("position", [0, 7, 37])
def test_thinking_goes_on_behind_the_entry_whose_state_is_kept(session, position):
    folder, states = session
    keep_state(folder, states[position], position)
    assert _think_through(folder)[0] == states[-1]


def test_a_state_of_an_entry_that_is_not_there_is_not_kept(session):
    folder, states = session
    assert not keep_state(folder, states[-1], 1000)
    assert read_state(folder) is None


def test_a_state_of_another_journal_is_not_believed(session, make, tmp_path):
    folder, states = session
    keep_state(folder, states[20], 20)
    other = Journal.create(tmp_path / "s2")
    with Recording(folder) as recording:
        for entry in recording.entries():
            other.append([recording.journal_entry(entry)])
    other.close()
    (folder / STATE_FILE).rename(tmp_path / "s2" / STATE_FILE)
    assert read_state(tmp_path / "s2") is None


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 50_000, b"\xff", b'{"position": -1}'], ids=repr)
def test_a_file_that_is_none_is_left_out(session, text):
    folder, _ = session
    (folder / STATE_FILE).write_bytes(text)
    assert read_state(folder) is None


def test_a_disk_without_room_keeps_none_and_does_no_harm(session):
    folder, states = session
    (folder / f"{STATE_FILE}.part").symlink_to("/dev/full")
    assert not keep_state(folder, states[20], 20)
    assert read_state(folder) is None
