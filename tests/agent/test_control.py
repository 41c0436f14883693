import asyncio
import contextlib
import json
import threading
from dataclasses import replace

import pytest
import zmq
import zmq.asyncio

from agent.actions import Notice
from agent.control import MAX_ORDER_BYTES, OrderBook, send_order, take_orders
from agent.decide import decide
from agent.events import Ticked
from agent.sockets import address_of, bind
from agent.state import State
from drivers.contract.errors import InputError


@contextlib.asynccontextmanager
async def agent(state, ask):
    context = zmq.asyncio.Context()
    socket = bind(context, zmq.ROUTER, "tcp://127.0.0.1:0", "publish.control")
    look = state if callable(state) else lambda: state
    task = asyncio.create_task(take_orders(socket, ask, look, lambda: 5.0))
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
        return (Notice(level="info", text="request r1 is approved"),)

    state = replace(make.run_through([make.opened(mode="auto")])[0], link="up")
    async with agent(state, ask) as address:
        answer = await asyncio.to_thread(send_order, address, {"kind": "approve", "request": "r1"})
    assert answer["said"] == ["request r1 is approved"]
    assert (answer["mode"], answer["link"]) == ("auto", "up")
    assert (asked[0].order.request, asked[0].at_s) == ("r1", 5.0)


@pytest.mark.parametrize("kind", ["approve", "deny"])
async def test_an_answer_tells_whether_the_order_did_what_it_says(make, kind):
    link = make.link_made(state=make.state_of(shape_px=(16, 16)))
    kept = [make.run_through([make.opened(mode="advise", rule="value"), link, Ticked(at_s=2.0)])[0]]
    assert [request.id for request in kept[0].requests] == ["r1"]

    async def ask(event):
        kept[0], actions = decide(kept[0], event)
        return make.kinds(actions)

    async with agent(lambda: kept[0], ask) as address:
        done = [
            (await asyncio.to_thread(send_order, address, {"kind": kind, "request": name}))["done"]
            for name in ("r9", "r1", "r1")
        ]
    assert done[0] is False, "there is no such request"
    assert done[1] is (kind == "deny"), "a dose that is not known keeps the scan from being sent"
    assert done[2] is False, "it has ended"


async def test_an_address_that_is_none_is_said_so():
    for address in ("foo", "", "tcp://", "tcp://here"):
        with pytest.raises(InputError, match="expected an address such as tcp://"):
            send_order(address, {"kind": "status"})


async def test_the_status_asks_nobody():
    async with agent(State(), nobody_asks) as address:
        answer = await asyncio.to_thread(send_order, address, {"kind": "status"})
    assert answer["frames"]["seen"] == 0


def talk(address, *texts):
    """Answers to messages as they are written, sent one after another."""
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.connect(address)
        answers = []
        for text in texts:
            socket.send(text)
            answers.append(json.loads(socket.recv()))
        return answers


STATUS = {
    "spaces": b'{ "kind" : "status" }',
    "no spaces": b'{"kind":"status"}',
    "lines": b'{\n"kind":\n"status"\n}\n',
    "named": b'{"id": "0123456789abcdef", "kind": "status", "session": "s1"}',
}


@pytest.mark.parametrize("text", STATUS.values(), ids=STATUS)
async def test_the_status_is_known_however_it_is_written(text):
    async with agent(State(), nobody_asks) as address:
        (answer,) = await asyncio.to_thread(talk, address, text)
    assert answer["ok"]


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
        first, second = await asyncio.to_thread(talk, address, text, b'{"kind": "status"}')
    assert not first["ok"]
    assert first["problem"]
    assert second["ok"]


def test_with_keys_an_order_has_to_say_for_which_session_it_is():
    """Else whoever recorded it could give it again."""
    _, objection = OrderBook("s1", must_be_named=True).take({"kind": "stop"})
    assert "expected an order for the session s1, found one for none" in objection


async def test_an_order_that_is_too_long_is_not_looked_at(make):
    order = {"kind": "stop", "why": "x" * MAX_ORDER_BYTES}
    async with agent(make.run_through([make.opened()])[0], nobody_asks) as address:
        with pytest.raises(InputError, match=f"expected at most {MAX_ORDER_BYTES} bytes, found"):
            await asyncio.to_thread(send_order, address, order)


def test_where_no_agent_is_the_order_names_the_way_to_start_one():
    before = threading.active_count()  # tests of other files may have left some that are ending
    with pytest.raises(InputError, match="columnist run"):
        send_order("tcp://127.0.0.1:9", {"kind": "status"}, timeout_s=0.1)
    assert threading.active_count() <= before


STOP = {"kind": "stop", "session": "s1", "id": "0123456789abcdef"}
UNFIT = {
    "of another session": (STOP | {"session": "s2"}, "found one for 's2'"),
    "of no session": ({"kind": "stop", "id": "0123456789abcdef"}, "found one for none"),
    "without an id": ({"kind": "stop", "session": "s1"}, "found none"),
    "with an id that is short": (STOP | {"id": "1"}, "8 to 80 characters"),
    "with an id that is no text": (STOP | {"id": 12345678}, "8 to 80 characters"),
}


@pytest.mark.parametrize(("order", "complaint"), UNFIT.values(), ids=UNFIT)
def test_an_order_is_refused(order, complaint):
    _, objection = OrderBook("s1", must_be_named=True).take(order)
    assert complaint in objection


def test_an_order_is_taken_once():
    book = OrderBook("s1", must_be_named=True)
    assert book.take(STOP) == (b'{"kind": "stop"}', "")
    assert "given before" in book.take(STOP)[1]


def test_without_keys_an_order_need_not_be_named_but_what_it_names_counts():
    book = OrderBook("s1")
    assert book.take({"kind": "stop"}) == (b'{"kind": "stop"}', "")
    assert "found one for 's2'" in book.take({"kind": "stop", "session": "s2"})[1]
    assert book.take(STOP)[1] == ""
    assert "given before" in book.take(STOP)[1]


async def test_an_agent_that_does_not_answer_in_time_ends_the_order_and_not_the_socket(monkeypatch):
    monkeypatch.setattr("agent.control._PATIENCE_S", 0.01)

    async def ask(event):
        await asyncio.Event().wait()

    async with agent(State(), ask) as address:
        with pytest.raises(InputError, match="gave no answer"):
            await asyncio.to_thread(send_order, address, {"kind": "stop"})
        assert (await asyncio.to_thread(send_order, address, {"kind": "status"}))["ok"]
