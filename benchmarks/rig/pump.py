"""The agent in one process, without sockets, threads or clocks: what `agent.loop` does, step by step."""

from collections import deque
from functools import cache
from typing import Any

from agent.actions import Action, AnalyseFrame, AnnounceRequest, LeaveOut, SendCommand, WeighEvidence
from agent.decide import decide
from agent.events import (
    AnalysisFailed,
    CommandEnded,
    EvidenceWeighed,
    FrameMapped,
    FrameSeen,
    LinkMade,
    SessionOpened,
    Ticked,
)
from agent.frames import FrameRef
from agent.requests import Request
from agent.settings import AnalysisSettings, Rules
from agent.state import State
from agent.weighing import EvidenceWeigher
from agent.work import ColumnAnalysis
from drivers.contract.errors import CommandRefusedError, InputError
from drivers.contract.frame import build_frame
from drivers.contract.instrument import Capabilities, Command, CommandOutcome, InstrumentState
from drivers.contract.maps import DefectMap
from drivers.contract.messages import LinkUp
from models.fusion_law import load_shipped_law

SESSION = "lab"


@cache
def shared_analysis(network: str) -> ColumnAnalysis:
    """One analysis for all sessions."""
    return ColumnAnalysis(AnalysisSettings(network=network, threads=1))


class Pump:
    """Events to `decide`, its actions carried out, their results back as events; a clock of its own.

    Whoever derives from it says what an instrument does with a command, and how it stands.

    Parameters
    ----------
    rules : Rules
        Of the agent.
    network : str
    """

    def __init__(self, rules: Rules, network: str = "mlp-simple") -> None:
        self.now_s, self.sequence = 0.0, 0
        self.analysis = shared_analysis(network)
        self.weigher = EvidenceWeigher(AnalysisSettings(network=network))
        self.law = load_shipped_law(network)
        self.state, self.inbox, self.orders = State(), deque[Any](), deque[SendCommand]()
        self._frames: dict[FrameRef, Any] = {}
        self.maps: list[tuple[DefectMap, Any]] = []
        self.requests: dict[str, Request] = {}
        self.promises: list[tuple[float, float]] = []
        self.told: list[Action] = []
        self._realised = 0.0
        self._rules = rules
        self._network = network

    def open(self) -> None:
        """Begin the session, in touch with the instrument."""
        opened = SessionOpened(
            at_s=self.now_s,
            session=SESSION,
            wall_time="2026-11-25T00:00:00Z",
            source="an instrument in the same process",
            rules=self._rules,
            analysis=AnalysisSettings(network=self._network),
            version="0",
        )
        link = LinkUp(
            session="bench",
            role="controller",
            capabilities=self.capabilities(),
            state=self.instrument_state(),
            next_sequence=0,
        )
        self.analysis.forget()
        self.feed(opened)
        self.feed(LinkMade(at_s=self.now_s, link=link))

    def capabilities(self) -> Capabilities:
        """What the instrument can do."""
        raise NotImplementedError

    def instrument_state(self) -> InstrumentState:
        """How it stands."""
        raise NotImplementedError

    def command(self, command: Command, command_id: str | None = None) -> None:
        """Have the instrument do something, and wait until it is done."""
        raise NotImplementedError

    def feed(self, event: Any) -> None:
        """Put an event to `decide`, and carry out all that follows but commands."""
        self.inbox.append(event)
        while self.inbox:
            self.state, actions = decide(self.state, self.inbox.popleft())
            for action in actions:
                self._carry_out(action)

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass, and carry out what the agent has sent."""
        self.now_s += seconds
        self.feed(Ticked(at_s=self.now_s))

    def carry_out_order(self) -> bool:
        """Have the instrument do what the agent has sent; returns whether there was anything."""
        if not self.orders:
            return False
        order = self.orders.popleft()
        status, reason = "confirmed", ""
        try:
            self.command(order.command, f"{SESSION}.{order.request}")
        except CommandRefusedError as error:
            status, reason = "refused", str(error)
        state = self.instrument_state()
        outcome = CommandOutcome(id=order.request, status=status, reason=reason, state=state)
        self.feed(CommandEnded(at_s=self.now_s, request=order.request, outcome=outcome))
        return True

    def _see(self, made: Any, command_id: str | None) -> None:
        """Hand a frame to the agent."""
        frame = build_frame(
            made.facts.rebuilt(command_id=command_id),
            made.pixels,
            session="bench",
            sequence=self.sequence,
            monotonic_s=self.now_s,
            wall_time_unix_s=0.0,
        )
        self.sequence += 1
        ref = FrameRef(session="bench", sequence=frame.header.sequence)
        self._frames[ref] = frame
        self.feed(FrameSeen(at_s=self.now_s, header=frame.header))

    def _carry_out(self, action: Action) -> None:
        """What `agent.loop` would do."""
        match action:
            case AnalyseFrame():
                self._analyse(action)
            case WeighEvidence():
                told = self.weigher.weigh(action, self.state.capabilities, self.state.rules)
                self._realised = told.realised_nats or 0.0
                weighed = EvidenceWeighed(
                    at_s=self.now_s, frame=action.frame, assessment=told, weighing_s=0.0
                )
                self.inbox.append(weighed)
            case LeaveOut():
                self.weigher.leave_out(action.frame)
            case SendCommand():
                self.orders.append(action)
            case AnnounceRequest():
                self._note(action.request)
            case _:
                pass
        self.told.append(action)

    def _note(self, request: Request) -> None:
        """Keep a request as it now stands, and what came of its promise [nats]."""
        self.requests[request.id] = request
        if request.status == "scored" and request.wish.promise is not None:
            self.promises.append((request.wish.promise.gain_nats, self._realised))
        elif request.status == "unscored" and request.wish.promise is not None:
            self.promises.append((request.wish.promise.gain_nats, 0.0))

    def _analyse(self, action: AnalyseFrame) -> None:
        frame = self._frames.pop(action.frame)
        try:
            made = self.analysis.run(frame.pixels, action.settled, frame.header)
        except InputError as error:
            self.inbox.append(AnalysisFailed(at_s=self.now_s, frame=action.frame, reason=str(error)))
            return
        self.weigher.hold(action.frame, made, frame.header)
        self.maps.append((made, frame.header))
        self.inbox.append(
            FrameMapped(at_s=self.now_s, frame=action.frame, header=made.header, analysis_s=0.0)
        )
