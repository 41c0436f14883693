"""Events and messages of the agent's tests; every field may be set by name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agent.assessment import Assessment, Score
from agent.decide import decide
from agent.events import (
    CommandEnded,
    EvidenceWeighed,
    FrameMapped,
    FrameSeen,
    LinkMade,
    SessionEnding,
    SessionOpened,
    StateSeen,
)
from agent.frames import FrameRef
from agent.journal import Journal, JournalEntry
from agent.requests import Promise, Wish
from agent.scans import Layer, Scan
from agent.settings import AnalysisSettings, LimitSettings, PolicySettings, Rules
from agent.state import State
from drivers.contract.context import HAADF, MAADF, Context, Specimen
from drivers.contract.frame import build_frame
from drivers.contract.header import FrameFacts, FrameHeader, Window
from drivers.contract.instrument import AcquireImage, Capabilities, CommandOutcome, InstrumentState
from drivers.contract.maps import COLUMN_DTYPE, ClassCounts, FrameReference, MapHeader, ModelReference, Scale
from drivers.contract.messages import LinkUp
from models.analysis import as_settled
from models.fusion import ON_METAL
from models.fusion_law import FusionLaw, context_key

SESSION = "bridge-1"
CAPABILITIES = Capabilities(
    instrument="fake",
    commands=("switch_detector", "switch_energy", "acquire_image", "blank_beam"),
    energies_kev=(60.0, 80.0),
    detectors=(HAADF, MAADF),
)
FACTS = FrameFacts(
    host="WSe2",
    dopants=("Ti",),
    energy_kev=80.0,
    detector=HAADF,
    convergence_mrad=31.0,
    pixel_size_angstrom=0.1,
    is_settled=True,
)
WINDOW = Window(row_px=0, col_px=0, rows_px=8, cols_px=8)
SCAN: dict[str, Any] = {
    "field_of_view_nm": 1.6,
    "shape_px": (16, 16),
    "beam_current_pa": 10.0,
    "dwell_us": 1.0,
}


def header_of(sequence: int, **facts: Any) -> FrameHeader:
    known = {name: getattr(FACTS, name) for name in FrameFacts.model_fields} | facts
    at_s = known.pop("monotonic_s") or 10.0 + sequence
    frame = build_frame(
        FrameFacts(**known),
        np.full((16, 16), sequence % 200, dtype=np.uint8),
        session=SESSION,
        sequence=sequence,
        monotonic_s=at_s,
        wall_time_unix_s=1.0,
    )
    return frame.header


def state_of(monotonic_s: float = 5.0, **facts: Any) -> InstrumentState:
    known: dict[str, Any] = {
        "host": "WSe2",
        "dopants": ("Ti",),
        "energy_kev": 80.0,
        "convergence_mrad": 31.0,
        "detectors": (HAADF,),
    }
    return InstrumentState(monotonic_s=monotonic_s, **(known | facts))


def link_made(at_s: float = 1.0, **fields: Any) -> LinkMade:
    known: dict[str, Any] = {
        "session": SESSION,
        "role": "controller",
        "capabilities": CAPABILITIES,
        "state": state_of(),
        "next_sequence": 0,
    }
    return LinkMade(at_s=at_s, link=LinkUp(**(known | fields)))


def frame_seen(sequence: int, at_s: float | None = None, **facts: Any) -> FrameSeen:
    return FrameSeen(at_s=10.0 + sequence if at_s is None else at_s, header=header_of(sequence, **facts))


def state_seen(at_s: float, **facts: Any) -> StateSeen:
    return StateSeen(at_s=at_s, state=state_of(at_s, **facts))


def map_header(entropy_nats: float, detector: str = "HAADF", columns: int = 1000) -> MapHeader:
    context = Context(
        specimen=Specimen(host="WSe2", dopant="Ti"),
        energy_kev=80.0,
        detector={"HAADF": HAADF, "MAADF": MAADF}[detector],
    )
    return MapHeader(
        frame=FrameReference(shape=(16, 16), sha256="0" * 64),
        settled=as_settled(context),
        model=ModelReference(name="none", weights_sha256="0", foreignness_sha256="0", code_version="0"),
        scale=Scale(lattice_px=10.0, pixel_size_angstrom=0.3, shear=1.0),
        grains=(),
        prior=(0.6, 0.0, 0.0, 0.3, 0.1),
        columns=columns,
        counts=ClassCounts(x2=columns, vac1=0, vac2=0, metal=0, dopant=0),
        concentrations=(),
        mean_entropy_nats=entropy_nats,
        masked_fraction=0.0,
    )


def columns_of(count: int) -> np.ndarray:
    return np.zeros(count, dtype=COLUMN_DTYPE)


def frame_mapped(
    sequence: int, entropy_nats: float = 0.0, at_s: float | None = None, detector: str = "HAADF"
) -> FrameMapped:
    return FrameMapped(
        at_s=10.5 + sequence if at_s is None else at_s,
        frame=FrameRef(session=SESSION, sequence=sequence),
        header=map_header(entropy_nats, detector),
        analysis_s=0.1,
    )


def opened(rules: Rules | None = None, at_s: float = 0.0, **policy: Any) -> SessionOpened:
    rules = rules or Rules(policy=PolicySettings(**({"rule": "entropy"} | policy)), limits=LimitSettings())
    return SessionOpened(
        at_s=at_s,
        session="s1",
        wall_time="2026-11-25T00:00:00Z",
        source="test",
        rules=rules,
        analysis=AnalysisSettings(),
        version="0",
    )


def run_through(events: list[Any], state: State | None = None) -> tuple[State, list[Any]]:
    """Feed events to `decide`; returns the last state and all actions."""
    state, actions = state or State(), []
    for event in events:
        state, more = decide(state, event)
        actions += more
    return state, actions


def kinds(actions: list[Any]) -> list[str]:
    return [action.kind for action in actions]


def rules_of(mode: str = "auto", **limits: Any) -> Rules:
    known: dict[str, Any] = {"dose_e_per_a2": 1e9, "energies_kev": (60.0,)} | limits
    return Rules(policy=PolicySettings(mode=mode), limits=LimitSettings(**known))


def wish_of(command: Any = None, then: AcquireImage | None = None, gain: float = 10.0) -> Wish:
    promise = Promise(
        gain_nats=gain,
        plain_nats=gain,
        columns=4,
        detectors=("HAADF",),
        energy_kev=80.0,
        dose_e_per_a2=1e4,
        electrons=1e6,
        seconds=1.0,
    )
    command = command or AcquireImage(dwell_us=2.0, window=WINDOW)
    return Wish(command=command, then=then, reason="Nine columns are in doubt.", figures=(), promise=promise)


def weighed(sequence: int, at_s: float = 11.0, **fields: Any) -> EvidenceWeighed:
    known: dict[str, Any] = {"is_entered": True, "realised_nats": 8.0, "score": Score()} | fields
    frame = FrameRef(session=SESSION, sequence=sequence)
    return EvidenceWeighed(at_s=at_s, frame=frame, assessment=Assessment(**known), weighing_s=0.1)


def seen(number: int, **facts: Any) -> FrameSeen:
    """A frame whose dose is known."""
    return frame_seen(number, **({"dose_e_per_a2": 100.0} | facts))


def ended(at_s: float, status: Any = "confirmed", request: str = "r1", **state: Any) -> CommandEnded:
    outcome = CommandOutcome(id=f"s1.{request}", status=status, reason="because", **state)
    return CommandEnded(at_s=at_s, request=request, outcome=outcome)


def told(actions: list[Any]) -> list[tuple[str, str]]:
    """Requests that are announced."""
    return [(a.request.id, a.request.status) for a in actions if a.kind == "announce_request"]


def sent(actions: list[Any]) -> list[tuple[str, str]]:
    """Commands that are sent."""
    return [(a.request, a.command.kind) for a in actions if a.kind == "send_command"]


def texts(actions: list[Any]) -> str:
    """All notices."""
    return " | ".join(a.text for a in actions if a.kind == "notice")


@pytest.fixture
def make() -> SimpleNamespace:
    """Makers of events and messages."""
    makers = (
        header_of,
        state_of,
        link_made,
        frame_seen,
        state_seen,
        map_header,
        columns_of,
        frame_mapped,
        opened,
        run_through,
        kinds,
        rules_of,
        wish_of,
        weighed,
        seen,
        ended,
        told,
        sent,
        texts,
    )
    constants = {"SESSION": SESSION, "CAPABILITIES": CAPABILITIES, "FACTS": FACTS, "SCAN": SCAN}
    return SimpleNamespace(**constants, **{maker.__name__: maker for maker in makers})


@pytest.fixture
def begun() -> Any:
    """A session that has one map, and an assessment of it that wishes for something."""

    def begin(wish: Wish | None, mode: str = "auto", rules: Rules | None = None, **facts: Any) -> Any:
        events = [
            opened(rules or rules_of(mode)),
            link_made(state=state_of(**(SCAN | facts))),
            seen(0),
            frame_mapped(0),
            weighed(0, wish=wish),
        ]
        return run_through(events)

    return begin


def monolayer(edge: int = 160, lattice_px: float = 14.0, seed: int = 3) -> np.ndarray:
    """A picture of a monolayer: bright metal columns, dimmer chalcogens, some of these dimmer still."""
    rng = np.random.default_rng(seed)
    step = lattice_px * np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]])
    cells = np.stack(np.meshgrid(np.arange(-40, 40), np.arange(-40, 40)), axis=-1).reshape(-1, 2) @ step
    rows, cols = np.mgrid[:edge, :edge]
    image = np.full((edge, edge), 20.0)
    for shift, height in ((0.0, 100.0), (1 / 3, 45.0)):
        for row, col in cells + shift * step.sum(axis=0) + 3.3:
            if -8 < row < edge + 8 and -8 < col < edge + 8:
                peak = height * (0.5 if shift and rng.random() < 0.08 else 1.0)
                image += peak * np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * 2.4**2))
    return rng.poisson(image).astype(np.float32)


@pytest.fixture(name="monolayer")
def monolayer_fixture() -> Any:
    """Makes pictures of a monolayer."""
    return monolayer


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of three frames, two mapped by the real analysis and one that came twice."""
    from agent.work import ColumnAnalysis

    settings = AnalysisSettings(threads=1)
    analysis = ColumnAnalysis(settings)
    folder = tmp_path_factory.mktemp("sessions") / "20261125T000000Z-0001"
    journal, state = Journal.create(folder), State()

    def step(event: Any, array: np.ndarray | None = None) -> tuple[Any, ...]:
        nonlocal state
        state, actions = decide(state, event)
        journal.append([JournalEntry(journal.next_position, event, actions, array)])
        return actions

    step(
        SessionOpened(
            at_s=100.0,
            session=folder.name,
            wall_time="2026-11-25T00:00:00+00:00",
            source="made-up frames",
            rules=Rules(policy=PolicySettings(rule="entropy", settle_frames=1, entropy_nats=0.0)),
            analysis=settings,
            version="0",
        )
    )
    step(link_made(100.1))
    for sequence, number in ((0, 3), (1, 4), (1, 4)):
        frame = build_frame(
            FACTS.model_copy(update={"pixel_size_angstrom": 0.234, "source": f"scan {number}.dm4"}),
            monolayer(seed=number),
            session=SESSION,
            sequence=sequence,
            monotonic_s=101.0 + sequence,
            wall_time_unix_s=1.0,
        )
        for action in step(FrameSeen(at_s=101.0 + sequence, header=frame.header), frame.pixels):
            if action.kind == "analyse_frame":
                made = analysis.run(frame.pixels, action.settled, frame.header)
                mapped = FrameMapped(
                    at_s=101.5 + sequence, frame=action.frame, header=made.header, analysis_s=0.1
                )
                step(mapped, made.columns)
    step(SessionEnding(at_s=110.0, reason="enough", is_aborted=False, wall_time="2026-11-25T00:00:10+00:00"))
    journal.close()
    return folder


# A specimen that obeys the law of `models.fusion` to the letter, for the tests of evidence and of its value.

WSE2_HAADF = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
WSE2_MAADF = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=MAADF)

LAW = FusionLaw(
    half_dose_e_per_a2=2e4,
    correlation=0.3,
    log10_doses=np.array([3.0, 6.0]),
    scales={"HAADF": np.ones((2, 2)), "MAADF": np.ones((2, 2))},
    separations={context_key(WSE2_HAADF): (40.0, 30.0, 60.0), context_key(WSE2_MAADF): (70.0, 30.0, 30.0)},
    transfer=0.5,
)


class MadeUpSpecimen:
    """Columns of a honeycomb with defects; a look carries its source's error, always the same, and noise."""

    def __init__(
        self,
        seed: int,
        size_angstrom: float,
        shares: tuple[float, ...] = (0.95, 0.04, 0.01, 0.99, 0.01),
        turn_deg: float = 17.0,
        lattice_angstrom: float = 3.3,
        correlation: float = LAW.correlation,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        angle = np.deg2rad(turn_deg + np.array([0.0, 60.0]))
        self.basis = lattice_angstrom * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        reach = int(1.5 * size_angstrom / lattice_angstrom)
        cell = np.stack(np.meshgrid(*[np.arange(-reach, reach)] * 2, indexing="ij"), -1).reshape(-1, 2)
        metal = cell @ self.basis
        position = np.concatenate([metal, metal + self.basis.sum(axis=0) / 3])
        inside = np.abs(position).max(axis=1) < size_angstrom / 2
        self.cell = np.concatenate([cell, cell])[inside]
        self.position = position[inside]
        self.is_metal = np.repeat([True, False], len(metal))[inside]
        count = len(self.position)
        self.label = np.where(
            self.is_metal,
            self.rng.choice([3, 4], count, p=shares[3:]),
            self.rng.choice(3, count, p=shares[:3]),
        )
        common = self.rng.normal(size=count)
        self.error = {
            name: np.sqrt(correlation) * common + np.sqrt(1 - correlation) * self.rng.normal(size=count)
            for name in ("HAADF", "MAADF")
        }

    def look(
        self,
        centre: tuple[float, float],
        edge_angstrom: float,
        context: Context = WSE2_HAADF,
        dose: float = 1e4,
        taken_s: float = 0.0,
        distortion: np.ndarray | None = None,
    ) -> tuple[Scan, np.ndarray]:
        """Return a scan of a field, read, and which of the specimen's columns it shows."""
        seen = np.flatnonzero(np.abs(self.position - centre).max(axis=1) < edge_angstrom / 2)
        steps = np.sqrt(LAW.separation(context))
        place = np.array([0.0, steps[0], steps[0] + steps[1], 0.0, steps[2]])
        variance = 1 + LAW.half_dose_e_per_a2 / dose
        noise = self.rng.normal(size=len(seen)) * np.sqrt(variance - 1)
        measured = place[self.label[seen]] + self.error[context.detector.name][seen] + noise
        logs = -((measured[:, None] - place) ** 2) / (2 * variance)
        logs = np.where(self.is_metal[seen][:, None] == ON_METAL, logs, -np.inf)
        layer = Layer(context, dose, logs - logs.max(axis=1, keepdims=True), np.ones(len(seen), bool))
        stretched = (self.position[seen] - centre) @ (np.eye(2) if distortion is None else distortion)
        position = stretched + self.rng.normal(0, 0.1, stretched.shape)
        return Scan(position, self.is_metal[seen], np.zeros(len(seen), np.int64), (layer,), taken_s), seen


@pytest.fixture
def law() -> FusionLaw:
    return LAW


@pytest.fixture
def contexts() -> SimpleNamespace:
    return SimpleNamespace(haadf=WSE2_HAADF, maadf=WSE2_MAADF)


@pytest.fixture
def make_specimen() -> type[MadeUpSpecimen]:
    return MadeUpSpecimen
