"""What is now so: everything that `decide` learns from, stamped where it enters."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from agent.assessment import Assessment
from agent.frames import FrameRef
from agent.settings import AnalysisSettings, Mode, Rules
from drivers.contract.context import Message
from drivers.contract.header import FrameHeader
from drivers.contract.instrument import CommandOutcome, InstrumentState
from drivers.contract.maps import MapHeader
from drivers.contract.messages import Dropped, LinkUp, Rejected


class Stamped(Message):
    """Something that happened at a time."""

    at_s: float
    """The agent's monotonic clock [s]."""


class SessionOpened(Stamped):
    """The agent has begun; all that later decisions rest on is in here."""

    kind: Literal["session_opened"] = "session_opened"
    session: str
    wall_time: str
    """ISO 8601, UTC."""
    source: str
    rules: Rules
    analysis: AnalysisSettings
    version: str


class SessionResumed(Stamped):
    """The agent goes on with a session in which it was killed; the rules are those of the beginning."""

    kind: Literal["session_resumed"] = "session_resumed"
    session: str
    wall_time: str
    position: int
    """Of this event: all before it was on disk."""
    bytes_cut: int
    """Of an append that the kill cut short; nobody had been told of it."""


class LinkMade(Stamped):
    """The instrument answers."""

    kind: Literal["link_made"] = "link_made"
    link: LinkUp


class LinkLost(Stamped):
    """The instrument does not answer any more."""

    kind: Literal["link_lost"] = "link_lost"
    reason: str


class StateSeen(Stamped):
    """The instrument has said in which state it is."""

    kind: Literal["state_seen"] = "state_seen"
    state: InstrumentState


class FrameSeen(Stamped):
    """A frame has come, with sound pixels; these travel beside the event."""

    kind: Literal["frame_seen"] = "frame_seen"
    header: FrameHeader


class FrameSpoiled(Stamped):
    """Something came that is no usable frame; the edge has refused it."""

    kind: Literal["frame_spoiled"] = "frame_spoiled"
    rejected: Rejected


class FramesDropped(Stamped):
    """The bridge could not keep frames until they were taken."""

    kind: Literal["frames_dropped"] = "frames_dropped"
    dropped: Dropped


class FrameMapped(Stamped):
    """A frame has become a map; its columns travel beside the event."""

    kind: Literal["frame_mapped"] = "frame_mapped"
    frame: FrameRef
    header: MapHeader
    analysis_s: float


class EvidenceWeighed(Stamped):
    """A map has been entered into the evidence, or could not be."""

    kind: Literal["evidence_weighed"] = "evidence_weighed"
    frame: FrameRef
    assessment: Assessment
    weighing_s: float


class AnalysisFailed(Stamped):
    """A frame could not become a map."""

    kind: Literal["analysis_failed"] = "analysis_failed"
    frame: FrameRef
    reason: str


class AnalysisMoved(Stamped):
    """The device that frames are analysed on has failed; another one goes on."""

    kind: Literal["analysis_moved"] = "analysis_moved"
    device: str
    reason: Annotated[str, Field(max_length=2000)]


class CommandEnded(Stamped):
    """A command that a request sent has come to its end."""

    kind: Literal["command_ended"] = "command_ended"
    request: str
    outcome: CommandOutcome


class Approve(Message):
    """Carry a request out."""

    kind: Literal["approve"] = "approve"
    request: str


class Deny(Message):
    """Do not carry a request out."""

    kind: Literal["deny"] = "deny"
    request: str


class SetMode(Message):
    """Give the agent more or less authority."""

    kind: Literal["set_mode"] = "set_mode"
    mode: Mode


class Stop(Message):
    """Deny all that is open and end the session in order."""

    kind: Literal["stop"] = "stop"
    why: Annotated[str, Field(max_length=200)] = "the operator stopped the session"


Order = Annotated[Approve | Deny | SetMode | Stop, Field(discriminator="kind")]


class OperatorSpoke(Stamped):
    """The operator has given an order."""

    kind: Literal["operator_spoke"] = "operator_spoke"
    order: Order


class Ticked(Stamped):
    """Time has passed: about once a second."""

    kind: Literal["ticked"] = "ticked"


class HealthTaken(Stamped):
    """The agent has been measured."""

    kind: Literal["health_taken"] = "health_taken"
    memory_bytes: int
    """Resident."""
    threads: int
    descriptors: int
    disk_free_bytes: int
    """Where sessions are kept."""


class RecordingHeld(Stamped):
    """For a while nothing could be recorded; all that came meanwhile is recorded now."""

    kind: Literal["recording_held"] = "recording_held"
    held_s: float
    reason: Annotated[str, Field(max_length=2000)]


class CheckpointDue(Stamped):
    """It is time to tidy the journal."""

    kind: Literal["checkpoint_due"] = "checkpoint_due"


class SourceEnded(Stamped):
    """The instrument has ended its session: there will be no more frames of it."""

    kind: Literal["source_ended"] = "source_ended"
    reason: str
    is_aborted: bool


class SessionEnding(Stamped):
    """The last event of a session that ended in order; a journal without it was cut short."""

    kind: Literal["session_ending"] = "session_ending"
    reason: str
    is_aborted: bool
    wall_time: str


Event = Annotated[
    SessionOpened
    | SessionResumed
    | LinkMade
    | LinkLost
    | StateSeen
    | FrameSeen
    | FrameSpoiled
    | FramesDropped
    | FrameMapped
    | EvidenceWeighed
    | AnalysisFailed
    | AnalysisMoved
    | CommandEnded
    | OperatorSpoke
    | Ticked
    | HealthTaken
    | RecordingHeld
    | CheckpointDue
    | SourceEnded
    | SessionEnding,
    Field(discriminator="kind"),
]

#: Reads an event back from its JSON.
EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
