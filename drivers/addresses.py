"""Where a bridge, or an agent, is found."""

from typing import Any

import zmq

from drivers.contract.errors import InputError

#: The port of a bridge's control socket; that of its data socket is the next one, if it is free to choose.
CONTROL_PORT = 5555


def endpoint(address: str) -> tuple[str, int]:
    """Split ``tcp://HOST:PORT``, ``HOST:PORT``, ``PORT`` or ``HOST`` into host and port.

    Raises
    ------
    InputError
        If it is none of these, or of IPv6, which is not spoken here.
    """
    host, colon, port = address.removeprefix("tcp://").rpartition(":")
    if not colon:
        host, port = ("127.0.0.1", port) if port.isdigit() else (port, str(CONTROL_PORT))
    if not host or any(sign in host for sign in "/ :[") or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"expected an address such as tcp://127.0.0.1:{CONTROL_PORT}, found {address!r}")
    return host, int(port)


def connect(socket: "zmq.Socket[Any]", address: str) -> None:
    """Connect a socket to an address as ZeroMQ takes it.

    Raises
    ------
    InputError
        If it is no such address.
    """
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        raise InputError(
            f"expected an address such as tcp://127.0.0.1:5880, found {address!r} ({error})"
        ) from None
