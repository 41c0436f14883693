"""A relay between a bridge and its clients that lets messages meet faults; neither end knows of it.

Clients connect to the relay as if it were the bridge.  Each gets two connections of its own to the bridge
behind, which may be replaced by another (`FaultRelay.redirect`), as when an instrument is restarted.
"""

import contextlib
import heapq
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import zmq

from drivers.addresses import check_port, endpoint
from drivers.contract.errors import InputError
from drivers.faults import Delivery, Fault, FaultyLink, Socket, with_header

#: Longest wait [s] before the relay looks again what is due.
_LOOK_S = 0.05

#: Is told of every message that a client sent, before any fault: socket and parts.
Overhear = Callable[[Socket, Sequence[bytes]], None]


@dataclass(order=True)
class _Waiting:
    """A message on its way."""

    due_s: float
    order: int
    parts: Sequence[bytes] = field(compare=False)
    target: "zmq.Socket[bytes]" = field(compare=False)


class FaultRelay:
    """Relays for one bridge; `run` until `stop`.

    Parameters
    ----------
    bridge : str
        Address of its control socket.
    link : FaultyLink
        Its script begins when the relay is made, or at `begin`.
    host : str
    port : int
        Of the control socket; 0 takes a free one.
    overhear : callable, optional

    Raises
    ------
    InputError
        If an address is malformed, or the port is none or in use.
    """

    def __init__(
        self,
        bridge: str,
        link: FaultyLink,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        overhear: Overhear | None = None,
    ) -> None:
        check_port(port)
        self._bridge, self._data_port = endpoint(bridge), 0
        self._next_bridge: tuple[str, int] | None = None
        self._link, self._overhear = link, overhear
        self._host = host
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._front: dict[Socket, zmq.Socket[bytes]] = {}
        self._behind: dict[tuple[Socket, bytes], zmq.Socket[bytes]] = {}
        self._of: dict[zmq.Socket[bytes], tuple[Socket, bytes]] = {}
        self._waiting: list[_Waiting] = []
        self._order = itertools.count()
        self._is_stopping = False
        self._ports: dict[Socket, int] = {"control": port, "data": 0}
        if not self._open():
            self._context.destroy(linger=0)
            raise InputError(f"cannot listen on {host} port {port}; choose a free port")
        self.began_s = time.monotonic()

    @property
    def address(self) -> str:
        """Where clients connect to."""
        return f"tcp://{self._host}:{self._ports['control']}"

    def begin(self, *faults: Fault) -> None:
        """Begin another script now; from any thread."""
        now_s = self.at_s
        self._link.script = tuple(fault.later(now_s) for fault in faults)

    @property
    def at_s(self) -> float:
        """Seconds since the relay was made."""
        return time.monotonic() - self.began_s

    def redirect(self, bridge: str) -> None:
        """Relay to another bridge from now on; clients keep their connections; from any thread."""
        self._next_bridge = endpoint(bridge)

    def stop(self) -> None:
        """End `run` soon."""
        self._is_stopping = True

    def run(self) -> None:
        """Relay until told to stop."""
        try:
            while not self._is_stopping:
                self._step()
        finally:
            self._context.destroy(linger=0)

    def _step(self) -> None:
        if self._next_bridge is not None:
            self._bridge, self._next_bridge = self._next_bridge, None
            self._drop_behind()
        if self._link.is_cut(self.at_s):
            self._close()
        elif not self._front:
            self._open()
        due_s = self._waiting[0].due_s - self.at_s if self._waiting else _LOOK_S
        ready = self._poller.poll(math.ceil(1000 * max(0.0, min(due_s, _LOOK_S))))
        for socket, _ in ready:
            self._take(socket)
        for client, name, direction, delivery in self._link.left_over(self.at_s):
            if direction == "to_client":
                self._wait_for_client(name, client, delivery)
            elif (name, client) in self._behind:
                self._wait(delivery, self._behind[name, client])
        while self._waiting and self._waiting[0].due_s <= self.at_s:
            self._send(heapq.heappop(self._waiting))

    def _take(self, socket: "zmq.Socket[bytes]") -> None:
        """Take what has come on a socket."""
        for _ in range(100):
            try:
                parts = socket.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.ZMQError:  # nothing more, or closed
                return
            known = self._of.get(socket)
            if known is not None:
                self._from_bridge(*known, parts)
            else:
                self._from_client("control" if socket is self._front.get("control") else "data", parts)

    def _from_client(self, name: Socket, parts: list[bytes]) -> None:
        identity, *message = parts
        if self._overhear is not None:
            self._overhear(name, message)
        target = self._behind.get((name, identity)) or self._connect(name, identity)
        for delivery in self._link.pass_on(identity, name, "to_bridge", message, self.at_s):
            self._wait(delivery, target)

    def _from_bridge(self, name: Socket, identity: bytes, message: list[bytes]) -> None:
        if message and message[0].startswith(b"welcome "):
            message = self._with_own_port(message)
        for delivery in self._link.pass_on(identity, name, "to_client", message, self.at_s):
            self._wait_for_client(name, identity, delivery)

    def _with_own_port(self, message: list[bytes]) -> list[bytes]:
        """Let a client find the relay's data socket, not the bridge's."""
        header = json.loads(message[1])
        self._data_port = header["data_port"]
        return with_header(header | {"data_port": self._ports["data"]})

    def _wait(self, delivery: Delivery, target: "zmq.Socket[bytes]") -> None:
        heapq.heappush(self._waiting, _Waiting(delivery.due_s, next(self._order), delivery.parts, target))

    def _send(self, waiting: _Waiting) -> None:
        # A peer that is gone, or a socket that was closed meanwhile: that message is lost, as on any link.
        with contextlib.suppress(zmq.ZMQError):
            waiting.target.send_multipart(waiting.parts, flags=zmq.NOBLOCK)

    def _wait_for_client(self, name: Socket, identity: bytes, delivery: Delivery) -> None:
        if name in self._front:
            self._wait(Delivery(delivery.due_s, [identity, *delivery.parts]), self._front[name])

    def _connect(self, name: Socket, identity: bytes) -> "zmq.Socket[bytes]":
        host, port = self._bridge
        dealer = self._context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(f"tcp://{host}:{port if name == 'control' else self._data_port or port + 1}")
        self._behind[name, identity] = dealer
        self._of[dealer] = (name, identity)
        self._poller.register(dealer, zmq.POLLIN)
        return dealer

    def _open(self) -> bool:
        """Listen; False if a port is not free (yet)."""
        for name in ("control", "data"):
            router = self._context.socket(zmq.ROUTER)
            router.setsockopt(zmq.LINGER, 0)
            router.setsockopt(zmq.ROUTER_MANDATORY, 1)
            try:
                router.bind(f"tcp://{self._host}:{self._ports[name] or '*'}")
            except zmq.ZMQError:  # ZeroMQ releases the port of a closed socket a little later
                router.close()
                self._close()
                return False
            self._ports[name] = int(router.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])
            self._front[name] = router
            self._poller.register(router, zmq.POLLIN)
        return True

    def _close(self) -> None:
        """Cut the link at both ends."""
        for router in self._front.values():
            self._poller.unregister(router)
            router.close()
        self._front.clear()
        self._drop_behind()

    def _drop_behind(self) -> None:
        for dealer in self._behind.values():
            self._poller.unregister(dealer)
            dealer.close()
        self._behind.clear()
        self._of.clear()
        self._waiting.clear()
        self._link.forget()


@contextlib.contextmanager
def relaying(
    bridge: str, *faults: Fault, seed: int = 0, overhear: Overhear | None = None
) -> Iterator[FaultRelay]:
    """Relay from a thread while the block runs, on a free port of the loopback.

    Raises
    ------
    InputError
        As `FaultRelay` does.
    """
    relay = FaultRelay(bridge, FaultyLink(faults, seed), overhear=overhear)
    thread = threading.Thread(target=relay.run, name="fault relay")
    thread.start()
    try:
        yield relay
    finally:
        relay.stop()
        thread.join()
