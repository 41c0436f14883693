"""The sockets that an agent binds: where each can be reached, and who gets in."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from agent.settings import Settings
from drivers.contract.errors import InputError
from drivers.keys import CONTROL_DOMAIN, LISTEN_DOMAIN, Guard

#: Longest part of a message that is taken from anybody [bytes]; whoever sends more is cut off.
_MAX_TAKEN = 65536

#: Answers kept for somebody who asks and does not read them: a snapshot holds a whole map.
_ANSWERS_KEPT = 16


@dataclass(frozen=True)
class Sockets:
    """The agent's bound sockets."""

    context: zmq.asyncio.Context
    maps: "zmq.Socket[bytes]"
    snapshot: zmq.asyncio.Socket
    control: zmq.asyncio.Socket

    @property
    def addresses(self) -> dict[str, str]:
        """Where each can be reached."""
        return {name: address_of(getattr(self, name)) for name in ("maps", "snapshot", "control")}


@contextmanager
def open_sockets(settings: Settings) -> Iterator[Sockets]:
    """Bind the agent's sockets.

    Raises
    ------
    InputError
        If a port is in use, or the keys are unsound; nothing else has been begun.
    """
    context = zmq.asyncio.Context()
    plain: zmq.Context[Any] = zmq.Context(context)  # of the same core: its sockets need no event loop
    publish = settings.publish
    with ExitStack() as stack:
        stack.callback(context.term)
        guard = Guard(Path(publish.keys)) if publish.keys else None
        if guard is not None:
            stack.enter_context(guard.watching(plain))

        def open_one(where: "zmq.Context[Any]", kind: int, name: str, domain: str) -> Any:
            def protect(socket: "zmq.Socket[Any]") -> None:
                if guard is not None:
                    guard.protect(socket, domain)

            address, field = getattr(publish, name), f"publish.{name}"
            queue = publish.queue if kind == zmq.PUB else _ANSWERS_KEPT
            return stack.enter_context(bind(where, kind, address, field, queue, protect))

        maps = open_one(plain, zmq.PUB, "maps", LISTEN_DOMAIN)
        snapshot = open_one(context, zmq.ROUTER, "snapshot", LISTEN_DOMAIN)
        control = open_one(context, zmq.ROUTER, "control", CONTROL_DOMAIN)
        yield Sockets(context, maps, snapshot, control)


def bind(
    context: "zmq.Context[Any]",
    kind: int,
    address: str,
    field: str,
    queue: int = 1000,
    protect: Callable[["zmq.Socket[Any]"], None] = lambda socket: None,
) -> Any:
    """Bind a socket that keeps at most `queue` messages for each peer; `protect` sets up who gets in.

    Raises
    ------
    InputError
        If the address is none, or its port is in use; the setting is named.
    """
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 200)
    socket.setsockopt(zmq.SNDHWM, queue)
    socket.setsockopt(zmq.MAXMSGSIZE, _MAX_TAKEN)
    protect(socket)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        if error.errno == zmq.EADDRINUSE:
            raise InputError(
                f"{address} is in use, perhaps by another agent (`columnist requests` would tell): stop it, "
                f"or set {field} to another address, for example with port 0 for any free one"
            ) from None
        raise InputError(
            f"{field}: expected an address such as tcp://127.0.0.1:5880, found {address!r} ({error.strerror})"
        ) from None
    return socket


def address_of(socket: "zmq.Socket[Any]") -> str:
    """Where a bound socket is, with the port that it was given."""
    return str(socket.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\x00"))  # type: ignore[union-attr]
