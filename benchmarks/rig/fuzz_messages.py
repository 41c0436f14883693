"""Cases of fuzzing that are messages: what is spoilt, and who takes it."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rig.mutations import dump, mutate_message, mutate_tree

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "drivers" / "golden"

#: Kinds of message that a bridge has a use for.
FOR_BRIDGE = (b"hello", b"get_state", b"goodbye", b"command_request", b"resume", b"acknowledge")

#: Runs one case with the random numbers that it is given; True if the input was accepted, False if refused.
Case = Callable[[random.Random], bool]


def golden_messages() -> list[list[bytes]]:
    """One message of each kind, as it travels."""
    messages = []
    for path in sorted(GOLDEN.glob("*.json")):
        parts = [path.with_suffix(".topic").read_bytes(), path.read_bytes()]
        pixels = path.with_suffix(".pixels")
        messages.append([*parts, pixels.read_bytes()] if pixels.is_file() else parts)
    return messages


def with_text(message: list[bytes], old: bytes, new: bytes) -> list[bytes]:
    """Put one text for another in a message; its checksum is made anew when it is spoilt."""
    return [message[0], message[1].replace(old, new), *message[2:]]


class Known:
    """A client that a bridge has let in, and messages that name its session and its token."""

    def __init__(self, bridge: Any, golden: list[list[bytes]]) -> None:
        self._bridge, self._golden = bridge, golden
        self.messages = self.for_bridge = golden

    def enter(self, identity: bytes) -> None:
        """Say hello, as a sound client does."""
        hello = next(message for message in self._golden if message[0].startswith(b"hello "))
        self._bridge._serve(self._bridge._control, identity, hello, "")
        token = self._bridge._clients.sender(identity, time.monotonic()).token.encode()
        session = self._bridge.session.encode()
        self.messages = [
            with_text(with_text(message, b"20261125T101500Z-0a1b2c3d", session), b'"5f0c"', b'"%s"' % token)
            for message in self._golden
        ]
        self.for_bridge = [message for message in self.messages if message[0].split(b" ")[0] in FOR_BRIDGE]


def wire_case() -> Case:
    """The decoder, a bridge with its instrument, a client's two ears, one after another.

    The bridge is served without a poller, and makes a whole turn now and then.
    """
    import zmq.asyncio

    from drivers.bridge import Bridge, Options
    from drivers.client import BridgeClient, _Link, _LinkDownError
    from drivers.contract.codec import rejected, unpack
    from drivers.contract.errors import WireError
    from drivers.data_stream import DataStream
    from drivers.fake import FakeMicroscope

    def fresh_stream() -> DataStream:
        made = DataStream(4, 2**20, "20261125T101500Z-0a1b2c3d", 0)
        made.connect("token")
        return made

    golden = golden_messages()
    microscope = FakeMicroscope(is_scanning=False)
    bridge = Bridge(microscope, Options(port=0))
    known = Known(bridge, golden)
    stream = fresh_stream()
    loop = asyncio.new_event_loop()
    client = BridgeClient(bridge.address)
    dealer = zmq.asyncio.Context().socket(zmq.DEALER)
    number = 0

    async def hear(parts: list[memoryview]) -> None:
        link = _Link(dealer, heard_s=0.0)
        with contextlib.suppress(_LinkDownError):
            await client._hear_control(link, parts)
        if link.data is not None:
            link.data.close(0)
        while not client._inbox.empty():
            client._inbox.get_nowait()

    def serve(rng: random.Random) -> None:
        if number % 500 == 1:
            bridge._heartbeat_due_s = time.monotonic()  # so that the turn waits for nothing
            bridge._step()
            microscope.executed.clear()
            bridge._clients.forget_silent(time.monotonic() + 1)
            known.enter(b"known")
        chosen = known.for_bridge if rng.random() < 0.8 else known.messages
        parts = mutate_message(rng.choice(chosen), golden, rng)
        is_data = parts[:1] and parts[0].startswith((b"resume", b"acknowledge"))
        router = bridge._data if is_data else bridge._control
        bridge._serve(router, b"known" if rng.random() < 0.8 else b"c%d" % (number % 50), parts, "")

    def run(rng: random.Random) -> bool:
        nonlocal number, stream
        number += 1
        serve(rng)
        parts = mutate_message(rng.choice(golden), golden, rng)
        if number % 200 == 0:
            stream = fresh_stream()
        stream.hear(parts)
        loop.run_until_complete(hear([memoryview(part) for part in parts]))
        try:
            unpack(parts)
        except WireError as error:
            rejected(error, parts)
            return False
        return True

    return run


def orders_case() -> Case:
    """Orders to the agent, questions to its snapshot socket, and what a listener hears."""
    from agent.control import OrderBook, _answer
    from agent.listening import Listener
    from agent.state import State

    orders: list[Any] = [
        {"kind": "status"},
        {"kind": "approve", "request": "r1", "session": "s1", "id": "0123456789"},
        {"kind": "deny", "request": "r1"},
        {"kind": "set_mode", "mode": "observe"},
        {"kind": "stop", "why": "enough"},
    ]
    envelope = {
        "version": 1, "topic": "map", "session": "s1", "number": 1, "sent_s": 1.0, "body": {"kind": "map"},
        "columns": {"count": 1, "dtype": [["row_px", "<f4"]]},
    }  # fmt: skip
    loop = asyncio.new_event_loop()
    listener = Listener.__new__(Listener)
    listener._topics, listener._numbers = (), {}

    async def ask(event: Any) -> list[str]:
        return []

    def run(rng: random.Random) -> bool:
        text = dump(mutate_tree(rng.choice(orders), rng), rng)
        book = OrderBook("s1", must_be_named=rng.random() < 0.5)
        answer = loop.run_until_complete(_answer(text, ask, State, lambda: 0.0, book))
        json.dumps(answer)
        for heard in listener._take(b"map", dump(mutate_tree(envelope, rng), rng), rng.randbytes(60)):
            with contextlib.suppress(ValueError):
                assert heard.columns is not None
        listener._numbers.clear()
        return bool(answer["ok"])

    return run
