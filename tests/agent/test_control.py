import asyncio
import contextlib
import json
import threading
from dataclasses import replace

import pytest
import zmq
import zmq.asyncio

from agent.control import send_order, take_orders
from agent.publish import address_of, bind
from agent.state import State
from drivers.contract.errors import InputError


@contextlib.asynccontextmanager
async def agent(state, ask):
    context = zmq.asyncio.Context()
    socket = bind(context, zmq.ROUTER, "tcp://127.0.0.1:0", "publish.control")
    task = asyncio.create_task(take_orders(socket, ask, lambda: state, lambda: 5.0))
    try:
        yield address_of(socket)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        socket.close(linger=0)
        context.term()


async def nobody_asks(event):
    raise AssertionError(event)


async def test_an_order_is_put_to_the_agent_and_its_answer_comes_back(make):
    asked = []

    async def ask(event):
        asked.append(event)
        return ["request r1 is approved"]

    state = replace(make.run_through([make.opened(mode="auto")])[0], link="up")
    async with agent(state, ask) as address:
        answer = await asyncio.to_thread(send_order, address, {"kind": "approve", "request": "r1"})
    assert answer["said"] == ["request r1 is approved"]
    assert (answer["mode"], answer["link"]) == ("auto", "up")
    assert (asked[0].order.request, asked[0].at_s) == ("r1", 5.0)


async def test_the_status_asks_nobody():
    async with agent(State(), nobody_asks) as address:
        answer = await asyncio.to_thread(send_order, address, {"kind": "status"})
    assert answer["frames"]["seen"] == 0


BAD = {
    "no order": b'{"kind": "dance"}',
    "no JSON": b"\xff\xfe{",
    "a further field": b'{"kind": "stop", "now": true}',
    "a mode that is none": b'{"kind": "set_mode", "mode": "full"}',
    "too long": b" " * 5000,
    "nothing": b"",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
async def test_what_is_no_order_is_answered_with_what_is_wrong_and_the_next_is_taken(text):
    async with agent(State(), nobody_asks) as address:

        def talk():
            with zmq.Context() as context, context.socket(zmq.REQ) as socket:
                socket.connect(address)
                socket.send(text)
                first = json.loads(socket.recv())
                socket.send(b'{"kind": "status"}')
                return first, json.loads(socket.recv())

        first, second = await asyncio.to_thread(talk)
    assert not first["ok"]
    assert first["problem"]
    assert second["ok"]


def test_where_no_agent_is_the_order_names_the_way_to_start_one():
    before = threading.active_count()  # tests of other files may have left some that are ending
    with pytest.raises(InputError, match="columnist run"):
        send_order("tcp://127.0.0.1:9", {"kind": "status"}, timeout_s=0.1)
    assert threading.active_count() <= before
