"""Requests to the instrument: what the agent asks for, why, and what became of it."""

from typing import Annotated, Literal

from pydantic import Field

from agent.frames import FrameRef
from drivers.contract.context import Message
from drivers.contract.instrument import Command

Status = Literal["proposed", "approved", "denied", "expired", "sent", "confirmed", "failed"]

#: A request in one of these has ended and moves nothing any more.
ENDED: tuple[Status, ...] = ("denied", "expired", "confirmed", "failed")


class Figure(Message):
    """One number of a request's reason."""

    name: str
    value: float
    unit: str


class Wish(Message):
    """What a policy would like: a command and the reason, in numbers and in a sentence."""

    command: Command
    reason: str
    figures: tuple[Figure, ...]


class Request(Message):
    """A wish with a life: proposed, approved or denied or expired, sent, confirmed or failed."""

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
    answered_by: Literal["operator", "rules"] | None = None
    outcome: Annotated[str, Field(max_length=2000)] = ""
    """How it ended, in words."""

    @property
    def is_open(self) -> bool:
        """Whether something may still become of it."""
        return self.status not in ENDED


def moved_to(
    request: Request,
    status: Status,
    outcome: str = "",
    answered_by: Literal["operator", "rules"] | None = None,
) -> Request:
    """Return the request in its next state."""
    return Request(
        id=request.id,
        wish=request.wish,
        frame=request.frame,
        proposed_s=request.proposed_s,
        expires_s=request.expires_s,
        needs_approval=request.needs_approval,
        status=status,
        answered_by=answered_by or request.answered_by,
        outcome=outcome[:2000],
    )
