"""Who may listen and who may command: the agent's own sockets with keys."""

import asyncio
import contextlib
import json

import pytest
import zmq

from agent.control import OrderBook, send_order, take_orders
from agent.listening import Listener
from agent.publish import Publisher, answer_snapshots
from agent.settings import PublishSettings, Settings
from agent.sockets import open_sockets
from agent.state import State
from drivers.contract.errors import InputError
from drivers.keys import allow, make_own, own, read_keys, trust

STATE = State(session="s1")


@pytest.fixture
def keys(tmp_path):
    folders = {name: tmp_path / name for name in ("agent", "operator", "viewer", "stranger")}
    for folder in folders.values():
        make_own(folder)
        trust(folder, own(folders["agent"]).public.decode())
    allow(folders["agent"], "control", "operator", own(folders["operator"]).public.decode())
    allow(folders["agent"], "listen", "viewer", own(folders["viewer"]).public.decode())
    return folders


@contextlib.asynccontextmanager
async def agent(keys, given):
    """The sockets of an agent that publishes a mode over and over, and notes the orders that it is given."""

    async def ask(event):
        given.append(event.order)
        return ()

    async def speak(publisher):
        while True:
            publisher.publish("mode", {"kind": "announce_mode", "mode": "advise"})
            await asyncio.sleep(0.01)

    address = "tcp://127.0.0.1:0"
    publish = PublishSettings(keys=str(keys["agent"]), maps=address, snapshot=address, control=address)
    with open_sockets(Settings(publish=publish)) as sockets:
        publisher = Publisher(sockets.maps, "s1")
        book = OrderBook("s1", must_be_named=True)
        tasks = [
            asyncio.create_task(take_orders(sockets.control, ask, lambda: STATE, book=book)),
            asyncio.create_task(answer_snapshots(sockets.snapshot, publisher)),
            asyncio.create_task(speak(publisher)),
        ]
        try:
            yield sockets.addresses
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def hear(addresses, folder, timeout_s=5.0):
    """Topics of the first two messages that are heard."""
    with zmq.Context() as context:
        keys = read_keys(folder) if folder else None
        with Listener(context, addresses["maps"], addresses["snapshot"], (), keys) as listener:
            return [heard.topic for heard, _ in zip(listener.messages(timeout_s), range(2), strict=False)]


async def test_an_operator_commands_and_hears(keys):
    given = []
    async with agent(keys, given) as addresses:
        shown = read_keys(keys["operator"])
        answer = await asyncio.to_thread(send_order, addresses["control"], {"kind": "stop"}, keys=shown)
        assert answer["ok"]
        assert await asyncio.to_thread(hear, addresses, keys["operator"]) == ["mode", "mode"]
    assert [order.kind for order in given] == ["stop"]


async def test_a_viewer_hears_and_commands_nothing(keys, monkeypatch):
    given = []
    async with agent(keys, given) as addresses:
        assert await asyncio.to_thread(hear, addresses, keys["viewer"]) == ["mode", "mode"]
        shown = read_keys(keys["viewer"])
        with pytest.raises(InputError, match="allow your key for control"):
            await asyncio.to_thread(send_order, addresses["control"], {"kind": "stop"}, 0.3, keys=shown)
    assert given == []


@pytest.mark.parametrize("who", ["stranger", None])
async def test_who_has_no_known_key_neither_hears_nor_commands(keys, who, monkeypatch):
    monkeypatch.setattr("agent.listening._SNAPSHOT_MS", 200)
    given = []
    async with agent(keys, given) as addresses:
        folder = keys[who] if who else None
        assert await asyncio.to_thread(hear, addresses, folder, 0.2) == []
        shown = read_keys(folder) if folder else None
        with pytest.raises(InputError, match="no agent answers"):
            await asyncio.to_thread(send_order, addresses["control"], {"kind": "stop"}, 0.3, keys=shown)
    assert given == []


async def test_an_order_that_is_given_again_is_refused(keys):
    given = []
    text = json.dumps({"kind": "stop", "session": "s1", "id": "0123456789abcdef"}).encode()

    def talk(address):
        answers = []
        with zmq.Context() as context:
            for _ in range(2):
                with context.socket(zmq.REQ) as socket:
                    socket.setsockopt(zmq.LINGER, 0)
                    read_keys(keys["operator"]).show(socket)
                    socket.connect(address)
                    socket.send(text)
                    answers.append(json.loads(socket.recv()))
        return answers

    async with agent(keys, given) as addresses:
        first, second = await asyncio.to_thread(talk, addresses["control"])
    assert first["ok"]
    assert "given before" in second["problem"]
    assert len(given) == 1


@pytest.mark.parametrize("name", ["maps", "snapshot", "control"])
def test_no_socket_is_reached_by_others_without_keys(name):
    with pytest.raises(ValueError, match="an address of this machine alone"):
        PublishSettings(**{name: "tcp://0.0.0.0:5999"})
    assert getattr(PublishSettings(keys="keys", **{name: "tcp://0.0.0.0:5999"}), name).endswith(":5999")


def test_keys_that_are_not_there_keep_the_agent_from_starting(tmp_path):
    publish = PublishSettings(keys=str(tmp_path), maps="tcp://127.0.0.1:0")
    with pytest.raises(InputError, match="columnist keys make"), open_sockets(Settings(publish=publish)):
        pass
