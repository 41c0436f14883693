"""Orders from the operator's other terminal, over a loopback socket."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import zmq
import zmq.asyncio
from pydantic import TypeAdapter, ValidationError

from agent.events import OperatorSpoke, Order
from agent.state import State
from drivers.contract.codec import explain
from drivers.contract.errors import InputError

#: Longest order that is looked at [bytes].
MAX_ORDER_BYTES = 4096

#: Answers longer than this are cut [s].
_PATIENCE_S = 10.0

_ORDERS: TypeAdapter[Any] = TypeAdapter(Order)

#: Puts an event to `decide`, and returns what it answered, in words.
Ask = Callable[[OperatorSpoke], Awaitable[list[str]]]


async def take_orders(
    socket: zmq.asyncio.Socket,
    ask: Ask,
    look: Callable[[], State],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Answer orders and questions until cancelled; what is neither is answered with what is wrong.

    Parameters
    ----------
    socket : zmq.asyncio.Socket
        A bound ROUTER socket; a REQ socket sends one part of JSON.
    ask : callable
    look : callable
        Returns the present state.
    clock : callable
        Monotonic [s].
    """
    while True:
        identity, *parts = await socket.recv_multipart()
        delimiter = [b""] if len(parts) > 1 else []
        answer = await _answer(parts[-1] if parts else b"", ask, look, clock)
        await socket.send_multipart([identity, *delimiter, json.dumps(answer).encode()])


async def _answer(
    text: bytes, ask: Ask, look: Callable[[], State], clock: Callable[[], float]
) -> dict[str, Any]:
    """Answer one message."""
    if len(text) > MAX_ORDER_BYTES:
        return {"ok": False, "problem": f"expected at most {MAX_ORDER_BYTES} bytes, found {len(text)}"}
    if text.strip() == b'{"kind": "status"}' or text.strip() == b'{"kind":"status"}':
        return {"ok": True, **describe(look())}
    try:
        order = _ORDERS.validate_json(text)
    except ValidationError as error:
        return {"ok": False, "problem": explain(error)}
    said = await asyncio.wait_for(ask(OperatorSpoke(at_s=clock(), order=order)), _PATIENCE_S)
    return {"ok": True, "said": said, **describe(look())}


def describe(state: State) -> dict[str, Any]:
    """The state in plain JSON types, as far as an operator wants to see it."""
    verdict = state.evidence.verdict
    return {
        "session": state.session,
        "mode": state.mode,
        "link": state.link,
        "halted": state.halted,
        "goals": [one.sentence for one in verdict.standings] if verdict else [],
        "highest_dose_e_per_a2": state.doses.ledger.highest_e_per_a2,
        "frames": vars(state.counts),
        "requests": [request.model_dump(mode="json") for request in state.requests],
    }


def send_order(address: str, order: dict[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
    """Send an order to a running agent and wait for its answer.

    Raises
    ------
    InputError
        If no agent answers, or it did not understand.
    """
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, int(timeout_s * 1000))
        socket.connect(address)
        socket.send(json.dumps(order).encode())
        try:
            answer = json.loads(socket.recv())
        except zmq.Again:
            raise InputError(
                f"no agent answers at {address}: start one with `columnist run`, or name the address that it "
                "printed with --at"
            ) from None
    if not answer["ok"]:
        raise InputError(f"the agent at {address} did not understand: {answer['problem']}")
    return dict(answer)
