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

from agent.actions import FinishSession
from agent.companions import keep_going
from agent.control import OrderBook, take_orders
from agent.documents import DocumentStream
from agent.events import AnalysisMoved, RecordingHeld, SessionOpened
from agent.herald import Herald
from agent.journal import Journal
from agent.logs import LogFile, open_log
from agent.loop import Loop
from agent.parts import Analysis, Weigher
from agent.patient_recorder import PatientRecorder
from agent.publish import Publisher, answer_snapshots
from agent.recovery import Recovered
from agent.schedule import keep_time
from agent.settings import Settings, rules_of
from agent.snapshot import Snapshot
from agent.sockets import Sockets
from agent.sources import Source
from agent.state import Counts, State
from agent.steady_analysis import SteadyAnalysis
from agent.supervision import Notifier
from agent.watchers import watchers
from drivers.client import BridgeClient, Options

#: Shows a session while it runs, until cancelled.
Show = Callable[[Callable[[], Snapshot]], Awaitable[None]]

#: The agent's clock.
now = time.monotonic

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


def name_session() -> str:
    """Name a session by its beginning: ``20261125T101500Z-3fa2``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


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
            loop = Loop(
                client,
                recorder,
                analysis,
                herald,
                record,
                analysing,
                weigher,
                weighing,
                position=journal.next_position,
                state=recovered.state if recovered else State(),
            )
            if recovered:
                herald.opened = recovered.opened
            if isinstance(analysis, SteadyAnalysis):
                analysis.on_moved = lambda device, why: _soon(
                    running, loop.post, AnalysisMoved(at_s=now(), device=device, reason=why)
                )
            book = OrderBook(name, must_be_named=settings.publish.keys is not None)
            companions: dict[str, Callable[[], Awaitable[None]]] = {
                "the snapshot socket": lambda: answer_snapshots(sockets.snapshot, herald.publisher),
                "the control socket": lambda: take_orders(
                    sockets.control, loop.ask, lambda: loop.state, book=book
                ),
                "the clock": lambda: keep_time(loop.post, now, settings.watch, folder),
                "the console": lambda: show(lambda: herald.look(loop.recorded)),
            }
            companions |= watchers(settings, folder, herald, loop, recorder, notifier)
            with _stopping_on_signals(loop, recorder):
                finish = await loop.run(
                    recovered.event if recovered else _opened(settings, source, name),
                    *(_steadily(what, task, herald) for what, task in companions.items()),
                )
        (folder / _TOKEN).unlink(missing_ok=True)  # an ended session does not go on
        return Ended(folder, finish, loop.state.counts)


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
