import asyncio
import itertools
import os
import re
import signal
import time

import numpy as np
import pytest

from agent.decide import decide
from agent.recording import Recording
from agent.replay import replay
from agent.session import name_session, run_session
from agent.settings_file import load_settings
from agent.sockets import open_sockets
from agent.sources import Source
from agent.state import State
from drivers.bridge import Bridge, Options, serving
from drivers.contract.errors import InputError
from drivers.contract.maps import COLUMN_DTYPE, DefectMap
from drivers.fake import FakeMicroscope


class QuickAnalysis:
    """Gives the same map at once."""

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
    known = {"session.folder": str(folder), "policy.when_behind": "every", "policy.rule": "entropy"}
    return load_settings(None, {}, ports | known | flags)


async def conduct(make, tmp_path, source, **flags):
    settings = settings_of(tmp_path, **flags)
    with open_sockets(settings) as sockets:
        async with asyncio.timeout(30):
            return await run_session(settings, source, sockets, QuickAnalysis(make), None, "s1", hide)


async def test_a_session_leaves_a_folder_that_replays(make, tmp_path):
    with serving(FakeMicroscope(frames=6)) as bridge:
        source = Source(bridge.address, "a fake", True)
        ended = await conduct(make, tmp_path, source, **{"policy.mode": "auto"})
    assert ended.counts.mapped == 6
    assert ended.finish.reason.startswith("the instrument's session ended")
    assert (ended.folder / "agent.log").read_text().count("frame_mapped") == 6
    state = State()
    with Recording(ended.folder) as recording:
        for entry in recording.entries():
            state, actions = decide(state, entry.event)
            assert actions == entry.actions
    assert state.counts == ended.counts


async def test_the_token_of_the_link_is_there_while_the_session_is_and_gone_with_its_end(make, tmp_path):
    with serving(FakeMicroscope()) as bridge:
        source = Source(bridge.address, "a fake", False)
        running = asyncio.create_task(conduct(make, tmp_path, source, **{"session.max_maps": 9}))
        while not (tmp_path / "s1" / "bridge.token").exists():
            assert not running.done()
            await asyncio.sleep(0.001)
        ended = await running
    assert not (ended.folder / "bridge.token").exists()


async def test_an_instrument_that_restarts_is_followed_into_its_next_session(make, tmp_path):
    with serving(FakeMicroscope(frames=5)) as first:
        port = first.port
        source = Source(first.address, "a fake", False)
        running = asyncio.create_task(conduct(make, tmp_path, source, **{"session.max_maps": 9}))
        while not list(tmp_path.glob("s1/journal.sqlite")):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
    second = Bridge(FakeMicroscope(), Options(port=port, data_port=0))
    serving_again = asyncio.create_task(asyncio.to_thread(second.run))
    try:
        ended = await running
    finally:
        second.stop()
        await serving_again
    assert ended.counts.mapped == 9
    with Recording(ended.folder) as recording:
        links = [entry.event for entry in recording.entries() if entry.event.kind == "link_made"]
    assert {link.link.session for link in links} == {first.session, second.session}


async def test_a_clock_that_jumps_changes_nothing_but_what_is_written_of_it(make, tmp_path, monkeypatch):
    jumps_s = itertools.cycle([0.0, 3e7, -3e8, 60.0, -3600.0])
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + next(jumps_s))
    with serving(FakeMicroscope(frames=8)) as bridge:
        source = Source(bridge.address, "a fake", True)
        ended = await conduct(make, tmp_path, source, **{"policy.mode": "auto"})
    assert ended.counts.mapped == 8
    with Recording(ended.folder) as recording:
        seen = [entry.event.header for entry in recording.entries() if entry.event.kind == "frame_seen"]
        assert replay(recording).difference is None
    assert [header.sequence for header in seen] == list(range(8))
    told_s = [header.wall_time_unix_s for header in seen]
    assert told_s != sorted(told_s)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_a_signal_ends_the_session_in_order(make, tmp_path, number):
    before = signal.getsignal(number)
    with serving(FakeMicroscope()) as bridge:
        running = asyncio.create_task(conduct(make, tmp_path, Source(bridge.address, "a fake", False)))
        while not list(tmp_path.glob("s1/agent.log")):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), number)
        ended = await running
    assert ended.finish.reason == f"stopped by {number.name}"
    assert signal.getsignal(number) == before


def test_sockets_that_cannot_be_bound_leave_none_behind(tmp_path):
    with open_sockets(settings_of(tmp_path)) as sockets:
        settings = settings_of(tmp_path, **{"publish.control": sockets.addresses["control"]})
        with pytest.raises(InputError, match=r"publish\.control"), open_sockets(settings):
            pass
        again = settings_of(tmp_path, **{"publish.maps": sockets.addresses["maps"]})
    with open_sockets(again):
        pass


def test_sessions_are_named_by_their_beginning():
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{4}", name_session())
