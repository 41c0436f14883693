"""Serves any `Microscope` over ZeroMQ: frames against credits, commands confirmed by the state read back.

Two ROUTER sockets, control and data, so that a long frame holds no command up; `docs/wire.md` says what
travels on them.  One thread serves the sockets and never blocks, another one calls the instrument.
"""

import contextlib
import math
import queue
import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import zmq

from drivers.addresses import CONTROL_PORT
from drivers.confirm import Tolerances, refusal
from drivers.contract.codec import Buffer, pack, unpack
from drivers.contract.context import Message
from drivers.contract.errors import InputError, WireError
from drivers.contract.header import WIRE_VERSIONS
from drivers.contract.instrument import Capabilities, CommandOutcome, CommandRequest, InstrumentState
from drivers.contract.messages import (
    Acknowledge,
    Dropped,
    GetState,
    Goodbye,
    Heartbeat,
    Hello,
    Resume,
    Resumed,
    Role,
    SessionEnded,
    SessionStarted,
    Unwelcome,
    Welcome,
)
from drivers.flow import AHEAD, RING_BYTES, Ring, Subscription
from drivers.instrument_thread import InstrumentThread, NoMoreFrames, Opened, Report, Taken, Trouble
from drivers.microscope import Microscope

#: Largest message [bytes] that a bridge takes from a client.
MAX_CLIENT_BYTES = 65536

#: Commands whose outcomes are remembered, so that none is carried out twice.
REMEMBERED = 10_000


@dataclass
class Options:
    """How a bridge serves.

    Parameters
    ----------
    host : str
        Address to listen on.
    port, data_port : int
        Of the control and the data socket; 0 takes a free one, and None for the data socket takes the
        one after the control socket's.
    ring_bytes : int
        Frames that are held for clients that come late or again.
    ahead : int
        Frames that an instrument may be ahead of the client that paces it.
    heartbeat_s, lease_s : float
        Between two signs of life, and after which silence a client counts as gone.
    open_s : float
        How long the instrument's first answer is waited for.
    grace_s : float
        How long past its time-out a command may go without an answer from the instrument.
    """

    host: str = "127.0.0.1"
    port: int = CONTROL_PORT
    data_port: int | None = None
    ring_bytes: int = RING_BYTES
    ahead: int = AHEAD
    heartbeat_s: float = 0.5
    lease_s: float = 5.0
    open_s: float = 10.0
    grace_s: float = 1.0
    tolerances: Tolerances = field(default_factory=Tolerances)


@dataclass
class _Client:
    """A client that was let in; the identities are ZeroMQ's names for its two connections."""

    token: str
    name: str
    role: Role
    max_frame_bytes: int
    control: bytes
    heard_s: float
    data: bytes | None = None
    subscription: Subscription | None = None


@dataclass
class _Asked:
    """A command that was handed to the instrument, and everybody who wants to hear of its end."""

    request: CommandRequest
    deadline_s: float
    askers: set[bytes]
    outcome: CommandOutcome | None = None


class Bridge:
    """Serves one instrument for one session.

    The sockets are bound, and the instrument asked for its capabilities, when the bridge is made; `run`
    serves until `stop`.

    Raises
    ------
    InputError
        If a port is in use, the address is none of this machine's, or the instrument does not answer.
    """

    def __init__(self, microscope: Microscope, options: Options | None = None) -> None:
        self._options = options or Options()
        self.session = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(4)
        self._clients: dict[bytes, _Client] = {}
        self._by_token: dict[str, _Client] = {}
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._pending: dict[str, _Asked] = {}
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._is_stopping = False
        self._had_client = False
        self._trouble = ""
        self._ended: NoMoreFrames | None = None
        self._heartbeat_due_s = 0.0
        self._context = zmq.Context()
        self._instrument = InstrumentThread(
            microscope, session=self.session, report=self._post, tolerances=self._options.tolerances
        )
        try:
            self._control, self.port = self._bind(self._options.port)
            data_port = self._options.data_port
            if data_port is None:
                data_port = self.port + 1 if self._options.port else 0
            self._data, self.data_port = self._bind(data_port)
            self._instrument.start()
            self.capabilities, self._state = self._wait_opened()
        except BaseException:
            self._instrument.stop(timeout_s=0.0)
            self._release(linger_ms=0)
            raise
        self._poller = zmq.Poller()
        for source in (self._control, self._data, self._wake_out):
            self._poller.register(source, zmq.POLLIN)
        self._ring = Ring(
            max_bytes=self._options.ring_bytes,
            ahead=self._options.ahead,
            may_drop=self.capabilities.is_free_running,
        )
        self._started = SessionStarted(
            session=self.session,
            capabilities=self.capabilities,
            state=self._state,
            monotonic_s=time.monotonic(),
            wall_time_unix_s=time.time(),
        )

    @property
    def address(self) -> str:
        """Where clients connect to."""
        return f"tcp://{self._options.host}:{self.port}"

    @property
    def next_sequence(self) -> int:
        """The number of the frame to come."""
        return self._ring.next_sequence

    @property
    def is_done(self) -> bool:
        """Whether the instrument has ended, and whoever came has every frame safe."""
        has_all = self._had_client and self._ring.pace >= self._ring.next_sequence
        return (
            self._ended is not None
            and has_all
            and all(
                client.subscription is not None and client.subscription.is_end_sent
                for client in self._clients.values()
            )
        )

    def run(self, *, until_done: bool = False) -> None:
        """Serve until `stop`, or until the instrument has ended and its frames are with the clients."""
        try:
            while not self._is_stopping:
                self._step()
                if until_done and self.is_done:
                    break
        finally:
            self._close()

    def stop(self) -> None:
        """End `run` soon; may be called from any thread or signal handler."""
        self._is_stopping = True
        self._wake()

    # --- the loop ----------------------------------------------------------------------------------

    def _step(self) -> None:
        """Wait for something to do and do it."""
        self._grant()
        due_s = min([self._heartbeat_due_s, *(asked.deadline_s for asked in self._pending.values())])
        self._poller.poll(max(0, math.ceil((due_s - time.monotonic()) * 1000)))
        self._take_reports()
        for parts in _messages(self._control):
            self._serve(self._control, parts)
        for parts in _messages(self._data):
            self._serve(self._data, parts)
        now_s = time.monotonic()
        for asked in tuple(self._pending.values()):
            if now_s >= asked.deadline_s:
                self._give_up(asked)
        if now_s >= self._heartbeat_due_s:
            self._beat(now_s)
        self._send_frames()

    def _grant(self) -> None:
        """Let the instrument go on as far as there is room."""
        subscriptions = [
            (client.role, client.subscription.acknowledged)
            for client in self._clients.values()
            if client.subscription is not None
        ]
        paces = [acknowledged for role, acknowledged in subscriptions if role == "controller"]
        # Without a controller the fastest reader paces, so that no reader can stop the instrument alone.
        paces = paces or [acknowledged for _, acknowledged in subscriptions]
        if paces:
            self._ring.pace = max(paces)
        self._instrument.grant(self._ring.granted())

    def _post(self, report: Report) -> None:
        self._reports.put(report)
        self._wake()

    def _wake(self) -> None:
        # A full pipe wakes the loop all the same; a closed one means that it has ended.
        with contextlib.suppress(OSError):
            self._wake_in.send(b"x")

    def _take_reports(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_out.recv(4096):
                pass
        with contextlib.suppress(queue.Empty):
            while True:
                self._take_report(self._reports.get_nowait())

    def _take_report(self, report: Report) -> None:
        match report:
            case Taken():
                self._ring.append(report.parts)
            case InstrumentState():
                has_changed = not _is_same(report, self._state)
                self._state = report
                if has_changed:
                    self._tell_all(report)
            case CommandOutcome():
                self._finish(report)
            case NoMoreFrames():
                self._ended = report
            case Trouble():
                self._trouble = report.reason
            case Opened():
                pass

    # --- what clients say --------------------------------------------------------------------------

    def _serve(self, source: zmq.Socket[bytes], parts: list[bytes]) -> None:
        """Answer one message; one that is garbled is answered by what is wrong with it."""
        identity, *rest = parts
        try:
            message = unpack(rest)
            if isinstance(message, Resume | Acknowledge):
                self._serve_data(identity, message)
            else:
                self._serve_control(identity, message)
        except WireError as error:
            self._send(source, identity, Unwelcome(reason=error.reason[:2000], remedy=error.remedy[:2000]))

    def _serve_control(self, identity: bytes, message: Message) -> None:
        if isinstance(message, Hello):
            self._let_in(identity, message)
            return
        client = self._clients.get(identity)
        if client is None:
            raise WireError("expected a hello first: this bridge does not know the sender", "send a hello")
        client.heard_s = time.monotonic()
        match message:
            case GetState():
                self._send(self._control, identity, self._state)
            case Goodbye():
                self._forget(client)
            case CommandRequest():
                self._ask(client, message)
            case _:
                raise WireError(
                    f"a bridge has no use for a message of the kind {getattr(message, 'kind', None)!r}",
                    "send those that docs/wire.md lists under 'From client to bridge'",
                )

    def _let_in(self, identity: bytes, hello: Hello) -> None:
        version = next((version for version in hello.versions if version in WIRE_VERSIONS), None)
        if version is None:
            raise WireError(
                f"the bridge speaks the wire versions {', '.join(map(str, WIRE_VERSIONS))}, "
                f"the client {', '.join(map(str, hello.versions))}",
                "bring both to the same release",
            )
        client = self._clients.get(identity)
        is_taken = any(c.role == "controller" for c in self._clients.values() if c is not client)
        role: Role = "reader" if hello.role == "reader" or is_taken else "controller"
        now_s = time.monotonic()
        if client is None:
            client = _Client(
                secrets.token_hex(16), hello.client, role, hello.max_frame_bytes, identity, now_s
            )
            self._clients[identity] = self._by_token[client.token] = client
        client.role, client.heard_s = role, now_s
        self._send(
            self._control,
            identity,
            Welcome(
                version=version,
                session=self.session,
                token=client.token,
                role=role,
                data_port=self.data_port,
                capabilities=self.capabilities,
                state=self._state,
                first_sequence=self._ring.first_sequence,
                next_sequence=self._ring.next_sequence,
                heartbeat_s=self._options.heartbeat_s,
            ),
        )

    def _serve_data(self, identity: bytes, message: Resume | Acknowledge) -> None:
        client = self._by_token.get(message.token)
        if client is None:
            raise WireError("this bridge does not know the token", "send a hello on the control socket first")
        client.heard_s = time.monotonic()
        if isinstance(message, Acknowledge):
            if client.subscription is not None:
                client.subscription.acknowledge(message.next_sequence)
            return
        client.data, self._had_client = identity, True
        first, last = self._ring.first_sequence, self._ring.next_sequence
        start = min(max(message.next_sequence, first), last)
        safe = start if message.safe_sequence is None else min(message.safe_sequence, start)
        client.subscription = Subscription(message.credits, sent=start, acknowledged=safe)
        self._send(self._data, identity, Resumed(session=self.session, next_sequence=start))
        self._send(self._data, identity, self._started)
        if message.next_sequence < first:
            self._announce_drop(client, message.next_sequence, first)

    def _forget(self, client: _Client) -> None:
        self._clients.pop(client.control, None)
        self._by_token.pop(client.token, None)

    # --- commands ----------------------------------------------------------------------------------

    def _ask(self, client: _Client, request: CommandRequest) -> None:
        """Hand a command to the instrument, unless it was before or must not be."""
        known = self._asked.get(request.id)
        reason = self._refusal(client, request, known)
        if reason:
            outcome = CommandOutcome(id=request.id, status="refused", reason=reason, state=self._state)
            self._send(self._control, client.control, outcome)
        elif known is None:
            deadline_s = time.monotonic() + request.timeout_s + self._options.grace_s
            self._asked[request.id] = asked = _Asked(request, deadline_s, {client.control})
            self._pending[request.id] = asked
            self._instrument.submit(request)
            while len(self._asked) > REMEMBERED:
                self._asked.popitem(last=False)
        elif known.outcome is None:
            known.askers.add(client.control)
        else:
            self._send(self._control, client.control, known.outcome)

    def _refusal(self, client: _Client, request: CommandRequest, known: _Asked | None) -> str:
        """Say why a command is not handed on; empty if it is."""
        if client.role != "controller":
            return "a reader sends no commands; ask for control in the hello"
        if request.session != self.session:
            return f"the command is for the session {request.session}, this one is {self.session}"
        if known is not None:
            return "" if known.request.command == request.command else "another command had this id"
        return refusal(request.command, self.capabilities)

    def _finish(self, outcome: CommandOutcome) -> None:
        """Tell whoever asked how a command ended; one that was given up before stays so."""
        asked = self._pending.pop(outcome.id, None)
        if asked is None:
            return
        asked.outcome = outcome
        if outcome.state is not None:
            self._state = outcome.state
        for identity in asked.askers:
            self._send(self._control, identity, outcome)

    def _give_up(self, asked: _Asked) -> None:
        silent_s = time.monotonic() - self._instrument.seen_s
        self._finish(
            CommandOutcome(
                id=asked.request.id,
                status="timed_out",
                reason=f"the instrument's driver hangs in a call: no sign of it for {silent_s:.1f} s",
                elapsed_s=asked.request.timeout_s + self._options.grace_s,
            )
        )

    # --- what clients hear -------------------------------------------------------------------------

    def _beat(self, now_s: float) -> None:
        """Send a sign of life to everybody, and forget those who gave none."""
        self._heartbeat_due_s = now_s + self._options.heartbeat_s
        for client in tuple(self._clients.values()):
            if now_s - client.heard_s > self._options.lease_s:
                self._forget(client)
        granted = self._ring.granted()
        silent_s = now_s - self._instrument.seen_s
        self._tell_all(
            Heartbeat(
                session=self.session,
                monotonic_s=now_s,
                wall_time_unix_s=time.time(),
                first_sequence=self._ring.first_sequence,
                next_sequence=self._ring.next_sequence,
                dropped=self._ring.dropped,
                waits_for_client=granted is not None and granted <= self._ring.next_sequence,
                instrument_error=self._trouble,
                instrument_silent_s=max(0.0, silent_s),
            )
        )

    def _send_frames(self) -> None:
        for client in tuple(self._clients.values()):
            subscription = client.subscription
            while subscription is not None and client.data is not None:
                if subscription.sent < self._ring.first_sequence:
                    self._announce_drop(client, subscription.sent, self._ring.first_sequence)
                    subscription.sent = subscription.acknowledged = self._ring.first_sequence
                if subscription.sent == self._ring.next_sequence:
                    self._send_end(client, subscription)
                    break
                if not subscription.may_send():
                    break
                self._send_entry(client, subscription)

    def _send_entry(self, client: _Client, subscription: Subscription) -> None:
        assert client.data is not None
        parts = self._ring.entry(subscription.sent)
        self._ring.mark_sent(subscription.sent)
        if sum(memoryview(part).nbytes for part in parts[2:]) > client.max_frame_bytes:
            self._announce_drop(
                client, subscription.sent, subscription.sent + 1, "larger than the client takes"
            )
        else:
            self._send_parts(self._data, client.data, parts)
        subscription.sent += 1

    def _send_end(self, client: _Client, subscription: Subscription) -> None:
        """Mark the end of a session once."""
        if self._ended is None or subscription.is_end_sent or client.data is None:
            return
        subscription.is_end_sent = True
        self._send(self._data, client.data, self._end_marker(is_aborted=False, reason=self._ended.reason))

    def _end_marker(self, *, is_aborted: bool, reason: str) -> SessionEnded:
        return SessionEnded(
            session=self.session,
            next_sequence=self._ring.next_sequence,
            is_aborted=is_aborted,
            reason=reason[:500],
        )

    def _announce_drop(
        self, client: _Client, first: int, end: int, reason: str = "the bridge holds them no longer"
    ) -> None:
        assert client.data is not None
        self._send(
            self._data,
            client.data,
            Dropped(
                session=self.session,
                first_sequence=first,
                last_sequence=end - 1,
                count=end - first,
                reason=reason,
            ),
        )

    def _tell_all(self, message: Message) -> None:
        for client in tuple(self._clients.values()):
            self._send(self._control, client.control, message)

    def _send(self, target: zmq.Socket[bytes], identity: bytes, message: Message) -> None:
        self._send_parts(target, identity, pack(message))

    def _send_parts(self, target: zmq.Socket[bytes], identity: bytes, parts: Sequence[Buffer]) -> None:
        # A client that went away without a word, or reads nothing, is forgotten when its lease ends.
        with contextlib.suppress(zmq.ZMQError):
            target.send_multipart([identity, *parts], flags=zmq.NOBLOCK, copy=False)

    # --- beginning and end -------------------------------------------------------------------------

    def _bind(self, port: int) -> tuple[zmq.Socket[bytes], int]:
        router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.MAXMSGSIZE, MAX_CLIENT_BYTES)
        router.setsockopt(zmq.SNDHWM, 2000)
        try:
            router.bind(f"tcp://{self._options.host}:{port or '*'}")
        except zmq.ZMQError as error:
            router.close()
            raise InputError(
                f"cannot listen on {self._options.host} port {port}: {error}; choose a free port with "
                "--port, or stop what uses this one"
            ) from error
        endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
        return router, int(endpoint.rsplit(":", 1)[1])

    def _wait_opened(self) -> tuple[Capabilities, InstrumentState]:
        """Wait for the instrument's first answer."""
        try:
            report = self._reports.get(timeout=self._options.open_s)
        except queue.Empty:
            raise InputError(
                f"the instrument gave no answer for {self._options.open_s:g} s; check that its software runs"
            ) from None
        if not isinstance(report, Opened):
            reason = report.reason if isinstance(report, Trouble) else "it answered out of turn"
            raise InputError(f"the instrument cannot be opened: {reason}")
        return report.capabilities, report.state

    def _close(self) -> None:
        """Blank the beam, mark the end for every client, release the ports."""
        try:
            has_ended = self._ended is not None
            is_free = self._instrument.stop(timeout_s=5.0)
            self._take_reports()
            for asked in tuple(self._pending.values()):
                self._give_up(asked)
            reason = "the bridge was stopped" if is_free else "the instrument's driver hangs in a call"
            marker = self._end_marker(is_aborted=not has_ended, reason=reason)
            for client in self._clients.values():
                subscription = client.subscription
                if client.data is not None and subscription is not None and not subscription.is_end_sent:
                    self._send(self._data, client.data, marker)
        finally:
            self._release(linger_ms=1000)

    def _release(self, *, linger_ms: int) -> None:
        self._context.destroy(linger=linger_ms)
        self._wake_in.close()
        self._wake_out.close()


def _messages(source: zmq.Socket[bytes], limit: int = 100) -> Iterator[list[bytes]]:
    """Yield what has come, up to a limit, so that no sender starves the rest."""
    for _ in range(limit):
        try:
            yield source.recv_multipart(flags=zmq.NOBLOCK)
        except zmq.Again:
            return


def _is_same(state: InstrumentState, other: InstrumentState) -> bool:
    """Whether two states differ in nothing but when they were read."""
    ignored = {"monotonic_s", "settles_in_s"}
    return state.model_dump(exclude=ignored) == other.model_dump(exclude=ignored)


@contextlib.contextmanager
def serving(microscope: Microscope, options: Options | None = None) -> Iterator[Bridge]:
    """Serve an instrument from a thread while the block runs; by default on free ports of the loopback.

    Raises
    ------
    InputError
        As `Bridge` does.
    """
    bridge = Bridge(microscope, options or Options(port=0))
    failures: list[BaseException] = []

    def run() -> None:
        try:
            bridge.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="bridge")
    thread.start()
    try:
        yield bridge
    finally:
        bridge.stop()
        thread.join()
    if failures:
        raise failures[0]
