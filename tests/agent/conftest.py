"""Events and messages of the agent's tests; every field may be set by name."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agent.decide import decide
from agent.events import (
    FrameMapped,
    FrameSeen,
    LinkMade,
    SessionOpened,
    StateSeen,
)
from agent.frames import FrameRef
from agent.settings import AnalysisSettings, LimitSettings, PolicySettings, Rules
from agent.state import State
from drivers.contract.context import HAADF, MAADF, Context, Specimen
from drivers.contract.frame import build_frame
from drivers.contract.header import FrameFacts, FrameHeader
from drivers.contract.instrument import Capabilities, InstrumentState
from drivers.contract.maps import COLUMN_DTYPE, ClassCounts, FrameReference, MapHeader, ModelReference, Scale
from drivers.contract.messages import LinkUp
from models.analysis import as_settled

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
    rules = rules or Rules(policy=PolicySettings(**policy), limits=LimitSettings())
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
    )
    return SimpleNamespace(
        SESSION=SESSION, CAPABILITIES=CAPABILITIES, FACTS=FACTS, **{maker.__name__: maker for maker in makers}
    )
