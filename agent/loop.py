"""The loop: carries events to `decide` and out what it answers; the one place where the parts meet.

    instrument ──► receive ─┐
    analysis   ──► analyse ─┤                         ┌──► publish ──► weigh
    operator   ──► orders  ─┼─► inbox ─► think ─► record ──► act ──► instrument
    scheduler  ──► post    ─┘              └──► analyse

`think` starts an analysis at once; whatever the world gets to know of waits until `record` has it on disk.
What it will be told is made ready meanwhile.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agent.actions import (
    Action,
    AnalyseFrame,
    CheckpointJournal,
    FinishSession,
    LeaveOut,
    RejectFrame,
    SendCommand,
    SkipFrame,
    WeighEvidence,
)
from agent.arrivals import event_of
from agent.complaints import Complaints
from agent.decide import decide
from agent.events import (
    AnalysisFailed,
    CommandEnded,
    Event,
    EvidenceWeighed,
    FrameMapped,
    FrameSeen,
    OperatorSpoke,
    SessionEnding,
    SessionOpened,
    SessionResumed,
    Stop,
)
from agent.frames import FrameRef
from agent.held_frames import HeldFrames
from agent.herald import Herald, Timing
from agent.journal import JournalEntry
from agent.parts import Analysis, Instrument, Recorder, Weigher
from agent.state import State
from agent.steps import Inbound, Step
from drivers.contract.errors import InputError
from drivers.contract.instrument import BlankBeam
from drivers.contract.messages import Heartbeat

#: Longest wait for the beam to be blanked at the end [s].
_BLANKING_S = 2.0


@dataclass
class Loop:
    """One session.

    Parameters
    ----------
    instrument, recorder, analysis, herald
        Who brings frames, keeps them, makes maps of them, and tells the world.
    record_thread, analysis_thread : Executor
        One thread each: an analysis thread keeps its pool of workers, and the journal its connection.
    weigher : Weigher or None
        Who weighs maps; only rules that rest on evidence need one.
    weighing_thread : Executor or None
        Its one thread.
    clock : callable
        Monotonic [s].
    position : int
        Of the next entry; above 0 for a session that goes on, with its `state`.
    """

    instrument: Instrument
    recorder: Recorder
    analysis: Analysis
    herald: Herald
    record_thread: Executor
    analysis_thread: Executor
    weigher: Weigher | None = None
    weighing_thread: Executor | None = None
    clock: Callable[[], float] = time.monotonic
    position: int = 0
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self.held = HeldFrames()
        self.analysed: dict[FrameRef, Timing] = {}  # of the maps that are not published yet
        self.inbox: asyncio.Queue[Inbound] = asyncio.Queue()
        self.steps: asyncio.Queue[Step] = asyncio.Queue()
        self.jobs: asyncio.Queue[AnalyseFrame] = asyncio.Queue()
        self.scales: asyncio.Queue[tuple[WeighEvidence, State]] = asyncio.Queue()
        self.orders: asyncio.Queue[SendCommand] = asyncio.Queue()
        self.finished: asyncio.Future[FinishSession] = asyncio.get_running_loop().create_future()
        self.last_recorded = asyncio.Event()
        self.recorded = self.state
        self.recorded_position = self.position - 1

    async def run(
        self, opened: SessionOpened | SessionResumed, *companions: Callable[[], Any]
    ) -> FinishSession:
        """Run a session to its end; the beam is blanked on the way out, where the instrument can.

        Parameters
        ----------
        opened : SessionOpened or SessionResumed
            The first event.
        *companions
            Further tasks that live as long as the session: sockets, console, scheduler.

        Raises
        ------
        ExceptionGroup
            The first failure of any task, which has ended all others.
        """
        self.post(opened)
        try:
            async with asyncio.TaskGroup() as group:
                inward = [
                    group.create_task(task()) for task in (self.receive, self.analyse, self.weigh, self.act)
                ]
                core = [group.create_task(task()) for task in (self.think, self.record)]
                around = [group.create_task(companion()) for companion in companions]
                finish = await self.finished
                for task in inward:
                    task.cancel()
                self.post(self._ending(finish.reason, finish.is_aborted))
                await self.last_recorded.wait()
                for task in core + around:
                    task.cancel()
        except BaseException as error:
            await self._blank()
            await self._record_abort(error)
            raise
        await self._blank()
        return finish

    def post(self, event: Event) -> None:
        """Put an event to `decide`."""
        self.inbox.put_nowait(Inbound(event))

    def stop(self, why: str) -> None:
        """End the session in order, as if the operator had asked for it."""
        self.post(OperatorSpoke(at_s=self.clock(), order=Stop(why=why)))

    async def ask(self, event: OperatorSpoke) -> tuple[Action, ...]:
        """Put an order to `decide` and wait for what it answers."""
        answer: asyncio.Future[tuple[Action, ...]] = asyncio.get_running_loop().create_future()
        self.inbox.put_nowait(Inbound(event, answer=answer))
        return await answer

    async def receive(self) -> None:
        """Take what the bridge sends, as long as there is room for it."""
        complaints = Complaints()
        async for arrival in self.instrument.arrivals():
            if isinstance(arrival.content, Heartbeat):
                if new := complaints.hear(arrival.content.instrument_error, arrival.monotonic_s):
                    self.herald.warn(
                        f"the instrument's driver complains: {new}",
                        "look at the instrument and its software; it is tried again all the time",
                    )
                continue
            event = event_of(arrival.content, arrival.monotonic_s)
            if event is None:
                continue
            pixels = None
            if isinstance(event, FrameSeen):
                frame = FrameRef(session=event.header.session, sequence=event.header.sequence)
                timing = Timing(event.header.monotonic_s, arrival.monotonic_s)
                await self.held.take(frame, arrival.content, timing)
                pixels = arrival.content.pixels
            self.inbox.put_nowait(Inbound(event, pixels))

    async def think(self) -> None:
        """Decide on one event at a time until cancelled; waits on `inbox` alone, so cannot deadlock."""
        while True:
            inbound = await self.inbox.get()
            self.state, actions = decide(self.state, inbound.event)
            for action in actions:
                if isinstance(action, AnalyseFrame):
                    self.jobs.put_nowait(action)
                elif isinstance(action, SkipFrame | RejectFrame) and action.frame is not None:
                    await self._let_go(action.frame)
                elif isinstance(action, LeaveOut) and self.weigher is not None:
                    self.weigher.leave_out(action.frame)
            if inbound.answer is not None and not inbound.answer.done():
                inbound.answer.set_result(actions)
            entry = JournalEntry(self.position, inbound.event, actions, inbound.array)
            self.position += 1
            self.steps.put_nowait(Step(entry, actions, inbound.defect_map, self.state))

    async def record(self) -> None:
        """Make steps durable, as many at once as wait, and then tell and do what they ask for."""
        while True:
            steps = [await self.steps.get()]
            while not self.steps.empty():
                steps.append(self.steps.get_nowait())
            writing = self._write([step.entry for step in steps])
            for step in steps:  # while the disk writes
                step.packed = self.herald.prepare(step.entry, step.actions, step.defect_map)
            await writing
            recorded_s = self.clock()
            for step in steps:
                await self._carry_out(step, recorded_s)

    async def analyse(self) -> None:
        """Make maps, one frame at a time, in the analysis thread."""
        loop = asyncio.get_running_loop()
        while True:
            job = await self.jobs.get()
            held, timing = self.held.begin_analysis(job.frame)
            timing.begun_s = self.clock()
            try:
                defect_map = await loop.run_in_executor(
                    self.analysis_thread, self.analysis.run, held.pixels, job.settled, held.header
                )
            except InputError as error:
                self.post(AnalysisFailed(at_s=self.clock(), frame=job.frame, reason=str(error)))
                continue
            finally:
                await self.held.end_analysis()
            timing.analysed_s = self.clock()
            mapped = FrameMapped(
                at_s=timing.analysed_s,
                frame=job.frame,
                header=defect_map.header,
                analysis_s=timing.analysed_s - timing.begun_s,
            )
            self.analysed[job.frame] = timing
            if self.weigher is not None:
                self.weigher.hold(job.frame, defect_map, held.header)
            self.inbox.put_nowait(Inbound(mapped, defect_map.columns, defect_map))

    async def weigh(self) -> None:
        """Enter published maps into the evidence, one at a time, in the weighing thread."""
        loop = asyncio.get_running_loop()
        while True:
            order, decided = await self.scales.get()
            if self.weigher is None:
                raise InputError("these rules rest on evidence, and nobody is there to weigh it")
            begun_s = self.clock()
            told = await loop.run_in_executor(
                self.weighing_thread, self.weigher.weigh, order, decided.capabilities, decided.rules
            )
            now_s = self.clock()
            self.post(
                EvidenceWeighed(at_s=now_s, frame=order.frame, assessment=told, weighing_s=now_s - begun_s)
            )

    async def act(self) -> None:
        """Send commands to the instrument, one at a time; every one comes to an end."""
        while True:
            order = await self.orders.get()
            name = f"{self.state.session}.{order.request}"
            outcome = await self.instrument.execute(order.command, id=name, timeout_s=order.timeout_s)
            self.post(CommandEnded(at_s=self.clock(), request=order.request, outcome=outcome))

    def _write(self, entries: Sequence[JournalEntry]) -> "asyncio.Future[None]":
        """Begin to record entries, in the recording thread; they are safe once the future is done."""
        running = asyncio.get_running_loop()
        return running.run_in_executor(self.record_thread, self.recorder.append, entries)

    async def _carry_out(self, step: Step, recorded_s: float) -> None:
        """Tell and do what a step asks for, now that it is recorded."""
        event = step.entry.event
        self.recorded, self.recorded_position = step.state, step.entry.position
        if isinstance(event, FrameSeen):
            self.instrument.acknowledge(event.header)
            await self.held.note_recorded()
        if isinstance(event, FrameMapped) and step.defect_map is not None and step.packed is not None:
            timing = self.analysed.pop(event.frame)
            timing.recorded_s = recorded_s
            self.herald.publish_map(step.defect_map, step.packed, self.held.frames.get(event.frame), timing)
            await self._let_go(event.frame)
        self.herald.tell(step.entry, step.actions, step.state)
        for action in step.actions:
            if isinstance(action, SendCommand):
                self.orders.put_nowait(action)
            elif isinstance(action, WeighEvidence):
                self.scales.put_nowait((action, step.state))
            elif isinstance(action, CheckpointJournal):
                running = asyncio.get_running_loop()
                await running.run_in_executor(self.record_thread, self.recorder.checkpoint)
            elif isinstance(action, FinishSession) and not self.finished.done():
                self.finished.set_result(action)
        if isinstance(event, SessionEnding):
            self.last_recorded.set()

    async def _let_go(self, frame: FrameRef) -> None:
        """Forget a frame, unless it still has work to come, as the first has of one that was sent twice."""
        if frame != self.state.busy and all(frame != waiting for waiting, _ in self.state.waiting):
            await self.held.let_go(frame)

    async def _blank(self) -> None:
        """Take the beam off the specimen where the instrument can and the agent may act."""
        capabilities = self.state.capabilities
        blank = BlankBeam()
        if self.state.mode == "observe" or capabilities is None or self.state.link != "up":
            return
        if blank.kind in capabilities.commands:
            name = f"{self.state.session}.blank"
            await self.instrument.execute(blank, id=name, timeout_s=_BLANKING_S)

    async def _record_abort(self, error: BaseException) -> None:
        """Leave word of a failure in the journal, if it still takes any."""
        reason = f"{type(error).__name__}: {error}"[:2000]
        ending = self._ending(reason, True)
        self.state, actions = decide(self.state, ending)
        try:
            await self._write([JournalEntry(self.position, ending, actions)])
        except (InputError, ValueError, RuntimeError):
            return  # the journal itself is what failed; the error on its way up says so

    def _ending(self, reason: str, is_aborted: bool) -> SessionEnding:
        """The last event."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return SessionEnding(at_s=self.clock(), reason=reason, is_aborted=is_aborted, wall_time=now)
