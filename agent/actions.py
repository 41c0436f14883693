"""What `decide` wants done; each is carried out by the loop, and its result comes back as an event."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from agent.assessment import Situation
from agent.frames import FrameRef
from agent.requests import Request
from agent.settings import Mode
from drivers.contract.context import Message
from drivers.contract.facts import Settled
from drivers.contract.instrument import Command


class AnalyseFrame(Message):
    """Make a map of a frame."""

    kind: Literal["analyse_frame"] = "analyse_frame"
    frame: FrameRef
    settled: Settled


class WeighEvidence(Message):
    """Enter a map into the evidence, and say what should be asked for next."""

    kind: Literal["weigh_evidence"] = "weigh_evidence"
    frame: FrameRef
    situation: Situation
    is_again: bool = False
    """The map is in it already: only choose anew."""


class LeaveOut(Message):
    """Do not enter a map into the evidence: newer ones had come."""

    kind: Literal["leave_out"] = "leave_out"
    frame: FrameRef


class PublishMap(Message):
    """Announce the map that has just been made."""

    kind: Literal["publish_map"] = "publish_map"
    frame: FrameRef


class RejectFrame(Message):
    """Announce that a frame will not be analysed, why, and what would mend it."""

    kind: Literal["reject_frame"] = "reject_frame"
    frame: FrameRef | None
    reason: str
    remedy: str
    is_quarantined: bool = False
    """The pixels are sound and recorded; it is the context that is in doubt."""


class SkipFrame(Message):
    """Announce that a sound frame was left out because newer ones had come."""

    kind: Literal["skip_frame"] = "skip_frame"
    frame: FrameRef
    reason: str


class AnnounceRequest(Message):
    """Announce a request as it now stands."""

    kind: Literal["announce_request"] = "announce_request"
    request: Request


class SendCommand(Message):
    """Have the instrument do something; its end comes back as `CommandEnded`."""

    kind: Literal["send_command"] = "send_command"
    request: str
    command: Command
    timeout_s: float


class Notice(Message):
    """Tell whoever listens."""

    kind: Literal["notice"] = "notice"
    level: Literal["info", "warning", "error"]
    text: str
    remedy: str = ""


class AnnounceMode(Message):
    """Announce how much the agent may do from now on."""

    kind: Literal["announce_mode"] = "announce_mode"
    mode: Mode


class CheckpointJournal(Message):
    """Tidy the journal."""

    kind: Literal["checkpoint_journal"] = "checkpoint_journal"


class FinishSession(Message):
    """End the session in order."""

    kind: Literal["finish_session"] = "finish_session"
    reason: str
    is_aborted: bool


Action = Annotated[
    AnalyseFrame
    | WeighEvidence
    | LeaveOut
    | PublishMap
    | RejectFrame
    | SkipFrame
    | AnnounceRequest
    | SendCommand
    | Notice
    | AnnounceMode
    | CheckpointJournal
    | FinishSession,
    Field(discriminator="kind"),
]

#: Reads an action back from its JSON.
ACTIONS: TypeAdapter[Action] = TypeAdapter(Action)
