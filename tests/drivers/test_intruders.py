"""Nobody moves the instrument who may not: a bridge with keys, and whoever tries."""

import socket
from pathlib import Path

import pytest
import zmq

from drivers.bridge import Options, serving
from drivers.client import BridgeClient
from drivers.client import Options as ClientOptions
from drivers.contract.codec import pack, unpack
from drivers.contract.frame import Frame
from drivers.contract.instrument import BlankBeam, CommandOutcome, CommandRequest, UnblankBeam
from drivers.contract.messages import Hello, Welcome
from drivers.fake import FakeMicroscope
from drivers.keys import ClientKeys, KeyPair, allow, make_own, own, read_keys, trust

#: How many connections come at once; `columnist bench faults --connections 10000` makes more.
CONNECTIONS = 300


class Intruder:
    """One DEALER with some key or none."""

    def __init__(self, address, keys=None):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        if keys is not None:
            keys.show(self.socket)
        self.socket.connect(address)

    def say(self, message):
        self.socket.send_multipart(pack(message))

    def hear(self, kind, wait_ms=10_000):
        while self.socket.poll(wait_ms):
            message = unpack(self.socket.recv_multipart())
            if isinstance(message, kind):
                return message
        return None

    def close(self):
        self.context.destroy(linger=0)


@pytest.fixture
def keys(tmp_path):
    """Folders of a bridge, of an operator, of a viewer, and of somebody it does not know."""
    folders = {name: tmp_path / name for name in ("bridge", "operator", "viewer", "stranger")}
    for folder in folders.values():
        make_own(folder)
        trust(folder, own(folders["bridge"]).public.decode())
    allow(folders["bridge"], "control", "operator", own(folders["operator"]).public.decode())
    allow(folders["bridge"], "listen", "viewer", own(folders["viewer"]).public.decode())
    return folders


@pytest.fixture
def microscope():
    return FakeMicroscope()


@pytest.fixture
def bridge(keys, microscope):
    with serving(microscope, Options(port=0, keys=keys["bridge"], heartbeat_s=0.05)) as bridge:
        yield bridge


@pytest.fixture
def intrude(bridge):
    intruders = []

    def make(keys=None):
        intruders.append(Intruder(bridge.address, read_keys(keys) if isinstance(keys, Path) else keys))
        return intruders[-1]

    yield make
    for intruder in intruders:
        intruder.close()


async def is_served(bridge, keys):
    """Whether the operator gets frames, and a command confirmed."""
    async with BridgeClient(bridge.address, ClientOptions(keys=keys["operator"])) as client:
        async for arrival in client.arrivals():
            if isinstance(arrival.content, Frame):
                return (await client.execute(BlankBeam())).status == "confirmed"


async def test_who_holds_a_key_for_control_commands(bridge, keys, microscope):
    assert await is_served(bridge, keys)
    assert [command.kind for command in microscope.executed] == ["blank_beam"]


@pytest.mark.parametrize("who", ["nobody", "stranger", "wrong server"])
async def test_without_a_known_key_nobody_gets_in(bridge, keys, intrude, microscope, who):
    pair = own(keys["operator"])
    shown = {
        "nobody": None,
        "stranger": keys["stranger"],
        "wrong server": ClientKeys(pair, own(keys["viewer"]).public),
    }
    intruder = intrude(shown[who])
    intruder.say(Hello(client="intruder"))
    intruder.say(CommandRequest(session=bridge.session, id="move-1", command=UnblankBeam()))
    assert intruder.hear((Welcome, CommandOutcome), wait_ms=300) is None
    assert await is_served(bridge, keys)
    assert [command.kind for command in microscope.executed] == ["blank_beam"]


def test_a_secret_without_its_public_half_is_no_key(bridge, keys, intrude):
    forged = KeyPair(own(keys["operator"]).public, own(keys["stranger"]).secret)
    intruder = intrude(ClientKeys(forged, own(keys["bridge"]).public))
    intruder.say(Hello(client="intruder"))
    assert intruder.hear(Welcome, wait_ms=300) is None


def test_a_listeners_key_reads_and_moves_nothing(bridge, keys, intrude, microscope):
    viewer = intrude(keys["viewer"])
    viewer.say(Hello(client="viewer", role="controller"))
    assert viewer.hear(Welcome).role == "reader"
    viewer.say(CommandRequest(session=bridge.session, id="move-1", command=UnblankBeam()))
    outcome = viewer.hear(CommandOutcome)
    assert outcome.status == "refused"
    assert "reader" in outcome.reason
    assert microscope.executed == []


def test_a_listener_cannot_take_control_over_with_a_token_that_it_overheard(bridge, keys, intrude):
    operator, viewer = intrude(keys["operator"]), intrude(keys["viewer"])
    operator.say(Hello(client="operator"))
    token = operator.hear(Welcome).token
    viewer.say(Hello(client="viewer", replaces=token))
    assert viewer.hear(Welcome).role == "reader"
    operator.say(CommandRequest(session=bridge.session, id="blank-1", command=BlankBeam()))
    assert operator.hear(CommandOutcome).status == "confirmed"


def test_a_command_that_is_replayed_moves_the_instrument_once(bridge, keys, intrude, microscope):
    operator = intrude(keys["operator"])
    operator.say(Hello(client="operator"))
    token = operator.hear(Welcome).token
    command = CommandRequest(session=bridge.session, id="blank-1", command=BlankBeam())
    for _ in range(5):
        operator.say(command)
        assert operator.hear(CommandOutcome).status == "confirmed"
    again = intrude(keys["operator"])
    again.say(Hello(client="operator", replaces=token))
    again.hear(Welcome)
    again.say(command)
    assert again.hear(CommandOutcome).status == "confirmed"
    again.say(CommandRequest(session=bridge.session, id="blank-1", command=UnblankBeam()))
    assert "another command had this id" in again.hear(CommandOutcome).reason
    assert [command.kind for command in microscope.executed] == ["blank_beam"]


def test_a_command_of_another_session_moves_nothing(bridge, keys, intrude, microscope):
    operator = intrude(keys["operator"])
    operator.say(Hello(client="operator"))
    operator.hear(Welcome)
    operator.say(CommandRequest(session="yesterday", id="blank-1", command=BlankBeam()))
    outcome = operator.hear(CommandOutcome)
    assert outcome.status == "refused"
    assert "yesterday" in outcome.reason
    assert microscope.executed == []


async def test_many_connections_hold_nobody_up(bridge, keys, microscope):
    greeting = bytes([0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3, 1]) + b"NULL".ljust(20, b"\0") + bytes(32)
    connections = []
    try:
        for number in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", bridge.port), timeout=10)
            connection.sendall((greeting, b"GET / HTTP/1.1\r\n\r\n", b"", b"\xff" * 64)[number % 4])
            connections.append(connection)
        assert await is_served(bridge, keys)
    finally:
        for connection in connections:
            connection.close()
    assert [command.kind for command in microscope.executed] == ["blank_beam"]
