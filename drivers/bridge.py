"""Serves any `Microscope` over ZeroMQ: frames against credits, commands confirmed by the state read back.

Two ROUTER sockets, control and data, so that a long frame holds no command up; `docs/wire.md` says what
travels on them.  One thread serves the sockets and never blocks, another one calls the instrument.
"""

import contextlib
import math
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from drivers.addresses import CONTROL_PORT
from drivers.command_book import CommandBook
from drivers.confirm import Tolerances
from drivers.contract.codec import unpack
from drivers.contract.context import Message
from drivers.contract.errors import InputError, WireError
from drivers.contract.instrument import (
    Capabilities,
    CommandOutcome,
    CommandRequest,
    InstrumentState,
    UnblankBeam,
)
from drivers.contract.messages import (
    Acknowledge,
    GetState,
    Goodbye,
    Heartbeat,
    Hello,
    Resume,
    SessionStarted,
    Unwelcome,
    Welcome,
)
from drivers.feed import Feed
from drivers.flow import AHEAD, RING_BYTES, Ring
from drivers.instrument_thread import InstrumentThread, NoMoreFrames, Opened, Report, Taken, Trouble
from drivers.keys import Guard, check_reach
from drivers.mailbox import Mailbox
from drivers.microscope import Microscope
from drivers.roster import Client, Roster
from drivers.router import Router

#: Longest wait for the beam to be unblanked [s].
_UNBLANKING_S = 5.0


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
    keys : Path, optional
        Folder of keys (`drivers.keys`): only those who hold one get in, and only those under ``control`` may
        command.  Any address but the loopback needs it.
    unblanks : bool
        Whether the beam is unblanked for a client that comes to control: for instruments at which nobody
        sits, recorded and simulated ones, whose last client blanked it as it left.
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
    keys: Path | None = None
    unblanks: bool = False
    tolerances: Tolerances = field(default_factory=Tolerances)


class Bridge:
    """Serves one instrument for one session.

    The sockets are bound, and the instrument asked for its capabilities, when the bridge is made; `run`
    serves until `stop`.

    Raises
    ------
    InputError
        If a port is in use, the address is none of this machine's, the instrument does not answer, or other
        machines would reach it without keys.
    """

    def __init__(self, microscope: Microscope, options: Options | None = None) -> None:
        self._options = options or Options()
        check_reach(self._options.host, self._options.keys, "--keys")
        self._guard = Guard(self._options.keys) if self._options.keys else None
        self._closing = contextlib.ExitStack()
        self.session = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(4)
        self._clients = Roster()
        self._mailbox: Mailbox[Report] = Mailbox()
        self._is_stopping = False
        self._had_client = False
        self._trouble = ""
        self._ended: NoMoreFrames | None = None
        self._heartbeat_due_s = 0.0
        self._context = zmq.Context()
        self._instrument = InstrumentThread(
            microscope, session=self.session, report=self._mailbox.post, tolerances=self._options.tolerances
        )
        try:
            if self._guard is not None:
                self._closing.enter_context(self._guard.watching(self._context))
            self._control = Router(self._context, self._options.host, self._options.port, self._guard)
            self._data = Router(self._context, self._options.host, self._data_port(), self._guard)
            self._instrument.start()
            self.capabilities, self._state = self._wait_opened()
        except BaseException:
            self._instrument.stop(timeout_s=0.0)
            self._release(linger_ms=0)
            raise
        self._poller = zmq.Poller()
        for source in (self._control.socket, self._data.socket, self._mailbox):
            self._poller.register(source, zmq.POLLIN)
        self._commands = CommandBook(self.session, self.capabilities, self._options.grace_s)
        self._ring = Ring(
            max_bytes=self._options.ring_bytes,
            ahead=self._options.ahead,
            may_drop=self.capabilities.is_free_running,
        )
        started = SessionStarted(
            session=self.session,
            capabilities=self.capabilities,
            state=self._state,
            monotonic_s=time.monotonic(),
            wall_time_unix_s=time.time(),
        )
        self._feed = Feed(self._data, self._ring, started)

    @property
    def port(self) -> int:
        """The port of the control socket."""
        return self._control.port

    @property
    def data_port(self) -> int:
        """The port of the data socket."""
        return self._data.port

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
                for client in self._clients
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
        self._mailbox.wake()

    # --- the loop ----------------------------------------------------------------------------------

    def _step(self) -> None:
        """Wait for something to do and do it."""
        self._grant()
        due_s = min([self._heartbeat_due_s, *self._commands.deadlines_s()])
        self._poller.poll(max(0, math.ceil((due_s - time.monotonic()) * 1000)))
        for report in self._mailbox.take():
            self._take_report(report)
        for router in (self._control, self._data):
            for identity, parts, key in router.messages():
                self._serve(router, identity, parts, key)
        now_s = time.monotonic()
        for request in self._commands.overdue(now_s):
            self._give_up(request)
        if now_s >= self._heartbeat_due_s:
            self._beat(now_s)
        self._send_frames()

    def _grant(self) -> None:
        """Let the instrument go on as far as there is room."""
        pace = self._clients.pace()
        if pace is not None:
            self._ring.pace = max(self._ring.pace, pace)
        self._instrument.grant(self._ring.granted())

    def _take_report(self, report: Report) -> None:
        match report:
            case Taken():
                self._ring.append(report.parts)
            case InstrumentState():
                has_changed = not report.is_same_as(self._state)
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

    def _serve(self, router: Router, identity: bytes, parts: list[bytes], key: str) -> None:
        """Answer one message; one that is garbled is answered by what is wrong with it."""
        try:
            message = unpack(parts)
            if isinstance(message, Resume | Acknowledge):
                self._serve_data(identity, message, key)
            else:
                self._serve_control(identity, message, key)
        except WireError as error:
            router.send(identity, Unwelcome(reason=error.reason[:2000], remedy=error.remedy[:2000]))

    def _serve_control(self, identity: bytes, message: Message, key: str) -> None:
        now_s = time.monotonic()
        if isinstance(message, Hello):
            may_control = self._guard is None or self._guard.access_of(key) == "control"
            client, version = self._clients.let_in(identity, message, now_s, key, may_control=may_control)
            self._control.send(identity, self._welcome(client, version))
            if self._options.unblanks and client.role == "controller" and not client.has_welcome:
                self._unblank()
            return
        client = self._clients.sender(identity, now_s)
        match message:
            case GetState():
                self._control.send(identity, self._state)
            case Goodbye():
                self._clients.leave(client)
            case CommandRequest():
                step = self._commands.ask(identity, client.role, message, now_s)
                if step == "hand on":
                    self._instrument.submit(message)
                elif isinstance(step, CommandOutcome):
                    self._control.send(identity, step)
            case _:
                raise WireError(
                    f"a bridge has no use for a message of the kind {getattr(message, 'kind', None)!r}",
                    "send those that docs/wire.md lists under 'From client to bridge'",
                )

    def _unblank(self) -> None:
        """Have the beam unblanked, if it is not."""
        command = UnblankBeam()
        if self._state.is_blanked and command.kind in self.capabilities.commands:
            name = f"bridge-{secrets.token_hex(8)}"
            self._instrument.submit(
                CommandRequest(session=self.session, id=name, command=command, timeout_s=_UNBLANKING_S)
            )

    def _welcome(self, client: Client, version: int) -> Welcome:
        return Welcome(
            version=version,
            session=self.session,
            token=client.token,
            role=client.role,
            data_port=self.data_port,
            capabilities=self.capabilities,
            state=self._state,
            first_sequence=self._ring.first_sequence,
            next_sequence=self._ring.next_sequence,
            heartbeat_s=self._options.heartbeat_s,
        )

    def _serve_data(self, identity: bytes, message: Resume | Acknowledge, key: str) -> None:
        client = self._clients.holder(message.token, time.monotonic(), key)
        if isinstance(message, Acknowledge):
            if client.subscription is not None:
                client.subscription.acknowledge(message.next_sequence)
            return
        self._had_client = True
        self._clients.subscribe(client, identity, self._feed.resume(identity, message))

    def _finish(self, outcome: CommandOutcome) -> None:
        """Tell whoever asked how a command ended."""
        for identity in self._commands.finish(outcome):
            self._control.send(identity, outcome)

    def _give_up(self, request: CommandRequest) -> None:
        silent_s = time.monotonic() - self._instrument.seen_s
        self._finish(
            CommandOutcome(
                id=request.id,
                status="timed_out",
                reason=f"the instrument's driver hangs in a call: no sign of it for {silent_s:.1f} s",
                elapsed_s=request.timeout_s + self._options.grace_s,
            )
        )

    # --- what clients hear -------------------------------------------------------------------------

    def _beat(self, now_s: float) -> None:
        """Send a sign of life to everybody, and forget those who gave none."""
        self._heartbeat_due_s = now_s + self._options.heartbeat_s
        self._clients.forget_silent(now_s - self._options.lease_s)
        granted = self._ring.granted()
        silent_s = now_s - self._instrument.seen_s
        if not self._instrument.is_alive:
            raise RuntimeError("the thread that calls the instrument has ended")
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
        """Send everybody what they are due."""
        for client in self._clients:
            has_all = self._feed.send_due(client)
            if has_all and self._ended is not None:
                self._feed.send_end(client, is_aborted=False, reason=self._ended.reason)

    def _tell_all(self, message: Message) -> None:
        for client in self._clients:
            self._control.send(client.control, message)

    # --- beginning and end -------------------------------------------------------------------------

    def _data_port(self) -> int:
        """Return the data port to take: as set, or the next after the control port, or any."""
        if self._options.data_port is not None:
            return self._options.data_port
        return self._control.port + 1 if self._options.port else 0

    def _wait_opened(self) -> tuple[Capabilities, InstrumentState]:
        """Wait for the instrument's first answer."""
        report = self._mailbox.wait(self._options.open_s)
        if report is None:
            raise InputError(
                f"the instrument gave no answer for {self._options.open_s:g} s; check that its software runs"
            )
        if not isinstance(report, Opened):
            reason = report.reason if isinstance(report, Trouble) else "it answered out of turn"
            raise InputError(f"the instrument cannot be opened: {reason}")
        return report.capabilities, report.state

    def _close(self) -> None:
        """Blank the beam, mark the end for every client, release the ports."""
        try:
            is_free = self._instrument.stop(timeout_s=5.0)
            for report in self._mailbox.take():
                self._take_report(report)
            for request in self._commands.overdue(math.inf):
                self._give_up(request)
            reason = "the bridge was stopped" if is_free else "the instrument's driver hangs in a call"
            for client in self._clients:
                self._feed.send_end(client, is_aborted=self._ended is None, reason=reason)
        finally:
            self._release(linger_ms=1000)

    def _release(self, *, linger_ms: int) -> None:
        self._closing.close()
        self._context.destroy(linger=linger_ms)
        self._mailbox.close()


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
