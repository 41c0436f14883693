"""The bridge with a fake instrument, and whatever clients send."""

import asyncio
import threading
import time

import numpy as np
import pytest
import zmq

from drivers.bridge import Bridge, Options, serving
from drivers.client import BridgeClient
from drivers.client import Options as ClientOptions
from drivers.contract.codec import pack, unpack
from drivers.contract.errors import InputError, WireError
from drivers.contract.frame import Frame
from drivers.contract.header import FrameFacts
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    CommandOutcome,
    CommandRequest,
    InstrumentState,
    Refocus,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from drivers.contract.messages import (
    Acknowledge,
    Dropped,
    GetState,
    Goodbye,
    Heartbeat,
    Hello,
    LinkUp,
    Rejected,
    Resume,
    Resumed,
    SessionEnded,
    Unwelcome,
    Welcome,
)
from drivers.fake import FakeMicroscope, draw_ramp
from drivers.router import Router

PATIENCE_S = 20.0


class RawClient:
    """A client of two sockets that does only what a test tells it."""

    def __init__(self, bridge):
        self.context = zmq.Context()
        self.bridge = bridge
        self.control = self._connect(bridge.port)
        self.data = None
        self.welcome = None

    def _connect(self, port):
        socket = self.context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
        socket.connect(f"tcp://127.0.0.1:{port}")
        return socket

    def hello(self, **options):
        self.control.send_multipart(pack(Hello(client="raw", **options)))
        self.welcome = self.hear(Welcome)
        return self.welcome

    def resume(self, sequence=0, credits=4):
        if self.data is None:
            self.data = self._connect(self.welcome.data_port)
        self.say_data(Resume(token=self.welcome.token, next_sequence=sequence, credits=credits))
        return self.hear_data(Resumed)

    def acknowledge(self, next_sequence):
        self.say_data(Acknowledge(token=self.welcome.token, next_sequence=next_sequence))

    def say(self, message):
        self.control.send_multipart(pack(message))

    def say_data(self, message):
        self.data.send_multipart(pack(message))

    def hear(self, *kinds):
        return self._hear(self.control, kinds)

    def hear_data(self, *kinds):
        return self._hear(self.data, kinds)

    def ask(self, command, *, id="req-1", timeout_s=PATIENCE_S, session=None):
        self.say(
            CommandRequest(
                session=session or self.bridge.session, id=id, command=command, timeout_s=timeout_s
            )
        )

    @staticmethod
    def _hear(socket, kinds):
        while True:
            message = unpack(socket.recv_multipart())
            if isinstance(message, kinds):
                return message

    def close(self):
        self.context.destroy(linger=0)


@pytest.fixture
def connect():
    """Makes raw clients of a bridge, and closes them."""
    clients = []

    def make(bridge):
        clients.append(RawClient(bridge))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def serve(microscope, **options):
    return serving(microscope, Options(port=0, **options))


def test_a_slow_client_slows_the_instrument_and_loses_nothing(connect):
    microscope = FakeMicroscope(frames=40)
    with serve(microscope, ahead=3) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume(credits=2)
        for number in range(40):
            frame = client.hear_data(Frame, Dropped)
            assert frame.header.sequence == number
            assert microscope.taken <= number + 4  # ahead of it by three, and the one that was just heard
            client.acknowledge(number + 1)
        assert isinstance(client.hear_data(SessionEnded), SessionEnded)


def test_no_more_frames_are_under_way_than_there_are_credits(connect):
    with serve(FakeMicroscope()) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume(credits=2)
        assert [client.hear_data(Frame).header.sequence for _ in range(2)] == [0, 1]
        while not client.hear(Heartbeat).waits_for_client:
            pass
        assert client.data.poll(0) == 0
        client.acknowledge(1)
        assert client.hear_data(Frame).header.sequence == 2


def test_an_instrument_that_runs_free_drops_and_says_so(connect):
    microscope = FakeMicroscope(frames=200, is_free_running=True)
    with serve(microscope, ring_bytes=20_000, heartbeat_s=0.02) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume(credits=1)
        expected = lost = 0
        while True:
            message = client.hear_data(Frame, Dropped, SessionEnded)
            if isinstance(message, SessionEnded):
                break
            if isinstance(message, Dropped):
                assert message.first_sequence == expected
                lost += message.count
                expected = message.last_sequence + 1
                continue
            assert message.header.sequence == expected
            expected += 1
            while bridge.next_sequence < min(200, expected + 50):
                client.hear(Heartbeat)
            client.acknowledge(expected)
        assert expected == message.next_sequence == 200
        assert lost > 100
        assert client.hear(Heartbeat).dropped > 0


def test_a_client_that_comes_again_goes_on_at_the_next_number(connect):
    with serve(FakeMicroscope(frames=6)) as bridge:
        first = connect(bridge)
        first.hello()
        first.resume()
        for number in range(3):
            assert first.hear_data(Frame).header.sequence == number
        first.acknowledge(2)
        first.close()
        second = connect(bridge)
        assert second.hello(role="reader").session == bridge.session
        assert second.resume(sequence=2).next_sequence == 2
        numbers = [second.hear_data(Frame).header.sequence for _ in range(4)]
        assert numbers == [2, 3, 4, 5]


def test_what_is_held_no_longer_is_announced_on_resuming(connect):
    with serve(FakeMicroscope(frames=50), ring_bytes=12_000) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume()
        for number in range(50):
            client.hear_data(Frame)
            client.acknowledge(number + 1)
        client.hear_data(SessionEnded)
        late = connect(bridge)
        held = late.hello(role="reader").first_sequence
        assert held > 0
        assert late.resume(sequence=0).next_sequence == held
        dropped = late.hear_data(Dropped, Frame)
        assert (dropped.first_sequence, dropped.last_sequence, dropped.count) == (0, held - 1, held)
        assert late.hear_data(Frame).header.sequence == held
        by_one = connect(bridge)
        by_one.hello(role="reader")
        by_one.resume(sequence=held - 1)
        dropped = by_one.hear_data(Dropped, Frame)
        assert (dropped.first_sequence, dropped.last_sequence, dropped.count) == (held - 1, held - 1, 1)


def test_a_frame_that_is_larger_than_a_client_takes_is_announced_in_its_place(connect):
    with serve(FakeMicroscope(frames=2)) as bridge:
        client = connect(bridge)
        client.hello(max_frame_bytes=1535)  # a frame has 32 x 24 px of uint16: 1536
        client.resume()
        for number in range(2):
            dropped = client.hear_data(Dropped, Frame)
            assert (dropped.first_sequence, dropped.count) == (number, 1)
            assert dropped.reason == "larger than the client takes"
        assert client.hear_data(SessionEnded).next_sequence == 2


def test_an_instrument_that_has_leave_to_go_on_waits_for_no_client(connect):
    with serve(FakeMicroscope(is_scanning=False), heartbeat_s=0.02) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume()
        assert not client.hear(Heartbeat).waits_for_client


def test_a_session_is_delivered_once_somebody_came_and_has_every_frame_safe(connect):
    with serve(FakeMicroscope(frames=2), heartbeat_s=0.02) as bridge:
        client = connect(bridge)
        client.hello()
        while bridge._ended is None:
            client.hear(Heartbeat)
        assert not bridge.is_done, "nobody has asked for a frame yet"
        client.resume()
        client.hear_data(SessionEnded)
        client.hear(Heartbeat)
        assert not bridge.is_done, "the frames are not safe yet"
        client.acknowledge(2)
        while not bridge.is_done:
            client.hear(Heartbeat)


def test_one_client_controls_and_others_read(connect):
    with serve(FakeMicroscope()) as bridge:
        one, other = connect(bridge), connect(bridge)
        assert one.hello().role == "controller"
        assert other.hello().role == "reader"
        other.ask(BlankBeam())
        outcome = other.hear(CommandOutcome)
        assert outcome.status == "refused"
        assert "reader sends no commands" in outcome.reason


def test_control_passes_on_when_a_controller_falls_silent(connect):
    with serve(FakeMicroscope(), heartbeat_s=0.02, lease_s=0.1) as bridge:
        one, other = connect(bridge), connect(bridge)
        one.hello()
        while other.hello().role != "controller":
            other.hear(Heartbeat)
        one.say(GetState())
        assert "does not know the sender" in one.hear(Unwelcome).reason


def test_a_slow_reader_does_not_hold_the_controller_up(connect):
    with serve(FakeMicroscope(frames=30), ahead=2) as bridge:
        reader, controller = connect(bridge), connect(bridge)
        controller.hello()
        reader.hello(role="reader")
        reader.resume(credits=1)
        controller.resume(credits=2)
        for number in range(30):
            assert controller.hear_data(Frame).header.sequence == number
            controller.acknowledge(number + 1)
        assert reader.hear_data(Frame).header.sequence == 0


STATUS = {
    "confirmed": (SwitchEnergy(energy_kev=60.0), {"settling_reads": 3}, "confirmed", ""),
    "refused": (Refocus(), {"refuses": {"refocus"}}, "refused", "the fake refuses"),
    "failed": (Refocus(), {"errors": {"refocus": OSError("no lens")}}, "failed", "OSError: no lens"),
    "timed-out": (SwitchEnergy(energy_kev=60.0), {"ignores": {"switch_energy"}}, "timed_out", "read back 80"),
    "no-frame": (AcquireImage(dwell_us=9.0), {"ignores": {"acquire_image"}}, "timed_out", "has not come"),
    "unreadable": (
        SwitchEnergy(energy_kev=60.0),
        {"errors": {"state": OSError("bus")}},
        "timed_out",
        "the state cannot be read: OSError: bus",
    ),
}


@pytest.mark.parametrize(("command", "faults", "status", "reason"), STATUS.values(), ids=STATUS.keys())
def test_every_command_ends_by_what_is_read_back(connect, command, faults, status, reason):
    microscope = FakeMicroscope()
    with serve(microscope) as bridge:
        for name, value in faults.items():
            setattr(microscope.faults, name, value)
        client = connect(bridge)
        client.hello()
        client.ask(command, timeout_s=PATIENCE_S if status == "confirmed" else 0.1)
        outcome = client.hear(CommandOutcome)
        assert outcome.status == status
        assert reason in outcome.reason
        microscope.faults.errors.clear()


def test_a_driver_that_hangs_makes_the_command_time_out_and_the_bridge_live_on(connect):
    microscope = FakeMicroscope()
    with serve(microscope, grace_s=0.05, heartbeat_s=0.02) as bridge:
        client = connect(bridge)
        client.hello()
        microscope.faults.hold = threading.Event()
        client.ask(Refocus(), timeout_s=0.05)
        outcome = client.hear(CommandOutcome)
        assert outcome.status == "timed_out"
        assert "hangs in a call" in outcome.reason
        while client.hear(Heartbeat).instrument_silent_s < 0.1:
            pass
        microscope.faults.hold.set()
        # What it answers now is too late; the next command is a new one.
        client.ask(BlankBeam(), id="req-2")
        assert client.hear(CommandOutcome).id == "req-2"


def test_the_beam_can_be_blanked_while_an_energy_settles(connect):
    microscope = FakeMicroscope()
    microscope.faults.settling_reads = 10**9
    with serve(microscope) as bridge:
        client = connect(bridge)
        client.hello()
        client.ask(SwitchEnergy(energy_kev=60.0), id="slow")
        client.ask(BlankBeam(), id="quick")
        outcome = client.hear(CommandOutcome)
        assert (outcome.id, outcome.status) == ("quick", "confirmed")


def test_a_command_is_carried_out_once_however_often_it_is_sent(connect):
    microscope = FakeMicroscope()
    with serve(microscope) as bridge:
        client = connect(bridge)
        client.hello()
        for _ in range(3):
            client.ask(Refocus())
            assert client.hear(CommandOutcome).status == "confirmed"
        assert microscope.executed == [Refocus()]
        client.ask(BlankBeam())
        assert "another command had this id" in client.hear(CommandOutcome).reason


def test_a_command_that_is_sent_again_while_it_runs_gets_the_one_outcome(connect):
    microscope = FakeMicroscope()
    microscope.faults.settling_reads = 3
    with serve(microscope) as bridge:
        client = connect(bridge)
        client.hello()
        for _ in range(2):
            client.ask(Refocus())
        assert client.hear(CommandOutcome).status == "confirmed"
        client.ask(BlankBeam(), id="req-2")
        while client.hear(CommandOutcome).id != "req-2":
            pass
        assert microscope.executed == [Refocus(), BlankBeam()]


def test_a_command_of_another_session_is_refused(connect):
    microscope = FakeMicroscope()
    with serve(microscope) as bridge:
        client = connect(bridge)
        client.hello()
        client.ask(BlankBeam(), session="yesterday")
        assert client.hear(CommandOutcome).status == "refused"
        assert microscope.executed == []


@pytest.mark.parametrize("error", [OSError("scan generator"), RuntimeError("COM")], ids=["os", "runtime"])
def test_an_instrument_in_trouble_is_announced_and_tried_again(connect, error, monkeypatch):
    monkeypatch.setattr("drivers.instrument_thread.RETRY_S", 0.01)
    microscope = FakeMicroscope()
    microscope.faults.errors["take_frame"] = error
    with serve(microscope, heartbeat_s=0.02) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume()
        while str(error) not in client.hear(Heartbeat).instrument_error:
            pass
        microscope.faults.errors.clear()
        assert client.hear_data(Frame).header.sequence == 0
        while client.hear(Heartbeat).instrument_error:
            pass


def test_trouble_with_frames_is_told_for_as_long_as_it_lasts_though_the_state_can_be_read(
    connect, monkeypatch
):
    monkeypatch.setattr("drivers.instrument_thread.STATE_S", 0.01)
    microscope = FakeMicroscope()
    microscope.faults.errors["take_frame"] = OSError("scan generator")
    with serve(microscope, heartbeat_s=0.02) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume()
        while not client.hear(Heartbeat).instrument_error:
            pass
        told = [client.hear(Heartbeat).instrument_error for _ in range(20)]
        assert told == 20 * ["OSError: scan generator"]
        microscope.faults.errors["state"] = RuntimeError("COM")
        while client.hear(Heartbeat).instrument_error != "RuntimeError: COM; OSError: scan generator":
            pass
        microscope.faults.errors.clear()
        while client.hear(Heartbeat).instrument_error:
            pass


def test_a_frame_that_contradicts_itself_is_announced_in_its_place(connect):
    def facts(number):
        return FrameFacts(field_shape_px=(9, 9)) if number == 1 else FrameFacts(host="WSe2")

    with serve(FakeMicroscope(frames=3, facts=facts)) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume()
        kinds = [client.hear_data(Frame, Rejected) for _ in range(3)]
        assert [isinstance(one, Rejected) for one in kinds] == [False, True, False]
        assert kinds[1].sequence == 1
        assert "is the whole field" in kinds[1].reason


def test_volts_from_a_driver_are_announced_as_volts(connect):
    def facts(number):
        return FrameFacts(energy_kev=80e3)

    with serve(FakeMicroscope(frames=1, facts=facts)) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume()
        assert "looks like volts" in client.hear_data(Rejected).reason


def test_an_error_that_is_no_text_is_announced_as_text(connect):
    errors = [InputError("bad\udcff.npy: expected an image")]

    def draw(number, shape):
        if errors:
            raise errors.pop()
        return draw_ramp(number, shape)

    with serve(FakeMicroscope(frames=1, draw=draw)) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume()
        rejected, frame = (client.hear_data(Frame, Rejected) for _ in range(2))
        assert "bad\\udcff.npy: expected an image" in rejected.reason
        assert isinstance(frame, Frame)


def test_a_driver_whose_every_frame_is_bad_does_not_flood(connect):
    def draw(number, shape):
        return np.zeros((2, 2, 2))

    with serve(FakeMicroscope(draw=draw)) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume(credits=100)
        for number in range(4):
            client.hear_data(Rejected)
            client.acknowledge(number + 1)
        assert bridge.next_sequence <= 5


GARBAGE = [
    [b""],
    [b"hello"],
    [b"\xff" * 100, b"\x00" * 100, b"\x01"],
    [b"frame 00000000", b"{}", b"x" * 60000],
    [b"hello 00000000", b"[" * 60000],
    [b"x"] * 200,
]


def test_garbage_on_the_sockets_kills_nothing_and_is_answered(connect):
    with serve(FakeMicroscope()) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume(credits=1)
        client.hear_data(Frame)
        for parts in GARBAGE:
            client.control.send_multipart(parts)
            assert client.hear(Unwelcome).remedy
            client.data.send_multipart(parts)
            assert client.hear_data(Unwelcome).remedy
        for port in (bridge.port, bridge.data_port):
            raw = client.context.socket(zmq.STREAM)
            raw.setsockopt(zmq.LINGER, 0)
            raw.connect(f"tcp://127.0.0.1:{port}")
            identity, _ = raw.recv_multipart()
            raw.send_multipart([identity, b"GET / HTTP/1.1\r\n\r\n"])
            raw.close()
        client.acknowledge(1)
        assert client.hear_data(Frame).header.sequence == 1


def test_an_unknown_token_reads_nothing(connect):
    with serve(FakeMicroscope()) as bridge:
        client = connect(bridge)
        client.hello()
        client.data = client._connect(bridge.data_port)
        client.say_data(Resume(token="guessed", next_sequence=0, credits=9))
        assert "does not know the token" in client.hear_data(Unwelcome).reason


def test_versions_are_negotiated(connect):
    with serve(FakeMicroscope()) as bridge:
        client = connect(bridge)
        assert client.hello(versions=(9, 1)).version == 1
        client.say(Hello(client="new", versions=(9, 8)))
        unwelcome = client.hear(Unwelcome)
        assert "the client 9, 8" in unwelcome.reason


def test_stopping_blanks_the_beam_closes_and_marks_the_end(connect):
    microscope = FakeMicroscope()
    with serve(microscope) as bridge:
        client = connect(bridge)
        client.hello()
        client.resume()
        bridge.stop()
        ended = client.hear_data(SessionEnded)
    assert ended.is_aborted
    assert microscope.executed == [BlankBeam()]
    assert microscope.is_closed


def test_a_blanker_that_fails_does_not_keep_the_instrument_from_being_closed():
    microscope = FakeMicroscope()
    microscope.faults.errors["blank_beam"] = OSError("stuck")
    with serve(microscope):
        pass
    assert microscope.is_closed


def test_ports_are_free_again_at_once():
    with serve(FakeMicroscope()) as bridge:
        ports = bridge.port, bridge.data_port
    for _ in range(3):
        with serving(FakeMicroscope(), Options(port=ports[0], data_port=ports[1])) as again:
            assert (again.port, again.data_port) == ports


def test_a_port_in_use_is_said_before_anything_starts():
    with serve(FakeMicroscope()) as bridge:
        microscope = FakeMicroscope()
        with pytest.raises(InputError, match="choose a free port"):
            Bridge(microscope, Options(port=bridge.port))
        assert not microscope.executed


@pytest.mark.parametrize("host", ["203.0.113.9", "::1"], ids=["another's", "IPv6"])
def test_an_address_that_is_none_of_this_machine_is_told_from_a_port_in_use(host):
    with zmq.Context() as context, pytest.raises(InputError, match="give an IPv4 address of this machine"):
        Router(context, host, 0)


def test_an_instrument_that_cannot_be_opened_is_said_so():
    microscope = FakeMicroscope()
    microscope.faults.errors["state"] = OSError("no server")
    with pytest.raises(InputError, match="cannot be opened: OSError: no server"):
        Bridge(microscope, Options(port=0))


def test_an_instrument_that_does_not_answer_is_said_so():
    microscope = FakeMicroscope()
    wake = threading.Event()
    microscope.capabilities = wake.wait
    with pytest.raises(InputError, match="no answer"):
        Bridge(microscope, Options(port=0, open_s=0.05))
    wake.set()


async def test_commands_can_be_awaited_while_frames_wait_to_be_read():
    """One coroutine that reads and commands in turn cannot lock itself up."""
    with serve(FakeMicroscope(), ahead=1) as bridge:
        async with BridgeClient(bridge.address, ClientOptions(credits=1)) as client:
            async with asyncio.timeout(PATIENCE_S):
                async for arrival in client.arrivals():
                    if isinstance(arrival.content, LinkUp):
                        await client.execute(SwitchDetector(detectors=("MAADF",)))
                    if isinstance(arrival.content, Frame):
                        outcome = await client.execute(AcquireImage(dwell_us=3.0), timeout_s=PATIENCE_S)
                        break
    assert outcome.status == "confirmed"


async def test_frames_of_four_mebibytes_pass_to_the_bit():
    pixels = np.random.default_rng(1).random((1024, 1024), dtype=np.float32)
    fake = FakeMicroscope(frames=8, shape=(1024, 1024), draw=lambda number, shape: pixels)
    with serve(fake) as bridge:
        async with BridgeClient(bridge.address, ClientOptions(is_one_session=True)) as client:
            async with asyncio.timeout(PATIENCE_S):
                frames = [a.content async for a in client.arrivals() if isinstance(a.content, Frame)]
    assert len(frames) == 8
    assert all(np.array_equal(frame.pixels, pixels) for frame in frames)


def test_nothing_is_left_running():
    before = threading.active_count()
    with serve(FakeMicroscope()):
        pass
    deadline_s = time.monotonic() + PATIENCE_S
    while threading.active_count() > before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_unblanking_is_confirmed_too(connect):
    with serve(FakeMicroscope()) as bridge:
        client = connect(bridge)
        client.hello()
        client.ask(UnblankBeam())
        assert client.hear(CommandOutcome).status == "confirmed"


def test_mutilated_messages_are_answered_and_forgotten(connect):
    with serve(FakeMicroscope()) as bridge:
        client = connect(bridge)
        client.hello()
        rng = np.random.default_rng(11)
        topic, text = pack(CommandRequest(session=bridge.session, id="x", command=Refocus()))
        for _ in range(300):
            mutilated = bytearray(text)
            mutilated[rng.integers(len(mutilated))] = rng.integers(256)
            if bytes(mutilated) == text:
                continue
            with pytest.raises(WireError):
                unpack([topic, bytes(mutilated)])
            client.control.send_multipart([topic, bytes(mutilated)])
            client.hear(Unwelcome)
        client.ask(BlankBeam())
        assert client.hear(CommandOutcome).status == "confirmed"


def test_a_beam_that_the_last_controller_blanked_is_unblanked_for_the_next_where_nobody_sits(connect):
    with serve(FakeMicroscope(), unblanks=True) as bridge:
        first = connect(bridge)
        first.hello(role="controller")
        first.ask(BlankBeam())
        assert first.hear(CommandOutcome).status == "confirmed"
        first.say(Goodbye())
        second = connect(bridge)
        assert second.hello(role="reader").state.is_blanked
        second.hello(role="controller")
        while second.hear(InstrumentState).is_blanked:
            second.say(GetState())


def test_the_beam_of_an_attended_instrument_stays_blanked(connect):
    with serve(FakeMicroscope()) as bridge:
        client = connect(bridge)
        client.hello(role="controller")
        client.ask(BlankBeam())
        assert client.hear(CommandOutcome).status == "confirmed"
        client.hello(role="controller")
        client.say(GetState())
        assert client.hear(InstrumentState).is_blanked
