"""A client's commands on their way: each has an end, and is asked for again after what may have lost it."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from drivers.contract.instrument import CommandOutcome, CommandRequest

#: How long [s] past a command's own time-out its outcome is waited for.
GRACE_S = 3.0


@dataclass(frozen=True)
class _Awaited:
    """A command that was asked for, and who waits for its end."""

    request: CommandRequest
    outcome: "asyncio.Future[CommandOutcome]"


class AwaitedCommands:
    """The commands whose outcomes are waited for; a bridge carries each id out once, however often asked.

    Parameters
    ----------
    send : callable
        Sends a request, if there is a link.
    """

    def __init__(self, send: Callable[[CommandRequest], None]) -> None:
        self._send = send
        self._awaited: dict[str, _Awaited] = {}

    async def outcome_of(self, request: CommandRequest) -> CommandOutcome | None:
        """Have a command carried out, and wait for the end of it; None if no answer comes."""
        future = asyncio.get_running_loop().create_future()
        awaited = self._awaited.setdefault(request.id, _Awaited(request, future))
        try:
            for wait_s in (request.timeout_s + GRACE_S / 2, GRACE_S / 2):  # the answer may have been lost
                self._send(request)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        return await asyncio.shield(awaited.outcome)
            return None
        finally:
            self._awaited.pop(request.id, None)

    def ask_again(self) -> None:
        """Send what has no outcome yet once more: something was lost, and it may have been one of these."""
        for awaited in self._awaited.values():
            if not awaited.outcome.done():
                self._send(awaited.request)

    def finish(self, outcome: CommandOutcome) -> None:
        """Tell who waits for it."""
        awaited = self._awaited.get(outcome.id)
        if awaited is not None and not awaited.outcome.done():
            awaited.outcome.set_result(outcome)

    def cut_off(self, end: Callable[[str], CommandOutcome]) -> None:
        """Give all of them an end: the session that they were for is over."""
        for key in self._awaited:
            self.finish(end(key))
