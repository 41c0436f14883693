"""From what comes over the wire to events."""

from agent.events import (
    Event,
    FramesDropped,
    FrameSeen,
    FrameSpoiled,
    LinkLost,
    LinkMade,
    SourceEnded,
    StateSeen,
)
from drivers.contract import messages
from drivers.contract.frame import Frame
from drivers.contract.instrument import InstrumentState


def event_of(content: object, at_s: float) -> Event | None:
    """Say what an arrival means; None for what `decide` need not know, such as a heartbeat.

    Parameters
    ----------
    content : object
        A frame or a message of the contract.
    at_s : float
        When it came, on the agent's monotonic clock [s].
    """
    match content:
        case Frame():
            return FrameSeen(at_s=at_s, header=content.header)
        case InstrumentState():
            return StateSeen(at_s=at_s, state=content)
        case messages.Rejected():
            return FrameSpoiled(at_s=at_s, rejected=content)
        case messages.Dropped():
            return FramesDropped(at_s=at_s, dropped=content)
        case messages.LinkUp():
            return LinkMade(at_s=at_s, link=content)
        case messages.LinkLost():
            return LinkLost(at_s=at_s, reason=content.reason)
        case messages.SessionEnded():
            return SourceEnded(at_s=at_s, reason=content.reason, is_aborted=content.is_aborted)
        case _:
            return None
