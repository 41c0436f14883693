"""Where a bridge, or an agent, is found."""

from typing import Any

import zmq

from drivers.contract.errors import InputError

#: The port of a bridge's control socket; that of its data socket is the next one, if it is free to choose.
CONTROL_PORT = 5555

#: The highest port of TCP.
MOST_PORT = 65535


def endpoint(address: str) -> tuple[str, int]:
    """Split ``tcp://HOST:PORT``, ``HOST:PORT``, ``PORT`` or ``HOST`` into host and port.

    Raises
    ------
    InputError
        If it is none of these, or of IPv6, which is not spoken here.
    """
    host, colon, port = address.removeprefix("tcp://").rpartition(":")
    if not colon:
        host, port = ("127.0.0.1", port) if port.isdecimal() else (port, str(CONTROL_PORT))
    if not host or any(sign in host for sign in "/ :[") or not _is_port(port):
        raise InputError(f"expected an address such as tcp://127.0.0.1:{CONTROL_PORT}, found {address!r}")
    return host, int(port)


def check_port(port: int) -> None:
    """Raise `InputError` unless a port can be listened on, 0 (any free one) among them.

    ZeroMQ itself says nothing: it takes 70000 for 4464, and -1 for 65535.
    """
    if not 0 <= port <= MOST_PORT:
        raise InputError(f"expected a port of 1 to {MOST_PORT}, or 0 for any free one, found {port}")


def check_bound(address: str) -> None:
    """Raise `InputError` if an address to listen at is of TCP, and its port none; see `check_port`."""
    host, _, port = address.rpartition(":")
    if host.startswith("tcp://") and port != "*":
        if not port.isdecimal():
            raise InputError(f"expected a port of 1 to {MOST_PORT}, or 0 for any free one, found {port!r}")
        check_port(int(port))


def connect(socket: "zmq.Socket[Any]", address: str) -> None:
    """Connect a socket to an address as ZeroMQ takes it.

    Raises
    ------
    InputError
        If it is no such address, or one of TCP whose port is none; ZeroMQ would try for ever.
    """
    host, _, port = address.rpartition(":")
    if host.startswith("tcp://") and not _is_port(port):
        raise InputError(
            f"expected an address with a port of 1 to {MOST_PORT}, found {address!r}"
            + ("; name the one that was printed by who took any free port" if port == "0" else "")
        )
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        raise InputError(
            f"expected an address such as tcp://127.0.0.1:5880, found {address!r} ({error})"
        ) from None


def _is_port(text: str) -> bool:
    """Whether a text is a port that can be connected to."""
    return text.isdecimal() and 0 < int(text) <= MOST_PORT
