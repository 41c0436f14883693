"""The commands of a session: each carried out once, each with an end."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from drivers.confirm import refusal
from drivers.contract.instrument import Capabilities, CommandOutcome, CommandRequest
from drivers.contract.messages import Role

#: Commands whose outcomes are remembered.
REMEMBERED = 10_000

#: Commands that a session takes: the ids of all are kept, so that none is ever carried out again.
MOST_COMMANDS = 1_000_000

NextStep = CommandOutcome | Literal["hand on", "wait"]


@dataclass
class _Asked:
    """A command that was handed to the instrument, and everybody who wants to hear of its end."""

    request: CommandRequest
    deadline_s: float
    askers: set[bytes]
    outcome: CommandOutcome | None = None


class CommandBook:
    """Keeps a session's commands.

    Parameters
    ----------
    session : str
    capabilities : Capabilities
    grace_s : float
        How long past its time-out a command may go without an answer from the instrument.
    """

    def __init__(self, session: str, capabilities: Capabilities, grace_s: float) -> None:
        self._session = session
        self._capabilities = capabilities
        self._grace_s = grace_s
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._open: dict[str, _Asked] = {}
        self._ids: set[str] = set()

    def ask(self, asker: bytes, role: Role, request: CommandRequest, now_s: float) -> NextStep:
        """Say what to do with a request: hand it to the instrument, wait for it, or answer at once."""
        known = self._asked.get(request.id)
        reason = self._refusal(role, request, known)
        if reason:
            return CommandOutcome(id=request.id, status="refused", reason=reason[:2000])
        if known is None:
            asked = _Asked(request, now_s + request.timeout_s + self._grace_s, {asker})
            self._asked[request.id] = self._open[request.id] = asked
            self._ids.add(request.id)
            while len(self._asked) > REMEMBERED:
                self._asked.popitem(last=False)
            return "hand on"
        if known.outcome is not None:
            return known.outcome
        known.askers.add(asker)
        return "wait"

    def finish(self, outcome: CommandOutcome) -> set[bytes]:
        """Note the end of a command; returns who asked for it, nobody if it has had its end before."""
        asked = self._open.pop(outcome.id, None)
        if asked is None:
            return set()
        asked.outcome = outcome
        return asked.askers

    def deadlines_s(self) -> list[float]:
        """Return when the open commands have to be given up."""
        return [asked.deadline_s for asked in self._open.values()]

    def overdue(self, now_s: float) -> list[CommandRequest]:
        """Return the commands of which the instrument should have said the end by now."""
        return [asked.request for asked in self._open.values() if now_s >= asked.deadline_s]

    def _refusal(self, role: Role, request: CommandRequest, known: _Asked | None) -> str:
        """Say why a command is not handed on; empty if it is."""
        if role != "controller":
            return "a reader sends no commands; ask for control in the hello"
        if request.session != self._session:
            return f"the command is for the session {request.session}, this one is {self._session}"
        if known is not None:
            return "" if known.request.command == request.command else "another command had this id"
        if request.id in self._ids:
            return "a command of this id was carried out long ago; its outcome is no longer known"
        if len(self._ids) >= MOST_COMMANDS:
            return f"this session has had {MOST_COMMANDS} commands; restart the bridge"
        return refusal(request.command, self._capabilities)
