import asyncio
import shutil

import numpy as np
import pytest

from agent.events import SessionEnding
from agent.journal import Journal, JournalEntry
from agent.recording import Recording
from agent.recovery import find_cut_short, recover
from agent.replay import replay
from agent.session import run_session
from agent.settings_file import load_settings
from agent.sockets import open_sockets
from agent.sources import Source
from drivers.bridge import serving
from drivers.contract.errors import InputError
from drivers.contract.maps import COLUMN_DTYPE, DefectMap
from drivers.fake import FakeMicroscope
from drivers.session_check import check_session


class QuickAnalysis:
    def __init__(self, make):
        self.make = make

    def prepare(self):
        pass

    def run(self, pixels, settled, header):
        columns = np.zeros(3, dtype=COLUMN_DTYPE)
        return DefectMap(self.make.map_header(0.3, settled.context.detector.name, 3), columns)


async def hide(look):
    await asyncio.Event().wait()


def settings_of(folder, **flags):
    ports = {f"publish.{name}": "tcp://127.0.0.1:0" for name in ("maps", "snapshot", "control")}
    return load_settings(
        None,
        {},
        ports
        | {"session.folder": str(folder), "policy.when_behind": "every", "policy.rule": "entropy"}
        | flags,
    )


async def conduct(make, settings, address, recovered=None):
    with open_sockets(settings) as sockets:
        source = Source(address, "a fake", False)
        async with asyncio.timeout(30):
            return await run_session(
                settings, source, sockets, QuickAnalysis(make), None, "s1", hide, recovered=recovered
            )


async def cut_short(make, settings, address, folder, maps):
    """Run until so many maps are made, and leave the session as a kill would."""
    await conduct(make, settings, address)
    (session,) = folder.iterdir()
    # as if the last entries had never been written: what the process did after them nobody was told of
    copy = folder.parent / "cut" / session.name
    copy.parent.mkdir()
    with Recording(session) as recording:
        journal, made = Journal.create(copy), 0
        for entry in recording.entries():
            journal.append([recording.journal_entry(entry)])
            made += entry.event.kind == "frame_mapped"
            if made == maps:
                break
        journal.close()
    shutil.rmtree(folder)
    copy.parent.rename(folder)
    return folder / session.name


async def test_a_session_goes_on_at_the_next_number(make, tmp_path):
    folder = tmp_path / "sessions"
    settings = settings_of(folder, **{"policy.mode": "auto", "session.max_maps": 12})
    with serving(FakeMicroscope()) as bridge:
        session = await cut_short(make, settings, bridge.address, folder, 6)
        assert find_cut_short(folder) == session
        recovered = recover(session, settings, is_ours=False)
        bridge_session, number = recovered.resume_at
        assert bridge_session == bridge.session
        ended = await conduct(make, settings, bridge.address, recovered)
    assert ended.folder == session
    assert check_session(session).is_whole
    with Recording(session) as recording:
        entries = list(recording.entries())
        outcome = replay(recording)
    assert outcome.difference is None
    frames = [entry.event.header.sequence for entry in entries if entry.event.kind == "frame_seen"]
    assert frames == list(range(len(frames)))
    assert len(frames) > number
    kinds = [entry.event.kind for entry in entries]
    assert kinds.count("session_resumed") == 1
    assert kinds[-1] == "session_ending"


@pytest.fixture
def journal(make, tmp_path):
    """A session of two entries that was cut short, its name and its settings."""
    settings = settings_of(tmp_path)
    from importlib.metadata import version

    from agent.settings import rules_of

    opened = make.opened(rules_of(settings)).model_copy(
        update={"analysis": settings.analysis, "version": version("columnist")}
    )
    journal = Journal.create(tmp_path / "s1")
    _, actions = make.run_through([opened])
    journal.append([JournalEntry(0, opened, tuple(actions))])
    journal.close()
    return tmp_path / "s1", settings


def test_what_was_known_is_known_again(journal):
    folder, settings = journal
    recovered = recover(folder, settings, is_ours=False)
    recovered.journal.close()
    assert recovered.state.session == "s1"
    assert recovered.resume_at is None
    assert recovered.event.position == 1


@pytest.mark.parametrize(
    ("flags", "is_ours", "complaint"),
    [
        ({"policy.mode": "auto"}, False, "settings that decisions rest on have changed"),
        ({"analysis.threads": 1}, False, "settings of the analysis have changed"),
        ({}, True, "settings that decisions rest on have changed"),
    ],
    ids=["rules", "analysis", "source"],
)
def test_a_session_of_other_settings_does_not_go_on(journal, tmp_path, flags, is_ours, complaint):
    folder, _ = journal
    with pytest.raises(InputError, match=complaint):
        recover(folder, settings_of(tmp_path, **flags), is_ours=is_ours)


def test_a_session_of_another_version_does_not_go_on(journal, monkeypatch):
    folder, settings = journal
    monkeypatch.setattr("agent.recovery.version", lambda name: "99.0")
    with pytest.raises(InputError, match=r"it is of columnist .*, this is 99\.0; begin a new session"):
        recover(folder, settings, is_ours=False)


def test_a_session_that_has_ended_does_not_go_on(journal):
    folder, settings = journal
    again, _ = Journal.reopen(folder)
    ending = SessionEnding(at_s=9.0, reason="enough", is_aborted=False, wall_time="")
    again.append([JournalEntry(1, ending)])
    again.close()
    assert find_cut_short(folder.parent) is None
    with pytest.raises(InputError, match="has ended"):
        recover(folder, settings, is_ours=False)


def test_where_no_session_is_none_goes_on(tmp_path):
    assert find_cut_short(tmp_path / "nowhere") is None
    assert find_cut_short(tmp_path) is None
