"""Keeps what goes on around the recording from ending it: a companion that fails is named and begun again."""

import asyncio
from collections.abc import Awaitable, Callable

#: Before a companion that failed is begun again [s]; longer each time, up to the last.
_PAUSES_S = (0.1, 1.0, 10.0, 60.0)

#: What failed, and why.
OnFailure = Callable[[str, str], None]


async def keep_going(
    name: str,
    companion: Callable[[], Awaitable[None]],
    on_failure: OnFailure,
    pauses_s: tuple[float, ...] = _PAUSES_S,
) -> None:
    """Run a companion until cancelled.

    Parameters
    ----------
    name : str
        For people.
    companion : callable
        Makes the task: a socket's server, the console, the scheduler.
    on_failure : callable
    pauses_s : tuple of float
        Waited after the first failure, the second, and so on.
    """
    failures = 0
    while True:
        try:
            await companion()
        except Exception as error:  # whatever it is: frames are recorded all the same
            on_failure(name, f"{type(error).__name__}: {error}"[:500])
            await asyncio.sleep(pauses_s[min(failures, len(pauses_s) - 1)])
            failures += 1
        else:
            return
