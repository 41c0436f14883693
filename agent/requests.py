"""Requests to the instrument: what the agent asks for, why, and what became of it."""

from typing import Annotated, Literal

from pydantic import Field

from agent.frames import FrameRef
from drivers.contract.context import Message
from drivers.contract.instrument import AcquireImage, Command

Status = Literal[
    "proposed", "approved", "denied", "expired", "sent", "confirmed", "failed", "scored", "unscored"
]

#: A request in one of these has ended and moves nothing any more; so has one that is confirmed, unless it
#: promised something that is still to be scored.
ENDED: tuple[Status, ...] = ("denied", "expired", "failed", "scored", "unscored")


class Figure(Message):
    """One number of a request's reason."""

    name: str
    value: float
    unit: str


class Concern(Message):
    """A column that a request is about."""

    row: int
    """Its place in the session's register."""
    x_nm: float
    y_nm: float
    """Where the stage would have to go to centre it, as last seen."""
    entropy_nats: float
    gain_nats: float
    """Expected, if the request is carried out."""


class Promise(Message):
    """What a request is expected to bring and to cost."""

    gain_nats: float
    """Over all columns that it scans, corrected by the score of promises made before."""
    plain_nats: float
    """The same before that correction."""
    columns: int
    """Columns that it is expected to tell a tenth of their entropy about, or more."""
    concerns: tuple[Concern, ...] = ()
    """The columns that it is expected to tell most about, the first first."""
    detectors: tuple[str, ...]
    energy_kev: float
    """What it scans with."""
    dose_e_per_a2: float
    electrons: float
    seconds: float
    """Settling and scanning."""


class Wish(Message):
    """What a policy would like: a command and the reason, in numbers and in a sentence."""

    command: Command
    then: AcquireImage | None = None
    """To be sent as soon as the command is confirmed: one approval for both."""
    reason: str
    figures: tuple[Figure, ...]
    promise: Promise | None = None

    @property
    def commands(self) -> tuple[Command, ...]:
        """All that is sent, in order."""
        return (self.command,) if self.then is None else (self.command, self.then)

    @property
    def acquire(self) -> AcquireImage | None:
        """What is scanned; None if it only switches."""
        return self.then or (self.command if isinstance(self.command, AcquireImage) else None)


class Request(Message):
    """A wish with a life: proposed; approved, denied or expired; sent; confirmed or failed; scored or not."""

    kind: Literal["request"] = "request"
    id: str
    """Names it in `columnist approve ID`."""
    wish: Wish
    frame: FrameRef | None
    """The frame whose map led to it."""
    proposed_s: float
    """On the agent's monotonic clock [s]."""
    expires_s: float
    needs_approval: bool
    status: Status = "proposed"
    done: int = 0
    """Of the wish's commands, those that are confirmed."""
    answered_by: Literal["operator", "rules"] | None = None
    outcome: Annotated[str, Field(max_length=2000)] = ""
    """How it ended, in words."""

    @property
    def is_open(self) -> bool:
        """Whether something may still become of it."""
        if self.status == "confirmed":
            return self.wish.promise is not None
        return self.status not in ENDED

    @property
    def was_withdrawn(self) -> bool:
        """Whether it was denied by the rules: nobody has judged it."""
        return self.status == "denied" and self.answered_by == "rules"

    @property
    def was_turned_down(self) -> bool:
        """Whether the operator has denied it."""
        return self.status == "denied" and self.answered_by != "rules"

    @property
    def command_name(self) -> str:
        """Name of its present command, as instrument and frames know it behind the session's name."""
        return self.id if self.done == 0 else f"{self.id}.{self.done + 1}"


class Repeat(Message):
    """What must not be asked for again yet: a request that was denied, expired, failed or brought nothing."""

    detectors: tuple[str, ...]
    energy_kev: float
    acquire: AcquireImage | None
    until_map: int
    """Maps of the session that must have been made."""
    dose_e_per_a2: float
    electrons: float
    is_unreadable: bool = False
    """Its frame told nothing: nor would one of no more dose and no more electrons."""


def request_of(command_name: str) -> str:
    """Name of the request that a command belongs to."""
    return command_name.partition(".")[0]


def moved_to(
    request: Request,
    status: Status,
    outcome: str = "",
    answered_by: Literal["operator", "rules"] | None = None,
    *,
    expires_s: float | None = None,
    done: int | None = None,
) -> Request:
    """Return the request in its next state."""
    return request.rebuilt(
        status=status,
        outcome=outcome[:2000],
        answered_by=answered_by or request.answered_by,
        expires_s=request.expires_s if expires_s is None else expires_s,
        done=request.done if done is None else done,
    )
