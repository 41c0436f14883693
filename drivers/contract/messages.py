"""The messages of the wire: what a bridge and its clients tell one another.

Every message has a `kind`, by which it is told from the others.  Numbers carry their unit in their name.
What an instrument does not know is None: gaps are for the reader to settle, never guessed here; what is
known must lie in its range.  `docs/wire.md` says which message travels when.  Those of a frame are in
`drivers.contract.header`, those of an instrument and its commands in `drivers.contract.instrument`.
"""

from typing import Annotated, Literal

from pydantic import Field

from drivers.contract.context import Message
from drivers.contract.header import WIRE_VERSION, WIRE_VERSIONS, FrameHeader
from drivers.contract.instrument import Capabilities, CommandOutcome, CommandRequest, InstrumentState
from drivers.contract.quantities import (
    MAX_FRAME_BYTES,
    Count,
    Identifier,
    Name,
    NotNegative,
    Positive,
    SequenceNumber,
    Text,
)

Role = Literal["controller", "reader"]


class Hello(Message):
    """A client asks to be let in (control socket)."""

    kind: Literal["hello"] = "hello"
    versions: Annotated[tuple[int, ...], Field(min_length=1, max_length=32)] = WIRE_VERSIONS
    """Versions of the wire that it speaks, best first."""
    client: Name
    role: Role = "controller"
    """A controller may send commands and paces the bridge; there is one at a time."""
    max_frame_bytes: Annotated[int, Field(gt=0, le=MAX_FRAME_BYTES)] = MAX_FRAME_BYTES
    replaces: Identifier | None = None
    """The token that the client had on a connection which it has given up: its control passes on."""


class Welcome(Message):
    """The answer to a `Hello` (control socket)."""

    kind: Literal["welcome"] = "welcome"
    version: int
    session: Identifier
    token: Identifier
    """Names the client in its messages on the data socket."""
    role: Role
    """The role that was granted: ``"reader"`` while another controller is there."""
    data_port: Annotated[int, Field(gt=0, lt=65536)]
    capabilities: Capabilities
    state: InstrumentState
    first_sequence: SequenceNumber
    """The oldest frame that the bridge still holds, or the next if it holds none."""
    next_sequence: SequenceNumber
    """The next frame to be taken."""
    heartbeat_s: Positive


class Unwelcome(Message):
    """The answer to a message that cannot be served, with what to do about it (control socket)."""

    kind: Literal["unwelcome"] = "unwelcome"
    reason: str = Field(max_length=2000)
    remedy: str = Field(max_length=2000)


class Resume(Message):
    """A client asks for every frame from a sequence number on (data socket)."""

    kind: Literal["resume"] = "resume"
    token: Identifier
    next_sequence: SequenceNumber
    credits: Annotated[int, Field(ge=1, le=1024)]
    """Frames that may be under way unacknowledged."""
    safe_sequence: SequenceNumber | None = None
    """Every frame below it is acknowledged; None is all below `next_sequence`."""
    number: Count = 0
    """Tells the answer to this request from those to earlier ones."""


class Resumed(Message):
    """The answer to `Resume`, ahead of the frames; what came before it on the data socket is out of date."""

    kind: Literal["resumed"] = "resumed"
    session: Identifier
    next_sequence: SequenceNumber
    """The first that will come: later than asked for if a `Dropped` says so."""
    number: Count = 0
    """That of the `Resume` which this answers."""


class Acknowledge(Message):
    """A client has every frame below `next_sequence` safe, which gives their credits back (data socket)."""

    kind: Literal["acknowledge"] = "acknowledge"
    token: Identifier
    next_sequence: SequenceNumber


class GetState(Message):
    """A client asks for the state, and shows that it lives (control socket)."""

    kind: Literal["get_state"] = "get_state"


class Goodbye(Message):
    """A client leaves, and gives control back (control socket)."""

    kind: Literal["goodbye"] = "goodbye"


class Heartbeat(Message):
    """The bridge lives (control socket); sent every `heartbeat_s`."""

    kind: Literal["heartbeat"] = "heartbeat"
    session: Identifier
    monotonic_s: float
    wall_time_unix_s: NotNegative
    first_sequence: SequenceNumber
    next_sequence: SequenceNumber
    dropped: Count = 0
    """Frames that the bridge has dropped in this session before a client had them."""
    waits_for_client: bool = False
    """The instrument is held up, for the bridge is full of frames that its client has not acknowledged."""
    instrument_error: Text = ""
    """What keeps the instrument from answering at present."""
    instrument_silent_s: NotNegative = 0.0
    """For how long the instrument's driver has been in one and the same call."""


class Dropped(Message):
    """Frames that a client will not get."""

    kind: Literal["dropped"] = "dropped"
    session: Identifier
    first_sequence: SequenceNumber
    last_sequence: SequenceNumber
    count: Count
    reason: Text


class Rejected(Message):
    """A frame or message that could not be used, and what whoever sent it can do about it."""

    kind: Literal["rejected"] = "rejected"
    session: Identifier | None = None
    sequence: SequenceNumber | None = None
    fault: Name
    """The error's name, for example ``"ChecksumError"``."""
    reason: str = Field(max_length=2000)
    remedy: str = Field(max_length=2000)
    raw_header: str = Field(default="", max_length=65536)
    """The header as it came, as far as it is text."""
    pixel_bytes: Count = 0
    """Bytes that came beside the header."""


class SessionStarted(Message):
    """A session is there: what is known at the start, before anything can be lost."""

    kind: Literal["session_started"] = "session_started"
    wire: int = WIRE_VERSION
    session: Identifier
    capabilities: Capabilities
    state: InstrumentState
    monotonic_s: float
    wall_time_unix_s: NotNegative


class SessionEnded(Message):
    """No frame of this session follows; a stream that stops without it was cut off."""

    kind: Literal["session_ended"] = "session_ended"
    session: Identifier
    next_sequence: SequenceNumber
    """One more than the last frame's, which is the number of frames."""
    is_aborted: bool
    reason: Text = ""


class LinkUp(Message):
    """A client is in touch with a bridge, for the first time or again."""

    kind: Literal["link_up"] = "link_up"
    session: Identifier
    role: Role
    capabilities: Capabilities
    state: InstrumentState
    next_sequence: SequenceNumber
    """The next frame that the client expects."""
    is_resumed: bool = False
    """The session is the one from before."""


class LinkLost(Message):
    """A client has not heard from its bridge for too long; it keeps trying."""

    kind: Literal["link_lost"] = "link_lost"
    session: Identifier | None = None
    reason: Text


WireMessage = Annotated[
    FrameHeader
    | Capabilities
    | InstrumentState
    | CommandRequest
    | CommandOutcome
    | Hello
    | Welcome
    | Unwelcome
    | Resume
    | Resumed
    | Acknowledge
    | GetState
    | Goodbye
    | Heartbeat
    | Dropped
    | Rejected
    | SessionStarted
    | SessionEnded
    | LinkUp
    | LinkLost,
    Field(discriminator="kind"),
]
