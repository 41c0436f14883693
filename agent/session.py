"""One session from its first event to its last: makes the parts, joins them, and takes them down."""

import asyncio
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from agent.actions import AnnounceMode, AnnounceRequest, FinishSession, Notice
from agent.control import take_orders
from agent.documents import DocumentStream
from agent.events import OperatorSpoke, SessionOpened
from agent.herald import Herald
from agent.journal import Journal
from agent.logs import open_log
from agent.loop import Loop
from agent.parts import Analysis, Weigher
from agent.publish import Publisher, address_of, answer_snapshots, bind
from agent.schedule import keep_time
from agent.settings import Settings, rules_of
from agent.snapshot import Snapshot
from agent.sources import Source
from agent.state import Counts
from drivers.client import BridgeClient, Options

#: Shows a session while it runs, until cancelled.
Show = Callable[[Callable[[], Snapshot]], Awaitable[None]]

#: Frames that the bridge may send ahead of what is on disk.
_CREDITS = 4


@dataclass(frozen=True)
class Ended:
    """What a session leaves behind."""

    folder: Path
    finish: FinishSession
    counts: Counts


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


def name_session(now: datetime | None = None) -> str:
    """Name a session by its beginning: ``20261125T101500Z-3fa2``."""
    return f"{now or datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


@contextmanager
def open_sockets(settings: Settings) -> Iterator[Sockets]:
    """Bind the agent's sockets.

    Raises
    ------
    InputError
        If a port is in use; nothing else has been begun.
    """
    context = zmq.asyncio.Context()
    plain: zmq.Context[Any] = zmq.Context(context)  # of the same core: its sockets need no event loop
    publish = settings.publish
    with ExitStack() as stack:
        stack.callback(context.term)
        maps = stack.enter_context(bind(plain, zmq.PUB, publish.maps, "publish.maps", publish.queue))
        snapshot = stack.enter_context(bind(context, zmq.ROUTER, publish.snapshot, "publish.snapshot"))
        control = stack.enter_context(bind(context, zmq.ROUTER, publish.control, "publish.control"))
        yield Sockets(context, maps, snapshot, control)


async def run_session(
    settings: Settings,
    source: Source,
    sockets: Sockets,
    analysis: Analysis,
    weigher: Weigher | None,
    name: str,
    show: Show,
) -> Ended:
    """Run a session until it is finished or told to stop.

    Parameters
    ----------
    settings : Settings
    source : Source
    sockets : Sockets
    analysis : Analysis
    weigher : Weigher or None
        Who keeps the evidence, if the rules rest on it.
    name : str
        Of the session, and of its folder.
    show : callable
        The console.

    Raises
    ------
    InputError
        If the session's folder cannot be made.
    ExceptionGroup
        If a part failed.
    """
    folder = Path(settings.session.folder) / name
    with ExitStack() as stack:
        journal = Journal.create(folder)
        stack.callback(journal.close)
        stream = stack.enter_context((folder / "agent.log").open("a", encoding="utf-8"))
        log = open_log(stream, settings.session.log_level, name)
        record = stack.enter_context(ThreadPoolExecutor(1, "record"))
        analysing = stack.enter_context(ThreadPoolExecutor(1, "analysis", initializer=analysis.prepare))
        weighing = stack.enter_context(ThreadPoolExecutor(1, "weighing"))
        documents = DocumentStream(name) if settings.publish.documents else None
        herald = Herald(Publisher(sockets.maps, name), log, time.monotonic, documents)
        options = Options(name="columnist agent", credits=_CREDITS, auto_acknowledge=False)
        async with BridgeClient(source.address, options) as client:
            loop = Loop(client, journal, analysis, herald, record, analysing, weigher, weighing)
            with _stopping_on_signals(loop):
                finish = await loop.run(
                    _opened(settings, source, name),
                    lambda: answer_snapshots(sockets.snapshot, herald.publisher),
                    lambda: take_orders(sockets.control, lambda order: _ask(loop, order), lambda: loop.state),
                    lambda: keep_time(loop.post, time.monotonic, settings.watch, folder),
                    lambda: show(lambda: herald.look(loop.recorded)),
                )
        return Ended(folder, finish, loop.state.counts)


def _opened(settings: Settings, source: Source, name: str) -> SessionOpened:
    """The first event: all that later decisions rest on."""
    return SessionOpened(
        at_s=time.monotonic(),
        session=name,
        wall_time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        source=source.description,
        rules=rules_of(settings, end_with_source=source.is_ours),
        analysis=settings.analysis,
        version=version("columnist"),
    )


async def _ask(loop: Loop, event: OperatorSpoke) -> list[str]:
    """Put an order to the loop; returns what it answered, in words."""
    said = []
    for action in await loop.ask(event):
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


@contextmanager
def _stopping_on_signals(loop: Loop) -> Iterator[None]:
    """End the session in order on Ctrl-C or SIGTERM, and at once on the second."""
    running = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    times = 0

    def stop(name: str) -> None:
        nonlocal times
        times += 1
        if times > 1:
            task.cancel()
        else:
            loop.stop(f"stopped by {name}")

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in signals]
    for number in signals:
        running.add_signal_handler(number, stop, number.name)
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            running.remove_signal_handler(number)
            signal.signal(number, handler)
