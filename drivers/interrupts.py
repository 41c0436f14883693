"""Being asked to stop, so that it is heard wherever it comes."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Time until a stop that was dropped is raised again [s]: what dropped it has long returned by then.
_AGAIN_S = 0.01


@contextmanager
def hearing_stops() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM as on Ctrl-C, and again if it was lost.

    Python drops what is raised while it destroys an object, and goes on.  A stop that is dropped so is
    raised again a little later, on systems that have a timer for it.  Only the main thread may enter.
    """
    has_timer = hasattr(signal, "setitimer")
    asking = [signal.SIGTERM, *([signal.SIGALRM] if has_timer else [])]
    earlier = [signal.signal(number, signal.default_int_handler) for number in asking]
    tell = sys.unraisablehook

    def hear(dropped: Any) -> None:
        if has_timer and issubclass(dropped.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            tell(dropped)

    sys.unraisablehook = hear
    try:
        yield
    finally:
        sys.unraisablehook = tell
        if has_timer:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in zip(asking, earlier, strict=True):
            signal.signal(number, handler)
