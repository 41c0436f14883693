"""A listening socket of a bridge: what it takes is bounded, and sending never blocks."""

import contextlib
from collections.abc import Iterator, Sequence

import zmq

from drivers.contract.codec import Buffer, pack
from drivers.contract.context import Message
from drivers.contract.errors import InputError

#: Largest part of a message [bytes] that is taken from a client.
MAX_PART_BYTES = 65536

#: Buffers of the sockets in the kernel [bytes], at either end: a frame then passes in few pieces.
SOCKET_BYTES = 4 * 2**20

#: Messages that wait for one client at most; frames are bounded by credits long before.
WAITING = 2000

#: Messages that are served before the other socket gets its turn.
AT_ONCE = 100


class Router:
    """A bound ROUTER socket.

    Parameters
    ----------
    context : zmq.Context
    host : str
    port : int
        0 takes a free one.

    Raises
    ------
    InputError
        If the port is in use, or the address none of this machine's.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", host: str, port: int) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
        self.socket.setsockopt(zmq.SNDHWM, WAITING)
        self.socket.setsockopt(zmq.SNDBUF, SOCKET_BYTES)
        try:
            self.socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            self.socket.close()
            raise InputError(
                f"cannot listen on {host} port {port}: {error}; choose a free port with --port, or stop what "
                "uses this one"
            ) from error
        self.port = int(self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])

    def messages(self) -> Iterator[tuple[bytes, list[bytes]]]:
        """Yield what has come, each with its sender's identity, up to a bound."""
        for _ in range(AT_ONCE):
            try:
                identity, *parts = self.socket.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.Again:
                return
            yield identity, parts

    def send(self, identity: bytes, message: Message) -> None:
        """Send a message, or nothing if the client is gone or reads nothing."""
        self.send_parts(identity, pack(message))

    def send_parts(self, identity: bytes, parts: Sequence[Buffer]) -> None:
        """Send what is packed; large parts are shown to ZeroMQ, not copied."""
        # A client that went away without a word, or reads nothing, is forgotten when its lease ends.
        with contextlib.suppress(zmq.ZMQError):
            self.socket.send_multipart([identity, *parts], flags=zmq.NOBLOCK, copy=False)
