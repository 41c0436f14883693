"""Orders from the operator's other terminal, over a socket that this machine or holders of keys reach."""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import zmq
import zmq.asyncio
from pydantic import TypeAdapter, ValidationError

from agent.actions import Action, AnnounceMode, AnnounceRequest, FinishSession, Notice
from agent.events import Approve, Deny, OperatorSpoke, Order
from agent.state import State
from drivers.addresses import connect
from drivers.contract.codec import explain
from drivers.contract.errors import InputError
from drivers.keys import ClientKeys

#: Longest order that is looked at [bytes].
MAX_ORDER_BYTES = 4096

#: Answers longer than this are cut [s].
_PATIENCE_S = 10.0

_ORDERS: TypeAdapter[Any] = TypeAdapter(Order)

#: Puts an event to `decide`, and returns what it answered.
Ask = Callable[[OperatorSpoke], Awaitable[tuple[Action, ...]]]

#: Orders whose ids are remembered: more than an operator gives in a session.
_MOST_ORDERS = 100_000


class OrderBook:
    """Sees to it that an order is for this session, and carried out once.

    Parameters
    ----------
    session : str
    must_be_named : bool
        Whether an order has to say for which session it is, and to have an id of its own; else it may.
    """

    def __init__(self, session: str, *, must_be_named: bool = False) -> None:
        self._session, self._must_be_named = session, must_be_named
        self._ids: set[str] = set()

    def take(self, order: dict[str, Any]) -> tuple[bytes, str]:
        """Return the order itself, and what speaks against it, if anything does."""
        rest = {name: value for name, value in order.items() if name not in ("session", "id")}
        session, key = order.get("session"), order.get("id")
        if session is None and key is None and not self._must_be_named:
            return json.dumps(rest).encode(), ""
        return json.dumps(rest).encode(), self._objection(session, key)

    def _objection(self, session: object, key: object) -> str:
        if (session is not None or self._must_be_named) and session != self._session:
            return f"expected an order for the session {self._session}, found one for {_short(session)}"
        if key is None and not self._must_be_named:
            return ""
        if not isinstance(key, str) or not 8 <= len(key) <= 80:
            return f"expected an id of 8 to 80 characters that no other order has, found {_short(key)}"
        if key in self._ids:
            return f"the order {_short(key)} was given before; it is not carried out again"
        if len(self._ids) >= _MOST_ORDERS:
            return f"this session has had {_MOST_ORDERS} orders; end it and begin another"
        self._ids.add(key)
        return ""


def _short(value: object) -> str:
    return "none" if value is None else repr(value)[:60]


async def take_orders(
    socket: zmq.asyncio.Socket,
    ask: Ask,
    look: Callable[[], State],
    clock: Callable[[], float] = time.monotonic,
    *,
    book: OrderBook | None = None,
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
    book : OrderBook, optional
        Refuses orders of another session, and repeated ones.
    """
    book = book or OrderBook("")
    while True:
        identity, *parts = await socket.recv_multipart()
        delimiter = [b""] if len(parts) > 1 else []
        answer = await _answer(parts[-1] if parts else b"", ask, look, clock, book)
        with suppress(zmq.Again):  # who asks and reads no answers must not keep others from being heard
            await socket.send_multipart([identity, *delimiter, json.dumps(answer).encode()], zmq.NOBLOCK)


def _tree(text: bytes) -> dict[str, Any] | None:
    """Read a message as a JSON object; None if it is none."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None


async def _answer(
    text: bytes, ask: Ask, look: Callable[[], State], clock: Callable[[], float], book: OrderBook
) -> dict[str, Any]:
    """Answer one message."""
    if len(text) > MAX_ORDER_BYTES:
        return {"ok": False, "problem": f"expected at most {MAX_ORDER_BYTES} bytes, found {len(text)}"}
    tree = _tree(text)
    if tree is not None and tree.get("kind") == "status" and tree.keys() <= {"kind", "session", "id"}:
        return {"ok": True, **describe(look())}
    text, objection = (text, "") if tree is None else book.take(tree)
    if objection:
        return {"ok": False, "problem": objection}
    try:
        order = _ORDERS.validate_json(text)
    except ValidationError as error:
        return {"ok": False, "problem": explain(error)}
    before = look()
    try:
        actions = await asyncio.wait_for(ask(OperatorSpoke(at_s=clock(), order=order)), _PATIENCE_S)
    except TimeoutError:
        return {"ok": False, "problem": f"the agent took the order and gave no answer in {_PATIENCE_S:g} s"}
    return {
        "ok": True,
        "done": _is_done(order, before, look()),
        "said": in_words(actions),
        **describe(look()),
    }


def _is_done(order: Any, before: State, after: State) -> bool:
    """Whether an order did what it says: an answer needs a request that waits, and may come too late."""
    if not isinstance(order, Approve | Deny):
        return True
    was, now = (
        next((one.status for one in state.requests if one.id == order.request), None)
        for state in (before, after)
    )
    is_as_told = now == "denied" if isinstance(order, Deny) else now not in ("failed", "expired")
    return was == "proposed" and is_as_told


def in_words(actions: Iterable[Action]) -> list[str]:
    """What an order was answered with."""
    said = []
    for action in actions:
        match action:
            case Notice():
                said.append(f"{action.text}; {action.remedy}" if action.remedy else action.text)
            case AnnounceRequest():
                outcome = f": {action.request.outcome}" if action.request.outcome else ""
                said.append(f"request {action.request.id} is {action.request.status}{outcome}")
            case AnnounceMode():
                said.append(f"mode is {action.mode}")
            case FinishSession():
                said.append(f"the session ends: {action.reason}")
            case _:
                pass
    return said


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


def send_order(
    address: str, order: dict[str, Any], timeout_s: float = 5.0, *, keys: ClientKeys | None = None
) -> dict[str, Any]:
    """Send an order to a running agent and wait for its answer.

    With keys the order names the session that runs, which is asked for first, and an id of its own, so that
    nobody can give it again.

    Raises
    ------
    InputError
        If the address is none, no agent answers, or it did not understand.
    """
    if keys is not None and order["kind"] != "status":
        status = send_order(address, {"kind": "status"}, timeout_s, keys=keys)
        order = order | {"session": status["session"], "id": secrets.token_hex(16)}
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, int(timeout_s * 1000))
        if keys is not None:
            keys.show(socket)
        connect(socket, address)
        socket.send(json.dumps(order).encode())
        try:
            answer = json.loads(socket.recv())
        except (ValueError, RecursionError):
            raise InputError(f"what answers at {address} is no agent: expected JSON") from None
        except zmq.Again:
            raise InputError(
                f"no agent answers at {address}: start one with `columnist run`, or name the address that it "
                f"printed with --at{', or have it allow your key for control' if keys else ''}"
            ) from None
    if not answer["ok"]:
        raise InputError(f"the agent at {address} did not understand: {answer['problem']}")
    return dict(answer)
