"""The client against a bridge that is played by hand, so that anything can go wrong."""

import asyncio
import json
import time
import zlib

import numpy as np
import pytest
import zmq
import zmq.asyncio

from drivers.bridge import serving
from drivers.client import BridgeClient, Options
from drivers.contract.codec import pack, pack_frame, unpack
from drivers.contract.frame import Frame, build_frame
from drivers.contract.header import FrameFacts
from drivers.contract.instrument import (
    BlankBeam,
    Capabilities,
    CommandOutcome,
    CommandRequest,
    InstrumentState,
)
from drivers.contract.messages import (
    Acknowledge,
    Dropped,
    Goodbye,
    Heartbeat,
    Hello,
    LinkLost,
    LinkUp,
    Rejected,
    Resume,
    Resumed,
    SessionEnded,
    SessionStarted,
    Unwelcome,
    Welcome,
)
from drivers.fake import FakeMicroscope

PATIENCE_S = 20.0
CAPABILITIES = Capabilities(instrument="by hand")
STATE = InstrumentState(monotonic_s=0.0)


class HandBridge:
    """Two ROUTER sockets, and what a test chooses to say on them."""

    def __init__(self, context, session="s-1", port=0, data_port=0):
        self.session = session
        self.control, self.port = self._bind(context, port)
        self.data, self.data_port = self._bind(context, data_port)
        self.client = b""
        self.reader = b""

    @staticmethod
    def _bind(context, port):
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        deadline_s = time.monotonic() + PATIENCE_S
        while True:  # ZeroMQ releases the port of a closed socket a little later
            try:
                socket.bind(f"tcp://127.0.0.1:{port or '*'}")
                break
            except zmq.ZMQError:
                if time.monotonic() > deadline_s:
                    raise
        return socket, int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])

    @property
    def address(self):
        return f"tcp://127.0.0.1:{self.port}"

    def close(self):
        self.control.close(0)
        self.data.close(0)

    async def next_of(self, kind):
        """Wait for a message of a kind; others are passed over."""
        on_data = kind in (Resume, Acknowledge)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                identity, *parts = await (self.data if on_data else self.control).recv_multipart()
                message = unpack(parts)
                if on_data:
                    self.reader = identity
                else:
                    self.client = identity
                if isinstance(message, kind):
                    return message

    async def let_in(self, *, role="controller", first=0, heartbeat_s=30.0):
        await self.next_of(Hello)
        await self.tell(
            Welcome(
                version=1,
                session=self.session,
                token="token",
                role=role,
                data_port=self.data_port,
                capabilities=CAPABILITIES,
                state=STATE,
                first_sequence=first,
                next_sequence=first,
                heartbeat_s=heartbeat_s,
            )
        )
        return await self.answer_resume()

    async def answer_resume(self):
        resume = await self.next_of(Resume)
        await self.send(
            Resumed(session=self.session, next_sequence=resume.next_sequence, number=resume.number)
        )
        return resume

    async def tell(self, message):
        await self.control.send_multipart([self.client, *pack(message)])

    async def send(self, message):
        await self.send_raw(pack(message))

    async def send_raw(self, parts):
        await self.data.send_multipart([self.reader, *parts])

    async def send_frame(self, number, **changes):
        await self.send_raw(frame_parts(number, session=self.session, **changes))


def frame_parts(number, *, session="s-1", pixels=None, header=None, cut=0, flip=None):
    pixels = np.full((4, 4), number + 1, np.uint16) if pixels is None else pixels
    frame = build_frame(
        FrameFacts(host="WSe2"),
        pixels,
        session=session,
        sequence=number,
        monotonic_s=1.0,
        wall_time_unix_s=1.0,
    )
    topic, text, raw = (bytes(part) for part in pack_frame(frame))
    if header is not None:
        text = json.dumps(json.loads(text) | header).encode()
        topic = b"frame %08x" % zlib.crc32(text)
    if flip is not None:
        raw = bytes([raw[0] ^ flip]) + raw[1:]
    return [topic, text, raw[: len(raw) - cut]]


@pytest.fixture
async def context():
    context = zmq.asyncio.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def bridge(context):
    return HandBridge(context)


class Ear:
    """Listens to a client and waits for things by their type."""

    def __init__(self, client):
        self._arrivals = client.arrivals()

    async def next_of(self, *kinds):
        async with asyncio.timeout(PATIENCE_S):
            async for arrival in self._arrivals:
                if isinstance(arrival.content, kinds):
                    return arrival.content
        raise AssertionError("the stream has ended")


@pytest.fixture
async def linked(bridge):
    """A client and its ear, linked to the bridge."""
    async with BridgeClient(bridge.address, Options(name="test")) as client:
        ear = Ear(client)
        await bridge.let_in()
        await ear.next_of(LinkUp)
        yield client, ear


async def test_frames_arrive_and_their_credits_go_back(bridge, linked):
    _, ear = linked
    await bridge.send_frame(0)
    frame = await ear.next_of(Frame)
    assert frame.pixels[0, 0] == 1
    waiting = asyncio.create_task(ear.next_of(Frame))
    assert (await bridge.next_of(Acknowledge)).next_sequence == 1
    await bridge.send_frame(1)
    assert (await waiting).header.sequence == 1


BAD = {
    "nan": ({"pixels": np.full((4, 4), np.nan, np.float32)}, "PixelError"),
    "negative": ({"pixels": np.full((4, 4), -1, np.int16)}, "PixelError"),
    "unknown-host": ({"header": {"host": "XY2"}}, "MessageError"),
    "volts": ({"header": {"energy_kev": 80000.0}}, "MessageError"),
    "contradiction": ({"header": {"field_shape_px": [9, 9]}}, "MessageError"),
    "unknown-version": ({"header": {"wire": 9}}, "WireVersionError"),
    "too-large": ({"header": {"shape": [16384, 16384], "dtype": "float64"}}, "FrameTooLargeError"),
    "unknown-field": ({"header": {"magnification": 5}}, "MessageError"),
    "other-session": ({"header": {"session": "s-9"}}, "MessageError"),
}


@pytest.mark.parametrize(("changes", "fault"), BAD.values(), ids=BAD.keys())
async def test_a_bad_frame_is_announced_with_reason_and_remedy_and_the_stream_goes_on(
    bridge, linked, changes, fault
):
    _, ear = linked
    await bridge.send_frame(0, **changes)
    rejected = await ear.next_of(Rejected, Frame)
    assert isinstance(rejected, Rejected)
    assert rejected.fault == fault
    assert rejected.reason
    assert rejected.remedy
    assert json.loads(rejected.raw_header)["sequence"] == rejected.sequence == 0
    if fault == "MessageError" and rejected.session == "s-9":
        await bridge.send_frame(0)  # it was none of this session's, whose first is still to come
    else:
        await bridge.send_frame(1)
    await ear.next_of(Frame)


ALTERED = {
    "length": ({"cut": 2}, "FrameLengthError"),
    "checksum": ({"flip": 1}, "ChecksumError"),
}


@pytest.mark.parametrize(("changes", "fault"), ALTERED.values(), ids=ALTERED.keys())
async def test_an_altered_frame_is_announced_and_asked_for_again(bridge, linked, changes, fault):
    _, ear = linked
    await bridge.send_frame(0, **changes)
    assert (await ear.next_of(Rejected)).fault == fault
    resume = await bridge.answer_resume()
    assert resume.next_sequence == 0
    await bridge.send_frame(0)
    assert (await ear.next_of(Frame)).header.sequence == 0


GARBAGE = {
    "empty": [b""],
    "text": [b"hello there"],
    "binary": [b"\x00\xff\x80" * 9, b"\xff" * 40, b"x"],
    "json": [b"frame 00000000", b'{"kind": "frame"}', b""],
    "many": [b"x"] * 50,
    "long": [b"y" * 70000, b"z" * 70000],
}


@pytest.mark.parametrize("parts", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_on_either_socket_stops_nothing(bridge, linked, parts):
    _, ear = linked
    await bridge.control.send_multipart([bridge.client, *parts])
    assert isinstance(await ear.next_of(Rejected), Rejected)
    await bridge.send_raw(parts)
    assert isinstance(await ear.next_of(Rejected), Rejected)
    await bridge.answer_resume()
    await bridge.send_frame(0)
    await ear.next_of(Frame)


async def test_a_repeated_frame_is_announced_and_not_used_twice(bridge, linked):
    _, ear = linked
    for number in (0, 0, 1):
        await bridge.send_frame(number)
    assert (await ear.next_of(Frame)).header.sequence == 0
    rejected = await ear.next_of(Rejected, Frame)
    assert (rejected.fault, rejected.sequence) == ("SequenceError", 0)
    assert (await ear.next_of(Frame)).header.sequence == 1


async def test_a_skipped_frame_is_announced_and_asked_for(bridge, linked):
    _, ear = linked
    await bridge.send_frame(0)
    await bridge.send_frame(2)
    await ear.next_of(Frame)
    rejected = await ear.next_of(Rejected, Frame)
    assert "expected frame 1, found 2" in rejected.reason
    assert (await bridge.answer_resume()).next_sequence == 1
    for number in (1, 2):
        await bridge.send_frame(number)
    assert [(await ear.next_of(Frame)).header.sequence for _ in range(2)] == [1, 2]


async def test_frames_out_of_order_end_up_in_order(bridge, linked):
    _, ear = linked
    for number in (1, 0):
        await bridge.send_frame(number)
    assert (await ear.next_of(Rejected)).sequence == 1
    await bridge.answer_resume()
    for number in (0, 1):
        await bridge.send_frame(number)
    assert [(await ear.next_of(Frame)).header.sequence for _ in range(2)] == [0, 1]


async def test_announced_drops_are_no_gap(bridge, linked):
    _, ear = linked
    await bridge.send(
        Dropped(session="s-1", first_sequence=0, last_sequence=4, count=5, reason="the ring was full")
    )
    await bridge.send_frame(5)
    assert (await ear.next_of(Dropped, Rejected)).count == 5
    assert (await ear.next_of(Frame, Rejected)).header.sequence == 5


async def test_a_rejection_by_the_bridge_takes_the_place_of_its_frame(bridge, linked):
    _, ear = linked
    await bridge.send(Rejected(session="s-1", sequence=0, fault="X", reason="r", remedy="m"))
    await bridge.send_frame(1)
    assert (await ear.next_of(Rejected)).fault == "X"
    assert (await ear.next_of(Frame, Rejected)).header.sequence == 1


async def test_frames_that_are_not_acknowledged_keep_their_credit(bridge):
    async with BridgeClient(bridge.address, Options(auto_acknowledge=False)) as client:
        ear = Ear(client)
        await bridge.let_in()
        frames = []
        for number in range(3):
            await bridge.send_frame(number)
            frames.append(await ear.next_of(Frame))
        client.acknowledge(frames[1].header)
        assert (await bridge.next_of(Acknowledge)).next_sequence == 2
        client.acknowledge(frames[2].header)
        assert (await bridge.next_of(Acknowledge)).next_sequence == 3


async def test_a_bridge_that_falls_silent_is_announced_once_and_found_again(context, bridge):
    now_s = 0.0  # turned by hand: however slow the machine is, the silence begins when the test says
    options = Options(link_timeout_s=0.1, retry_s=0.01)
    async with BridgeClient(bridge.address, options, clock=lambda: now_s) as client:
        ear = Ear(client)
        await bridge.let_in()
        await ear.next_of(LinkUp)
        await bridge.send_frame(0)
        await ear.next_of(Frame)
        now_s = 1.0
        lost = await ear.next_of(LinkLost, LinkUp)
        assert "nothing was heard" in lost.reason
        resume = await bridge.let_in()
        assert resume.next_sequence == 1
        again = await ear.next_of(LinkLost, LinkUp)
        assert isinstance(again, LinkUp)
        assert again.is_resumed
        await bridge.send_frame(1)
        assert (await ear.next_of(Frame)).header.sequence == 1


async def test_a_restarted_bridge_is_another_session_and_the_old_one_is_marked_as_cut_off(context, bridge):
    async with BridgeClient(bridge.address, Options(retry_s=0.01)) as client:
        ear = Ear(client)
        await bridge.let_in(heartbeat_s=0.01)
        started = SessionStarted(
            session="s-1", capabilities=CAPABILITIES, state=STATE, monotonic_s=0.0, wall_time_unix_s=0.0
        )
        await bridge.send(started)
        await bridge.send_frame(0)
        await ear.next_of(Frame)
        bridge.close()
        other = HandBridge(context, "s-2", bridge.port, bridge.data_port)
        # As a bridge that does not know the sender answers.
        while True:
            identity, *parts = await other.control.recv_multipart()
            if isinstance(unpack(parts), Hello):
                break
            other.client = identity
            await other.tell(Unwelcome(reason="a hello comes first", remedy="send one"))
        other.client = identity
        await other.tell(
            Welcome(
                version=1,
                session="s-2",
                token="t",
                role="controller",
                data_port=other.data_port,
                capabilities=CAPABILITIES,
                state=STATE,
                first_sequence=0,
                next_sequence=0,
                heartbeat_s=30.0,
            )
        )
        ended = await ear.next_of(SessionEnded)
        assert (ended.session, ended.is_aborted, ended.next_sequence) == ("s-1", True, 1)
        up = await ear.next_of(LinkUp)
        assert (up.session, up.is_resumed) == ("s-2", False)
        await other.answer_resume()
        await other.send_frame(0)
        assert (await ear.next_of(Frame)).header.session == "s-2"
        other.close()


async def test_no_bridge_at_all_is_announced(context, unused_tcp_port):
    options = Options(link_timeout_s=0.05, retry_s=0.01)
    async with BridgeClient(f"tcp://127.0.0.1:{unused_tcp_port}", options) as client:
        assert isinstance(await Ear(client).next_of(LinkLost), LinkLost)
        outcome = await client.execute(BlankBeam())
    assert (outcome.status, outcome.reason) == ("refused", "there is no link to the bridge")


async def test_a_command_that_is_never_answered_times_out(bridge, linked, monkeypatch):
    monkeypatch.setattr("drivers.awaited_commands.GRACE_S", 0.01)
    client, _ = linked
    outcome = await client.execute(BlankBeam(), timeout_s=0.01)
    assert (outcome.status, outcome.reason) == ("timed_out", "the bridge gave no answer")


async def test_a_command_is_asked_again_after_the_link_was_lost(bridge):
    async with BridgeClient(bridge.address, Options(link_timeout_s=0.1, retry_s=0.01)) as client:
        ear = Ear(client)
        await bridge.let_in()
        await ear.next_of(LinkUp)
        asked = asyncio.create_task(client.execute(BlankBeam(), id="req-7", timeout_s=PATIENCE_S))
        assert (await bridge.next_of(CommandRequest)).id == "req-7"
        await bridge.let_in()
        assert (await bridge.next_of(CommandRequest)).id == "req-7"
        await bridge.tell(CommandOutcome(id="req-7", status="confirmed"))
        assert (await asked).status == "confirmed"


async def test_an_answer_to_nobody_and_a_second_answer_are_passed_over(bridge, linked):
    client, ear = linked
    asked = asyncio.create_task(client.execute(BlankBeam(), id="req-7", timeout_s=PATIENCE_S))
    await bridge.next_of(CommandRequest)
    await bridge.tell(CommandOutcome(id="other", status="failed"))
    for status in ("confirmed", "failed"):
        await bridge.tell(CommandOutcome(id="req-7", status=status))
    assert (await asked).status == "confirmed"
    await bridge.send_frame(0)
    await ear.next_of(Frame)


async def test_a_reader_who_came_before_goes_on_where_it_was(bridge):
    async with BridgeClient(bridge.address, Options(resume_at=("s-1", 7))) as client:
        resume = await bridge.let_in(first=3)
        assert resume.next_sequence == 7
        await bridge.send_frame(7)
        assert (await Ear(client).next_of(Frame, Rejected)).header.sequence == 7


async def test_the_place_in_another_session_does_not_count(bridge):
    async with BridgeClient(bridge.address, Options(resume_at=("s-0", 7))):
        assert (await bridge.let_in(first=3)).next_sequence == 3


async def test_a_version_that_is_not_spoken_is_announced(bridge):
    async with BridgeClient(bridge.address, Options(retry_s=0.01)) as client:
        ear = Ear(client)
        await bridge.next_of(Hello)
        await bridge.tell(Unwelcome(reason="the bridge speaks version 2", remedy="update"))
        assert "version 2" in (await ear.next_of(Rejected)).reason
        assert isinstance(await ear.next_of(LinkLost), LinkLost)


async def test_frames_that_got_lost_on_the_way_are_asked_for(bridge):
    async with BridgeClient(bridge.address, Options(link_timeout_s=0.2)) as client:
        ear = Ear(client)
        await bridge.let_in()
        await ear.next_of(LinkUp)

        async def beat():
            while True:
                await bridge.tell(
                    Heartbeat(
                        session="s-1",
                        monotonic_s=1.0,
                        wall_time_unix_s=1.0,
                        first_sequence=0,
                        next_sequence=1,
                    )
                )
                await asyncio.sleep(0.02)

        beating = asyncio.create_task(beat())
        listening = asyncio.create_task(ear.next_of(Frame))
        assert (await bridge.answer_resume()).next_sequence == 0
        await bridge.send_frame(0)
        assert (await listening).header.sequence == 0
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def test_a_client_says_goodbye(bridge):
    async with BridgeClient(bridge.address) as client:
        await bridge.let_in()
        await Ear(client).next_of(LinkUp)
    await bridge.next_of(Goodbye)


async def test_a_welcome_that_was_lost_is_asked_for_again_although_the_bridge_is_heard(bridge):
    async with BridgeClient(bridge.address, Options(name="test")) as client:
        ear = Ear(client)
        await bridge.next_of(Hello)
        await bridge.tell(
            Heartbeat(session="s-1", monotonic_s=1.0, wall_time_unix_s=1.0, first_sequence=0, next_sequence=0)
        )
        await bridge.let_in()
        assert (await ear.next_of(LinkUp)).role == "controller"


async def test_an_outcome_that_came_spoilt_is_asked_for_again(bridge, linked):
    client, _ = linked
    asked = asyncio.create_task(client.execute(BlankBeam(), id="c1"))
    await bridge.next_of(CommandRequest)
    topic, text = pack(CommandOutcome(id="c1", status="confirmed"))
    await bridge.control.send_multipart([bridge.client, topic, text[:-1]])
    assert (await bridge.next_of(CommandRequest)).id == "c1"
    await bridge.tell(CommandOutcome(id="c1", status="confirmed"))
    async with asyncio.timeout(PATIENCE_S):
        assert (await asked).status == "confirmed"


async def test_a_client_that_was_killed_takes_over_from_its_former_self_with_its_token(tmp_path):
    options = Options(name="test", token_file=tmp_path / "bridge.token")
    with serving(FakeMicroscope()) as bridge:
        former = BridgeClient(bridge.address, options)
        async with former:
            await Ear(former).next_of(Frame)
            assert (tmp_path / "bridge.token").stat().st_mode & 0o777 == 0o600
            async with BridgeClient(
                bridge.address, options
            ) as client:  # while the bridge still knows the other
                assert (await Ear(client).next_of(LinkUp)).role == "controller"


@pytest.mark.parametrize("text", ["", "no token\n", "../../x", "a" * 1000, "\xff"], ids=repr)
async def test_a_token_file_that_holds_none_is_no_hindrance(bridge, tmp_path, text):
    (tmp_path / "bridge.token").write_text(text, encoding="latin-1")
    async with BridgeClient(bridge.address, Options(token_file=tmp_path / "bridge.token")):
        assert (await bridge.next_of(Hello)).replaces is None
