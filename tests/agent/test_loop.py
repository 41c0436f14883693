import asyncio
import contextlib
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import zmq
import zmq.asyncio

from agent.decide import decide
from agent.events import Approve, OperatorSpoke
from agent.held_frames import FRAMES_MEANWHILE
from agent.herald import Herald
from agent.journal import Journal
from agent.logs import open_log
from agent.loop import Loop
from agent.publish import Publisher, answer_snapshots
from agent.settings import PolicySettings, Rules
from agent.state import State
from drivers.contract.errors import InputError
from drivers.contract.frame import build_frame
from drivers.contract.header import FrameFacts
from drivers.contract.instrument import CommandOutcome
from drivers.contract.maps import COLUMN_DTYPE, DefectMap
from drivers.contract.messages import Heartbeat, Rejected, SessionEnded


class FakeInstrument:
    """Brings what it was given; takes every command."""

    def __init__(self, contents):
        self.contents = contents
        self.acknowledged, self.commands = [], []

    async def arrivals(self):
        for content in self.contents:
            yield SimpleNamespace(monotonic_s=time.monotonic(), content=content)
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    def acknowledge(self, header):
        self.acknowledged.append(header.sequence)

    async def execute(self, command, *, id, timeout_s):
        self.commands.append(command)
        return CommandOutcome(id=id, status="confirmed")


class FakeAnalysis:
    """Makes maps of a given entropy at once; a frame of value 99 cannot be read."""

    def __init__(self, make, entropy_nats=0.3):
        self.make, self.entropy_nats = make, entropy_nats
        self.threads = set()

    def prepare(self):
        pass

    def run(self, pixels, settled, header):
        self.threads.add(threading.current_thread().name)
        if pixels.flat[0] == 99:
            raise InputError("expected a lattice, found none")
        columns = np.zeros(3, dtype=COLUMN_DTYPE)
        return DefectMap(self.make.map_header(self.entropy_nats, settled.context.detector.name, 3), columns)


class MemoryJournal:
    """Keeps entries, and notes what had been published when they were kept."""

    def __init__(self):
        self.entries = []

    def append(self, entries):
        self.entries += entries

    def checkpoint(self):
        pass


@contextlib.asynccontextmanager
async def stage(make, contents, *, recorder=None, analysis=None, documents=None):
    """A loop with fakes around it, and a socket that hears what it publishes."""
    context = zmq.asyncio.Context()
    pub, sub = zmq.Context(context).socket(zmq.PUB), context.socket(zmq.SUB)
    address = f"inproc://maps-{id(contents)}"
    pub.bind(address)
    sub.connect(address)
    sub.subscribe(b"")
    log = io.StringIO()
    herald = Herald(Publisher(pub, "s1"), open_log(log, "debug", "s1"), time.monotonic, documents)
    with ThreadPoolExecutor(1, "record") as record, ThreadPoolExecutor(1, "analysis") as analysing:
        loop = Loop(
            FakeInstrument(contents),
            recorder or MemoryJournal(),
            analysis or FakeAnalysis(make),
            herald,
            record,
            analysing,
        )
        try:
            yield SimpleNamespace(loop=loop, sub=sub, log=log, pub=pub, context=context)
        finally:
            sub.close(linger=0)
            pub.close(linger=0)
            context.term()


def frames(make, count, first=0, **facts):
    known = {name: getattr(make.FACTS, name) for name in FrameFacts.model_fields} | facts
    return [
        build_frame(
            FrameFacts(**known),
            np.full((16, 16), number, dtype=np.uint8),
            session=make.SESSION,
            sequence=number,
            monotonic_s=10.0 + number,
            wall_time_unix_s=1.0,
        )
        for number in range(first, first + count)
    ]


def rules(max_maps=0, when_behind="every", mode="observe", **more):
    policy = PolicySettings(rule="entropy", when_behind=when_behind, mode=mode)
    return Rules(policy=policy, max_maps=max_maps, **more)


async def heard(sub):
    """All that was published, by topic."""
    messages = {}
    while await sub.poll(50):
        topic, text, raw = await sub.recv_multipart()
        messages.setdefault(topic.decode(), []).append((json.loads(text), raw))
    return messages


async def test_frames_become_published_maps(make):
    contents = [make.link_made().link, *frames(make, 5)]
    async with asyncio.timeout(10), stage(make, contents) as s:
        finish = await s.loop.run(make.opened(rules(max_maps=5)))
        messages = await heard(s.sub)
    assert finish.reason == "5 maps made, as asked for"
    assert s.loop.instrument.acknowledged == [0, 1, 2, 3, 4]
    assert [envelope["number"] for envelope, _ in messages["map"]] == [1, 2, 3, 4, 5]
    envelope, raw = messages["map"][0]
    assert len(np.frombuffer(raw, dtype=COLUMN_DTYPE)) == envelope["columns"]["count"] == 3
    assert envelope["latency_s"]["total"] >= envelope["latency_s"]["analysis"]
    assert [body["body"]["kind"] for body, _ in messages["session"]] == ["session_opened", "session_ending"]
    assert s.loop.analysis.threads == {"analysis_0"}
    assert s.loop.held.frames == {}


async def test_the_journal_replayed_gives_the_same_actions(make):
    contents = [make.link_made().link, *frames(make, 6)]
    journal = MemoryJournal()
    async with asyncio.timeout(10), stage(make, contents, recorder=journal) as s:
        await s.loop.run(make.opened(rules(max_maps=6, mode="auto")))
    assert [entry.position for entry in journal.entries] == list(range(len(journal.entries)))
    state = State()
    for entry in journal.entries:
        state, actions = decide(state, entry.event)
        assert actions == entry.actions
    assert [entry.array.shape for entry in journal.entries if entry.event.kind == "frame_seen"] == [
        (16, 16)
    ] * 6


async def test_nothing_is_announced_before_it_is_on_disk(make):
    class SlowJournal(MemoryJournal):
        def append(self, entries):
            time.sleep(0.02)
            super().append(entries)

    kinds = {"map": ["frame_mapped"], "session": ["session_opened", "session_ending"]}
    kinds |= {"mode": ["session_opened"], "rejection": ["frame_spoiled"]}
    journal, kept = SlowJournal(), {topic: [] for topic in kinds}
    spoiled = Rejected(session=make.SESSION, sequence=3, fault="PixelError", reason="3 NaN", remedy="mend")
    contents = [make.link_made().link, *frames(make, 3), spoiled, *frames(make, 1, 4)]
    async with asyncio.timeout(10), stage(make, contents, recorder=journal) as s:
        publisher = s.loop.herald.publisher
        send = publisher._send

        def note_and_send(topic, *words):
            if topic in kinds:
                kept[topic].append(sum(entry.event.kind in kinds[topic] for entry in journal.entries))
            send(topic, *words)

        publisher._send = note_and_send
        await s.loop.run(make.opened(rules(max_maps=4)))
        for envelope, _ in (await heard(s.sub))["map"]:
            assert envelope["latency_s"]["recording"] >= 0.02
    assert {topic: len(counts) for topic, counts in kept.items()} == {
        "map": 4,
        "session": 2,
        "mode": 1,
        "rejection": 1,
    }
    for topic, counts in kept.items():
        assert all(count > number for number, count in enumerate(counts)), topic


async def test_a_map_is_packed_while_its_record_is_written(make):
    packed = threading.Event()

    class WaitingJournal(MemoryJournal):
        def append(self, entries):
            if any(entry.event.kind == "frame_mapped" for entry in entries):
                assert packed.wait(10)
            super().append(entries)

    async with asyncio.timeout(20), stage(make, [make.link_made().link, *frames(make, 1)]) as s:
        prepare = s.loop.herald.prepare

        def note_and_prepare(entry, actions, defect_map):
            made = prepare(entry, actions, defect_map)
            if made is not None:
                packed.set()
            return made

        s.loop.herald.prepare = note_and_prepare
        s.loop.recorder = WaitingJournal()
        await s.loop.run(make.opened(rules(max_maps=1)))
        assert len((await heard(s.sub))["map"]) == 1


async def test_bad_frames_are_recorded_and_announced_and_the_rest_goes_on(make):
    spoiled = Rejected(session=make.SESSION, sequence=1, fault="PixelError", reason="3 NaN", remedy="mend")
    contents = [
        make.link_made().link,
        *frames(make, 1),
        spoiled,
        *frames(make, 1, 2, energy_kev=60.0),
        *frames(make, 1, 99),
        *frames(make, 1, 100),
    ]
    journal = MemoryJournal()
    async with asyncio.timeout(10), stage(make, contents, recorder=journal) as s:
        await s.loop.run(make.opened(rules(max_maps=2)))
        messages = await heard(s.sub)
    told = [(body["body"]["frame"]["sequence"], body["body"]["reason"]) for body, _ in messages["rejection"]]
    assert [number for number, _ in told] == [1, 2, 99]
    assert "NaN" in told[0][1]
    assert "60.0" in told[1][1]
    assert "expected a lattice" in told[2][1]
    assert all(body["body"]["remedy"] for body, _ in messages["rejection"])
    assert [e.event.kind for e in journal.entries].count("frame_seen") == 4
    assert "96 frames are missing" in messages["notice"][-1][0]["body"]["text"]


async def test_what_the_instruments_driver_complains_of_is_told_and_no_event(make):
    beat = Heartbeat(
        session=make.SESSION, monotonic_s=1.0, wall_time_unix_s=1.0, first_sequence=0, next_sequence=0
    )
    complaint = beat.rebuilt(instrument_error="OSError: scan generator")
    contents = [make.link_made().link, beat, complaint, complaint, beat, *frames(make, 1)]
    journal = MemoryJournal()
    async with asyncio.timeout(10), stage(make, contents, recorder=journal) as s:
        await s.loop.run(make.opened(rules(max_maps=1)))
        messages = await heard(s.sub)
    texts = [envelope["body"]["text"] for envelope, _ in messages["notice"]]
    assert [text for text in texts if "driver" in text] == [
        "the instrument's driver complains: OSError: scan generator"
    ]
    assert "heartbeat" not in {entry.event.kind for entry in journal.entries}


async def test_in_auto_a_request_is_carried_out_and_its_end_published(make):
    async with asyncio.timeout(10), stage(make, [make.link_made().link, *frames(make, 8)]) as s:
        await s.loop.run(make.opened(rules(max_maps=8, mode="auto")))
        messages = await heard(s.sub)
    assert [c.kind for c in s.loop.instrument.commands] == ["switch_detector", "blank_beam"]
    statuses = [body["body"]["status"] for body, _ in messages["request"]]
    assert statuses[:3] == ["proposed", "approved", "sent"]
    assert statuses[3] in ("confirmed", "failed")


async def test_an_order_is_answered_with_what_was_decided(make):
    async with asyncio.timeout(10), stage(make, [make.link_made().link, *frames(make, 4)]) as s:
        running = asyncio.create_task(s.loop.run(make.opened(rules(mode="advise"))))
        while not s.loop.state.requests:
            await asyncio.sleep(0.01)
        actions = await s.loop.ask(OperatorSpoke(at_s=time.monotonic(), order=Approve(request="r1")))
        assert make.kinds(actions)[-1] == "send_command"
        while s.loop.state.requests[0].status != "confirmed":
            await asyncio.sleep(0.01)
        s.loop.stop("enough")
        finish = await running
    assert finish.reason == "enough"


async def test_the_beam_is_blanked_and_the_failure_recorded_when_a_task_fails(make):
    async def fail():
        await asyncio.sleep(0.05)
        raise RuntimeError("the socket broke")

    journal = MemoryJournal()
    async with asyncio.timeout(10), stage(make, [make.link_made().link], recorder=journal) as s:
        with pytest.raises(ExceptionGroup) as caught:
            await s.loop.run(make.opened(rules(mode="advise")), fail)
    assert "the socket broke" in str(caught.value.exceptions[0])
    assert [c.kind for c in s.loop.instrument.commands] == ["blank_beam"]
    assert journal.entries[-1].event.kind == "session_ending"
    assert journal.entries[-1].event.is_aborted


async def test_in_observe_the_beam_is_the_operators(make):
    async with asyncio.timeout(10), stage(make, [make.link_made().link, *frames(make, 1)]) as s:
        await s.loop.run(make.opened(rules(max_maps=1)))
    assert s.loop.instrument.commands == []


async def test_a_source_that_ends_ends_the_session(make):
    ended = SessionEnded(session=make.SESSION, next_sequence=2, is_aborted=False, reason="all shown")
    contents = [make.link_made().link, *frames(make, 2), ended]
    async with asyncio.timeout(10), stage(make, contents) as s:
        finish = await s.loop.run(make.opened(rules(end_with_source=True)))
    assert "all shown" in finish.reason
    assert s.loop.state.counts.mapped == 2


async def test_few_frames_are_held_however_many_come(make):
    held = []

    class Slow(FakeAnalysis):
        def run(self, pixels, settled, header):
            time.sleep(0.002)
            held.append(len(s.loop.held.frames))
            return super().run(pixels, settled, header)

    async with asyncio.timeout(20):
        async with stage(make, [make.link_made().link, *frames(make, 60)], analysis=Slow(make)) as s:
            await s.loop.run(make.opened(rules(max_maps=60)))
    assert max(held) <= 8


async def test_nothing_is_kept_of_frames_that_are_done_with(make):
    """Mapped, skipped, refused, not readable, or sent twice."""
    ended = SessionEnded(session=make.SESSION, next_sequence=101, is_aborted=False, reason="all shown")
    sent = [
        *frames(make, 40),
        *frames(make, 2, 38),
        *frames(make, 1, 40, energy_kev=60.0),
        *frames(make, 2, 99),
    ]
    async with asyncio.timeout(20), stage(make, [make.link_made().link, *sent, ended]) as s:
        await s.loop.run(make.opened(rules(when_behind="newest", end_with_source=True)))
    assert s.loop.state.counts.skipped > 0
    assert (s.loop.held.frames, s.loop.held.timings, s.loop.analysed) == ({}, {}, {})


async def test_an_instrument_that_never_waits_is_held_up_until_the_analysis_is_done(make):
    may_end = threading.Event()

    class Slow(FakeAnalysis):
        def run(self, pixels, settled, header):
            may_end.wait()
            return super().run(pixels, settled, header)

    contents = [make.link_made().link, *frames(make, 200)]
    async with asyncio.timeout(20), stage(make, contents, analysis=Slow(make)) as s:
        running = asyncio.create_task(s.loop.run(make.opened(rules(max_maps=2, when_behind="newest"))))
        try:
            while s.loop.held.meanwhile != FRAMES_MEANWHILE or s.loop.held.unrecorded:
                await asyncio.sleep(0)
            seen = s.loop.state.counts.seen
            for _ in range(200):  # turns of the loop in which more would come
                await asyncio.sleep(0)
            assert s.loop.state.counts.seen == seen <= FRAMES_MEANWHILE + 2
        finally:
            may_end.set()
        await running
    assert s.loop.state.counts.mapped == 2


async def test_a_real_journal_keeps_it_all(make, tmp_path):
    journal = Journal.create(tmp_path / "s1")
    async with (
        asyncio.timeout(10),
        stage(make, [make.link_made().link, *frames(make, 3)], recorder=journal) as s,
    ):
        await s.loop.run(make.opened(rules(max_maps=3)))
    assert journal.next_position == s.loop.position
    journal.close()


async def test_who_joins_late_gets_the_last_of_every_topic(make):
    async with asyncio.timeout(10), stage(make, [make.link_made().link, *frames(make, 2)]) as s:
        await s.loop.run(make.opened(rules(max_maps=2)))
        router, req = s.context.socket(zmq.ROUTER), s.context.socket(zmq.REQ)
        router.bind("inproc://last")
        req.connect("inproc://last")
        answering = asyncio.create_task(answer_snapshots(router, s.loop.herald.publisher))
        await req.send(b"map")
        topic, text, raw = await req.recv_multipart()
        assert (topic, json.loads(text)["number"], len(raw) % COLUMN_DTYPE.itemsize) == (b"map", 2, 0)
        await req.send(b"")
        assert len(await req.recv_multipart()) % 3 == 0
        await req.send(b"\xff" * 1000)
        assert await req.recv_multipart() == [b""]
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        router.close(linger=0)
        req.close(linger=0)


async def test_the_log_has_one_json_line_an_event_bound_to_session_and_frame(make):
    async with asyncio.timeout(10), stage(make, [make.link_made().link, *frames(make, 2)]) as s:
        await s.loop.run(make.opened(rules(max_maps=2)))
    lines = [json.loads(line) for line in s.log.getvalue().splitlines()]
    assert len(lines) == s.loop.position
    assert {line["session"] for line in lines} == {"s1"}
    assert [line["frame"] for line in lines if line["event"] == "frame_seen"] == [0, 1]
