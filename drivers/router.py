"""A listening socket of a bridge: what it takes is bounded, and sending never blocks."""

import contextlib
from collections.abc import Iterator, Sequence

import zmq

from drivers.addresses import check_port
from drivers.contract.codec import Buffer, pack
from drivers.contract.context import Message
from drivers.contract.errors import InputError
from drivers.keys import LISTEN_DOMAIN, Guard

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
    guard : Guard, optional
        Lets in those alone whose keys it knows.

    Raises
    ------
    InputError
        If the port is none, in use or reserved, or the address none of this machine's.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        host: str,
        port: int,
        guard: Guard | None = None,
    ) -> None:
        check_port(port)
        self._is_guarded = guard is not None
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
        self.socket.setsockopt(zmq.SNDHWM, WAITING)
        self.socket.setsockopt(zmq.SNDBUF, SOCKET_BYTES)
        if guard is not None:
            guard.protect(self.socket, LISTEN_DOMAIN)
        try:
            self.socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            self.socket.close()
            remedy = (
                "choose a free port with --port, or stop what uses this one"
                if error.errno == zmq.EADDRINUSE
                else "give an IPv4 address of this machine with --listen, and a port from 1024 up with --port"
            )
            raise InputError(f"cannot listen on {host} port {port}: {error}; {remedy}") from error
        self.port = int(self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])

    def messages(self) -> Iterator[tuple[bytes, list[bytes], str]]:
        """Yield what has come, with its sender's identity and key (empty without a guard), up to a bound."""
        for _ in range(AT_ONCE):
            try:
                if not self._is_guarded:
                    identity, *parts = self.socket.recv_multipart(flags=zmq.NOBLOCK)
                    yield identity, parts, ""
                    continue
                sender, *frames = self.socket.recv_multipart(flags=zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            key = str(sender.get("User-Id"))  # as the handshake proved it, whatever the message says
            yield sender.bytes, [frame.bytes for frame in frames], key

    def send(self, identity: bytes, message: Message) -> None:
        """Send a message, or nothing if the client is gone or reads nothing."""
        self.send_parts(identity, pack(message))

    def send_parts(self, identity: bytes, parts: Sequence[Buffer]) -> None:
        """Send what is packed; large parts are shown to ZeroMQ, not copied."""
        # A client that went away without a word, or reads nothing, is forgotten when its lease ends.
        with contextlib.suppress(zmq.ZMQError):
            self.socket.send_multipart([identity, *parts], flags=zmq.NOBLOCK, copy=False)
