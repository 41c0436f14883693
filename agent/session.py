"""One session from its first event to its last: makes the parts, joins them, and takes them down."""

import asyncio
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from agent.actions import AnnounceMode, AnnounceRequest, FinishSession, Notice
from agent.companions import keep_going
from agent.control import OrderBook, take_orders
from agent.documents import DocumentStream
from agent.events import AnalysisMoved, OperatorSpoke, RecordingHeld, SessionOpened
from agent.herald import Herald
from agent.journal import Journal
from agent.logs import LogFile, open_log
from agent.loop import Loop
from agent.parts import Analysis, Weigher
from agent.patient_recorder import PatientRecorder
from agent.publish import Publisher, address_of, answer_snapshots, bind
from agent.recovery import Recovered
from agent.retention import prune
from agent.schedule import keep_time
from agent.settings import Settings, rules_of
from agent.snapshot import Snapshot
from agent.sources import Source
from agent.state import Counts
from agent.state_file import keep_state
from agent.steady_analysis import SteadyAnalysis
from agent.supervision import Notifier, figures_of, give_signs_of_life, serve_metrics
from drivers.client import BridgeClient, Options
from drivers.keys import CONTROL_DOMAIN, LISTEN_DOMAIN, Guard

#: Shows a session while it runs, until cancelled.
Show = Callable[[Callable[[], Snapshot]], Awaitable[None]]

#: The agent's clock.
now = time.monotonic

#: So many ticks may be missed, and so long a stall is allowed [s], until the agent counts as hung.
_TICKS_MISSED, _SLOW_S = 3, 30.0

#: Between two looks at the disk budget [s].
_BUDGET_S = 60.0

#: Answers kept for somebody who asks and does not read them: a snapshot holds a whole map.
_ANSWERS_KEPT = 16

#: Frames that the bridge may send ahead of what is on disk.
_CREDITS = 4

#: What lets this session, killed and begun again, take its role with the bridge over.
_TOKEN = "bridge.token"


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


async def run_session(
    settings: Settings,
    source: Source,
    sockets: Sockets,
    analysis: Analysis,
    weigher: Weigher | None,
    name: str,
    show: Show,
    *,
    recovered: Recovered | None = None,
    notifier: Notifier | None = None,
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
    recovered : Recovered, optional
        A session to go on with; `name` is its.
    notifier : Notifier, optional
        Tells a supervisor how the session is.

    Raises
    ------
    InputError
        If the session's folder cannot be made.
    ExceptionGroup
        If a part failed.
    """
    folder = recovered.folder if recovered else Path(settings.session.folder) / name
    running = asyncio.get_running_loop()
    with ExitStack() as stack:
        journal = recovered.journal if recovered else Journal.create(folder)
        stack.callback(journal.close)
        stream = stack.enter_context(LogFile(folder / "agent.log"))
        log = open_log(stream, settings.session.log_level, name)
        record = stack.enter_context(ThreadPoolExecutor(1, "record"))
        analysing = stack.enter_context(ThreadPoolExecutor(1, "analysis", initializer=analysis.prepare))
        weighing = stack.enter_context(ThreadPoolExecutor(1, "weighing"))
        documents = DocumentStream(name) if settings.publish.documents else None
        herald = Herald(Publisher(sockets.maps, name), log, time.monotonic, documents)
        recorder = PatientRecorder(
            journal,
            lambda why: _soon(running, herald.warn, why, "frames wait with the bridge; nothing else is done"),
            lambda held_s, why: _soon(
                running, loop.post, RecordingHeld(at_s=now(), held_s=held_s, reason=why)
            ),
        )
        stack.callback(recorder.give_up)
        keys = Path(settings.source.keys) if settings.source.keys else None
        options = Options(
            name="columnist agent",
            credits=_CREDITS,
            auto_acknowledge=False,
            keys=keys,
            resume_at=None if recovered is None or source.is_ours else recovered.resume_at,
            token_file=folder / _TOKEN,
        )
        async with BridgeClient(source.address, options) as client:
            loop = Loop(client, recorder, analysis, herald, record, analysing, weigher, weighing)
            if recovered:
                loop.state, loop.recorded = recovered.state, recovered.state
                loop.position, herald.opened = recovered.journal.next_position, recovered.opened
                loop.recorded_position = loop.position - 1
            if isinstance(analysis, SteadyAnalysis):
                analysis.on_moved = lambda device, why: _soon(
                    running, loop.post, AnalysisMoved(at_s=now(), device=device, reason=why)
                )
            book = OrderBook(name, must_be_named=settings.publish.keys is not None)
            companions: dict[str, Callable[[], Awaitable[None]]] = {
                "the snapshot socket": lambda: answer_snapshots(sockets.snapshot, herald.publisher),
                "the control socket": lambda: take_orders(
                    sockets.control, lambda order: _ask(loop, order), lambda: loop.state, book=book
                ),
                "the clock": lambda: keep_time(loop.post, now, settings.watch, folder),
                "the console": lambda: show(lambda: herald.look(loop.recorded)),
            }
            companions |= _watchers(settings, folder, herald, loop, recorder, notifier)
            with _stopping_on_signals(loop, recorder):
                finish = await loop.run(
                    recovered.event if recovered else _opened(settings, source, name),
                    *(_steadily(what, task, herald) for what, task in companions.items()),
                )
        (folder / _TOKEN).unlink(missing_ok=True)  # an ended session does not go on
        return Ended(folder, finish, loop.state.counts)


def _watchers(
    settings: Settings,
    folder: Path,
    herald: Herald,
    loop: Loop,
    recorder: PatientRecorder,
    notifier: Notifier | None,
) -> dict[str, Callable[[], Awaitable[None]]]:
    """Those who watch over the session rather than take part in it."""

    def since_tick_s() -> float:
        return 0.0 if herald.ticked_s is None else now() - herald.ticked_s

    def is_well() -> str:
        state, counts = loop.recorded, loop.recorded.counts
        if recorder.is_held:
            return "the disk takes nothing: frames wait with the bridge"
        if since_tick_s() > _TICKS_MISSED * settings.watch.heartbeat_s + _SLOW_S:
            return ""
        return f"{state.mode}, link {state.link}, {counts.seen} frames, {counts.mapped} maps"

    def figures() -> str:
        return figures_of(herald.look(loop.recorded), herald.health, recorder.is_held, since_tick_s())

    async def keep_budget() -> None:
        sessions, budget = Path(settings.session.folder), int(settings.session.budget_gib * 2**30)
        told: list[str] = []
        while True:
            said = await asyncio.to_thread(prune, sessions, budget, settings.session.delete)
            for line in said if said != told else ():
                herald.warn(line, "")
            told = said
            await asyncio.sleep(_BUDGET_S)

    async def keep_states() -> None:
        while True:
            await asyncio.sleep(settings.watch.checkpoint_s)
            if loop.recorded_position >= 0:
                await asyncio.to_thread(keep_state, folder, loop.recorded, loop.recorded_position)

    watchers: dict[str, Callable[[], Awaitable[None]]] = {"the state file": keep_states}
    if notifier is not None:
        watchers["the supervisor's socket"] = lambda: give_signs_of_life(notifier, is_well)
    if settings.publish.metrics_port:
        watchers["the metrics"] = lambda: serve_metrics(settings.publish.metrics_port, figures)
    if settings.session.budget_gib:
        watchers["the disk budget"] = keep_budget
    return watchers


def _steadily(
    what: str, task: Callable[[], Awaitable[None]], herald: Herald
) -> Callable[[], Awaitable[None]]:
    """Have a companion begun again when it fails."""

    def tell(name: str, why: str) -> None:
        herald.warn(f"{name} has failed: {why}", "it is begun again; frames are recorded all the same")

    return lambda: keep_going(what, task, tell)


def _soon(running: asyncio.AbstractEventLoop, call: Callable[..., object], *values: object) -> None:
    """Have something called in the loop's thread; nothing if the loop has ended."""
    with suppress(RuntimeError):
        running.call_soon_threadsafe(call, *values)


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
def _stopping_on_signals(loop: Loop, recorder: PatientRecorder) -> Iterator[None]:
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
            recorder.give_up()
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
