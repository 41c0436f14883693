"""The agent and the simulated microscope in one process, without sockets, threads or clocks.

`Lab` does what `agent.loop` does, on a clock of its own: events to `decide`, its actions carried out, their
results back as events.  Whoever runs it may also command the instrument as an operator would.
"""

from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

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
from agent.evidence import believe
from agent.frames import FrameRef
from agent.requests import Request
from agent.settings import AnalysisSettings, Rules
from agent.sightings import field_box
from agent.state import State
from agent.value import is_inside
from agent.weighing import EvidenceWeigher
from agent.work import ColumnAnalysis
from drivers.contract.context import ColumnClass
from drivers.contract.errors import CommandRefusedError, InputError
from drivers.contract.frame import build_frame
from drivers.contract.instrument import AcquireImage, Command, CommandOutcome, StopScan
from drivers.contract.messages import LinkUp
from models.fusion import ON_METAL, load_shipped_law
from sim_microscope.instrument import Instrument
from sim_microscope.settings import SimulatorSettings
from sim_microscope.simulate import load_kernels

SESSION = "lab"

#: A column of the register is the site that it is nearest to, if nearer than this [Å].
_SAME_ANGSTROM = 0.9

#: Columns nearer to the edge of the field than this are not counted: they are seen in part [Å].
_RIM_ANGSTROM = 4.0

find_kernels = cache(load_kernels)


@cache
def shared_analysis(network: str) -> ColumnAnalysis:
    """One analysis for all sessions."""
    return ColumnAnalysis(AnalysisSettings(network=network, threads=1))


@dataclass(frozen=True)
class Look:
    """How a session stands after a scan.

    Parameters
    ----------
    dose_e_per_a2 : float
        Electrons so far, over the area of the field.
    seconds : float
        Since the first scan began, by the instrument's clock.
    entropy_nats : float
        Mean over the columns in the field.
    f1 : float
        Of the defects (both vacancies and dopants) in the field, by all evidence.
    columns : int
    lost : int
        Chalcogens that the beam has taken so far.
    """

    dose_e_per_a2: float
    seconds: float
    entropy_nats: float
    f1: float
    columns: int
    lost: int


class Lab:
    """One session.

    Parameters
    ----------
    settings : SimulatorSettings
    rules : Rules
        Of the agent.
    network : str
    """

    def __init__(self, settings: SimulatorSettings, rules: Rules, network: str = "mlp-simple") -> None:
        self.instrument = Instrument(settings, find_kernels=find_kernels)
        self.instrument.execute(StopScan(), 0.0)
        self.now_s, self.electrons, self.sequence = 0.0, 0.0, 0
        self.analysis = shared_analysis(network)
        self.weigher = EvidenceWeigher(AnalysisSettings(network=network))
        self.law = load_shipped_law(network)
        self.state, self.inbox, self.orders = State(), deque[Any](), deque[SendCommand]()
        self._frames: dict[FrameRef, Any] = {}
        self.requests: dict[str, Request] = {}
        self.told: list[Action] = []
        self.view: tuple[Any, Any] | None = None
        self.scans = 0
        self.promises: list[tuple[float, float]] = []
        self._realised = 0.0
        self._drifted = np.zeros(2)
        opened = SessionOpened(
            at_s=0.0,
            session=SESSION,
            wall_time="2026-11-25T00:00:00Z",
            source="the simulated microscope, in process",
            rules=rules,
            analysis=AnalysisSettings(network=network),
            version="0",
        )
        link = LinkUp(
            session="bench",
            role="controller",
            capabilities=self.instrument.capabilities(),
            state=self.instrument.state(0.0),
            next_sequence=0,
        )
        self.feed(opened)
        self.feed(LinkMade(at_s=0.0, link=link))

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
        state = self.instrument.state(self.now_s)
        outcome = CommandOutcome(id=order.request, status=status, reason=reason, state=state)
        self.feed(CommandEnded(at_s=self.now_s, request=order.request, outcome=outcome))
        return True

    def command(self, command: Command, command_id: str | None = None) -> None:
        """Have the instrument do something, and wait until it is done."""
        self.instrument.execute(command, self.now_s)
        self.now_s += self.instrument.settles_in_s(self.now_s)
        if isinstance(command, AcquireImage):
            end_s = self.instrument.begin_scan(self.now_s)
            assert end_s is not None, "the scan could not begin"
            self.now_s = end_s
            frames = self.instrument.end_scan()
            self.scans += 1
            self._drifted = self.instrument.specimen.drift.at(end_s).copy()
            dose = frames[0].facts.dose_e_per_a2 or 0.0
            area = frames[0].pixels.size * (frames[0].facts.pixel_size_angstrom or 0.0) ** 2
            self.electrons += dose * area
            for made in frames:
                self._see(made, command_id)

    def _see(self, made: Any, command_id: str | None) -> None:
        """Hand a frame to the agent."""
        frame = build_frame(
            made.facts.model_copy(update={"command_id": command_id}),
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
        if frame.header.window is None:
            self.view = (made, frame.header)
        self.inbox.append(
            FrameMapped(at_s=self.now_s, frame=action.frame, header=made.header, analysis_s=0.0)
        )

    def look(self) -> Look:
        """Compare what is known with what is so."""
        _confidence, said, truth, entropy = self.compare()
        defects = [ColumnClass.VAC1, ColumnClass.VAC2, ColumnClass.DOPANT]
        right = sum(int(((said == one) & (truth == one)).sum()) for one in defects)
        claimed, there = np.isin(said, defects).sum(), np.isin(truth, defects).sum()
        settings = self.instrument.settings
        return Look(
            self.electrons / (settings.fov_nm * 10) ** 2,
            self.now_s,
            float(entropy.mean()) if len(entropy) else float("nan"),
            2 * right / max(int(claimed + there), 1),
            len(said),
            self.instrument.lost_chalcogens,
        )

    def compare(
        self,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Confidence, class said, true class (-1: none stands there), entropy of the columns in the field."""
        register = self.weigher.mind.register
        if not len(register) or self.view is None:
            none = np.zeros(0)
            return none, none.astype(int), none.astype(int), none
        belief = believe(register, self.law)
        box = np.array(field_box(*self.view)) + np.array([1, 1, -1, -1]) * _RIM_ANGSTROM
        inside = is_inside(register.position_angstrom, tuple(box))
        spots = register.position_angstrom[inside] - self._drifted
        region = self.instrument.specimen.crystal.region(spots.min(axis=0) - 5, spots.max(axis=0) + 5)
        distance, nearest = cKDTree(region.crystal.positions).query(spots)
        truth = region.crystal.classes[nearest].astype(np.int64)
        same = (distance < _SAME_ANGSTROM) & (ON_METAL[truth] == register.is_metal[inside])
        chance = belief.probability[inside]
        return (
            chance.max(axis=1),
            chance.argmax(axis=1),
            np.where(same, truth, -1),
            belief.entropy_nats[inside],
        )
