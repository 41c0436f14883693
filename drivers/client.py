"""The reader's end of a bridge: one stream of what arrives, and commands that always end.

The link heals itself: when the bridge falls silent or restarts, the client connects again and goes on at the
next sequence number.  Whatever cannot be used arrives as `Rejected`, with its reason and remedy, and the
stream goes on.
"""

import asyncio
import contextlib
import math
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio

from drivers.addresses import endpoint
from drivers.awaited_commands import AwaitedCommands
from drivers.contract.codec import Buffer, pack, rejected, unpack
from drivers.contract.context import Message
from drivers.contract.errors import WireError
from drivers.contract.frame import Frame
from drivers.contract.header import FrameHeader
from drivers.contract.instrument import (
    Command,
    CommandOutcome,
    CommandRequest,
    InstrumentState,
    OutcomeStatus,
)
from drivers.contract.messages import (
    Dropped,
    GetState,
    Goodbye,
    Heartbeat,
    Hello,
    LinkLost,
    LinkUp,
    Rejected,
    Role,
    SessionEnded,
    SessionStarted,
    Unwelcome,
    Welcome,
)
from drivers.contract.quantities import MAX_FRAME_BYTES
from drivers.data_stream import DataStream, useless
from drivers.keys import read_keys
from drivers.router import SOCKET_BYTES

Content = (
    Frame
    | InstrumentState
    | Heartbeat
    | Dropped
    | Rejected
    | SessionStarted
    | SessionEnded
    | LinkUp
    | LinkLost
)

#: Arrivals that wait for the reader at most; signs of life and states are left out long before.
INBOX = 2000
INBOX_FOR_STATES = 200


@dataclass(frozen=True, eq=False)
class Arrival:
    """Something that came from the bridge, stamped with this machine's monotonic clock [s].

    A frame's stamp is of when its last byte was there, before it was checked.
    """

    monotonic_s: float
    content: Content


@dataclass(frozen=True)
class Options:
    """How a client connects.

    Parameters
    ----------
    name : str
        For the bridge's log.
    role : str
        ``"controller"`` may send commands and paces the bridge.
    credits : int
        Frames that may be under way or in hand unacknowledged.
    auto_acknowledge : bool
        Acknowledge a frame when the next arrival is asked for; else call `BridgeClient.acknowledge`.
    resume_at : tuple of str and int, optional
        Session and sequence number to go on at, for a reader that was there before; else everything that
        the bridge holds comes.
    link_timeout_s, retry_s : float
        Silence after which the link counts as lost, and the wait before another attempt.
    max_frame_bytes : int
        Larger frames are not taken.
    is_one_session : bool
        Let `BridgeClient.arrivals` end with the session; else the next one is waited for.
    keys : Path, optional
        Folder of keys (`drivers.keys`) for a bridge that asks for one.
    token_file : Path, optional
        Where the bridge's token for this client is kept: one that was killed takes over with it from its
        former self at once, and need not wait until that one's lease ends.
    """

    name: str = "columnist"
    role: Role = "controller"
    credits: int = 4
    auto_acknowledge: bool = True
    resume_at: tuple[str, int] | None = None
    link_timeout_s: float = 5.0
    retry_s: float = 0.25
    max_frame_bytes: int = MAX_FRAME_BYTES
    is_one_session: bool = False
    keys: Path | None = None
    token_file: Path | None = None


class _LinkDownError(Exception):
    """The present connection is of no more use."""


class _End:
    """The last item of the inbox: nothing follows, for a reason or none."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure


@dataclass
class _Link:
    """One pair of connections, and what was agreed on it."""

    control: zmq.asyncio.Socket
    heard_s: float
    data: zmq.asyncio.Socket | None = None
    token: str = ""
    role: Role = "reader"
    heartbeat_s: float = 0.5
    beat_due_s: float = 0.0
    data_heard_s: float = 0.0
    poller: zmq.asyncio.Poller = field(default_factory=zmq.asyncio.Poller)


class BridgeClient:
    """Talks to one bridge; an asynchronous context manager, whose sockets live as long as the block.

    Parameters
    ----------
    address : str
        Of the bridge's control socket, ``tcp://HOST:PORT``.
    options : Options, optional
    clock : callable
        Monotonic seconds, for the stamps.

    Raises
    ------
    InputError
        If the address is malformed, or a key is missing.
    """

    def __init__(
        self, address: str, options: Options | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._host, self._port = endpoint(address)
        self._options = options or Options()
        self._clock = clock
        self._keys = read_keys(self._options.keys) if self._options.keys else None
        self._context = zmq.asyncio.Context()
        self._inbox: asyncio.Queue[Arrival | _End] = asyncio.Queue(INBOX)
        self._task: asyncio.Task[None] | None = None
        self._link: _Link | None = None
        self._is_up = False
        self._has_said_lost = False
        self._token = read_token(self._options.token_file)
        self._stream = DataStream(
            self._options.credits, self._options.max_frame_bytes, *(self._options.resume_at or ("", 0))
        )
        self._state: InstrumentState | None = None
        self._commands = AwaitedCommands(self._send_request)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="bridge client")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None
        if self._link is not None:
            self._send(self._link.control, Goodbye())
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._context.destroy(linger=100)

    async def arrivals(self) -> AsyncIterator[Arrival]:
        """Yield what comes; ends only with the session, and only if `Options.is_one_session`."""
        while True:
            item = await self._inbox.get()
            if isinstance(item, _End):
                if item.failure is not None:
                    raise item.failure
                return
            yield item
            if self._options.auto_acknowledge and isinstance(item.content, Frame):
                self.acknowledge(item.content.header)

    def acknowledge(self, header: FrameHeader) -> None:
        """Say that every frame up to this one is safe, which lets the bridge send more."""
        self._send_data(self._stream.acknowledge(header))

    async def execute(
        self, command: Command, *, id: str | None = None, timeout_s: float = 20.0
    ) -> CommandOutcome:
        """Have the instrument do something, and wait for the end of it.

        A command is sent again after the link was lost; the bridge carries out each `id` once.

        Returns
        -------
        CommandOutcome
            Always: ``timed_out`` if the bridge gives no answer, ``refused`` if it cannot be reached at all.
        """
        key = secrets.token_hex(8) if id is None else id
        started_s = self._clock()
        if not self._is_up or self._link is None:
            return self._own_outcome(key, "refused", "there is no link to the bridge", started_s)
        request = CommandRequest(session=self._stream.session, id=key, command=command, timeout_s=timeout_s)
        outcome = await self._commands.outcome_of(request)
        return outcome or self._own_outcome(key, "timed_out", "the bridge gave no answer", started_s)

    def _send_request(self, request: CommandRequest) -> None:
        if self._link is not None and self._link.token:
            self._send(self._link.control, request)

    def _own_outcome(self, key: str, status: OutcomeStatus, reason: str, started_s: float) -> CommandOutcome:
        return CommandOutcome(
            id=key,
            status=status,
            reason=reason,
            state=self._state,
            elapsed_s=max(0.0, self._clock() - started_s),
        )

    # --- the link ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect again and again, until cancelled or the one session is over."""
        try:
            while True:
                try:
                    await self._serve_link()
                    break
                except _LinkDownError as error:
                    await self._announce_loss(str(error))
                await asyncio.sleep(self._options.retry_s)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            await self._inbox.put(_End(error))
        else:
            await self._inbox.put(_End())

    async def _serve_link(self) -> None:
        """Serve one connection; returns at the end of the one session."""
        link = _Link(self._connect(self._port), heard_s=self._clock())
        self._link = link
        try:
            link.poller.register(link.control, zmq.POLLIN)
            self._say_hello(link)
            link.beat_due_s = self._clock() + link.heartbeat_s
            while await self._step(link):
                pass
        finally:
            self._is_up = False
            self._link = None
            link.control.close(linger=100)
            if link.data is not None:
                link.data.close(linger=100)

    async def _step(self, link: _Link) -> bool:
        """Handle what has come and keep the link alive; False at the end of the one session."""
        due_s = min(link.heard_s + self._options.link_timeout_s, link.beat_due_s)
        ready = dict(await link.poller.poll(max(0, math.ceil((due_s - self._clock()) * 1000))))
        if link.control in ready:
            parts = await link.control.recv_multipart(copy=False)
            link.heard_s = self._clock()
            await self._hear_control(link, [part.buffer for part in parts])
        if link.data is not None and link.data in ready:
            parts = await link.data.recv_multipart(copy=False)
            link.data_heard_s = self._clock()
            if not await self._hear_data(link, [part.buffer for part in parts]):
                return False
        self._keep_alive(link, is_silent=not ready)
        return True

    def _keep_alive(self, link: _Link, *, is_silent: bool) -> None:
        now_s = self._clock()
        # After a long pause of ours there is much to read first, so only an empty poll counts as silence.
        if is_silent and now_s - link.heard_s > self._options.link_timeout_s:
            raise _LinkDownError(f"nothing was heard from the bridge for {now_s - link.heard_s:.1f} s")
        if now_s >= link.beat_due_s:
            link.beat_due_s = now_s + link.heartbeat_s
            if link.role != self._options.role or not link.token:  # the welcome may have been lost
                self._say_hello(link)
            if not link.token:
                return
            self._send(link.control, GetState())
            silent_s = now_s - link.data_heard_s
            if self._stream.is_resuming and silent_s > self._options.link_timeout_s:
                raise _LinkDownError("the bridge did not answer on its data socket")

    def _connect(self, port: int) -> zmq.asyncio.Socket:
        dealer = self._context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.MAXMSGSIZE, 2 * self._options.max_frame_bytes + 2**20)
        dealer.setsockopt(zmq.RCVHWM, self._options.credits + 100)
        dealer.setsockopt(zmq.RCVBUF, SOCKET_BYTES)
        dealer.setsockopt(zmq.RECONNECT_IVL, 50)
        dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        if self._keys is not None:
            self._keys.show(dealer)
        dealer.connect(f"tcp://{self._host}:{port}")
        return dealer

    def _say_hello(self, link: _Link) -> None:
        self._send(
            link.control,
            Hello(
                client=self._options.name,
                role=self._options.role,
                max_frame_bytes=self._options.max_frame_bytes,
                replaces=self._token or None,
            ),
        )

    async def _announce_loss(self, reason: str) -> None:
        if not self._has_said_lost:
            self._has_said_lost = True
            await self._put(LinkLost(session=self._stream.session or None, reason=reason[:500]))

    # --- control -----------------------------------------------------------------------------------

    async def _hear_control(self, link: _Link, parts: list[memoryview]) -> None:
        try:
            message = unpack(parts)
        except WireError as error:
            await self._reject(error, parts)
            self._commands.ask_again()  # it may have been one of them
            return
        match message:
            case Welcome():
                await self._hear_welcome(link, message)
            case InstrumentState():
                await self._hear_state(message)
            case CommandOutcome():
                if message.state is not None:
                    await self._hear_state(message.state)
                self._commands.finish(message)
            case Heartbeat():
                await self._put(message)
                self._ask_for_lost(link, message)
            case Unwelcome():
                await self._hear_unwelcome(link, message, parts)
            case _:
                await self._reject(useless(message), parts)

    async def _hear_welcome(self, link: _Link, welcome: Welcome) -> None:
        is_new_link = not link.token
        if not is_new_link and welcome.role == link.role:
            return  # asked for control, and was told again that somebody else has it
        is_resumed = welcome.session == self._stream.session
        if not is_resumed:
            await self._begin_session(welcome)
        self._token = welcome.token
        write_token(self._options.token_file, welcome.token)
        link.token, link.role, link.heartbeat_s = welcome.token, welcome.role, welcome.heartbeat_s
        self._is_up, self._has_said_lost = True, False
        self._state = welcome.state
        await self._put(
            LinkUp(
                session=welcome.session,
                role=welcome.role,
                capabilities=welcome.capabilities,
                state=welcome.state,
                next_sequence=self._stream.expected,
                is_resumed=is_resumed,
            )
        )
        if is_new_link:
            link.data = self._connect(welcome.data_port)
            link.poller.register(link.data, zmq.POLLIN)
            link.data_heard_s = self._clock()
            self._send_data([self._stream.connect(welcome.token)])
            self._commands.ask_again()

    async def _begin_session(self, welcome: Welcome) -> None:
        """Leave the session from before, whose end was never marked, for a new one."""
        cut_off = self._stream.begin(welcome.session, welcome.first_sequence)
        if cut_off is not None:
            await self._put(cut_off)
        reason = "the bridge was restarted before it answered"
        self._commands.cut_off(lambda key: self._own_outcome(key, "timed_out", reason, self._clock()))

    async def _hear_state(self, state: InstrumentState) -> None:
        known, self._state = self._state, state
        if known is None or not state.is_same_as(known):
            await self._put(state)

    async def _hear_unwelcome(self, link: _Link, message: Unwelcome, parts: Sequence[Buffer]) -> None:
        if not link.token and not self._has_said_lost:  # not let in at all, as for its version
            await self._reject(WireError(message.reason, message.remedy), parts)
        raise _LinkDownError(f"the bridge says: {message.reason}")

    def _ask_for_lost(self, link: _Link, heartbeat: Heartbeat) -> None:
        """Ask again for frames that the bridge has, we have credit for, and that do not come."""
        silent_s = self._clock() - link.data_heard_s
        if link.data is not None and silent_s > self._options.link_timeout_s / 2:
            question = self._stream.ask_for_lost(heartbeat)
            if question is not None:
                link.data_heard_s = self._clock()
                self._send_data([question])

    # --- data --------------------------------------------------------------------------------------

    async def _hear_data(self, link: _Link, parts: list[memoryview]) -> bool:
        """Handle one message of the data socket; False at the end of the one session."""
        heard = self._stream.hear(parts)
        self._send_data(heard.answers)
        for content in heard.passed:
            await self._put(content, link.data_heard_s)
        if heard.unwelcome is not None:
            await self._hear_unwelcome(link, heard.unwelcome, parts)
        return not (heard.is_over and self._options.is_one_session)

    def _send_data(self, messages: Iterable[Message]) -> None:
        if self._link is not None and self._link.data is not None:
            for message in messages:
                self._send(self._link.data, message)

    # --- both --------------------------------------------------------------------------------------

    async def _put(self, content: Content, came_s: float | None = None) -> None:
        if isinstance(content, Heartbeat | InstrumentState) and self._inbox.qsize() > INBOX_FOR_STATES:
            return  # a newer one follows
        await self._inbox.put(Arrival(self._clock() if came_s is None else came_s, content))

    async def _reject(self, error: WireError, parts: Sequence[Buffer]) -> None:
        """Announce a message that cannot be used."""
        await self._put(rejected(error, parts, session=self._stream.session or None))

    def _send(self, target: zmq.asyncio.Socket, message: Message) -> None:
        # A full pipe means that nobody reads at the other end; the silence ends the link.
        future: Any = target.send_multipart(pack(message), flags=zmq.NOBLOCK)
        if future.done() and not future.cancelled() and future.exception() is not None:
            return


def read_token(path: Path | None) -> str:
    """Return a token that was kept, or nothing."""
    try:
        text = path.read_text(encoding="ascii") if path is not None else ""
    except (OSError, UnicodeDecodeError):
        return ""
    return text if re.fullmatch(r"[0-9a-f]{1,80}", text) else ""


def write_token(path: Path | None, token: str) -> None:
    """Keep a token where its owner alone can read it; without it a restart only takes longer."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(token)
