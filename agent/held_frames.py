"""The frames that the agent holds: they are bounded, and beyond that the instrument waits (back-pressure)."""

import asyncio

from agent.frames import FrameRef
from agent.herald import Timing
from drivers.contract.frame import Frame

#: Frames that are held at most, being analysed, waiting, or not on disk yet; then the instrument waits.
FRAMES_HELD = 8

#: Frames that are taken in at most while one is analysed; then the instrument waits, or its bridge drops
#: frames and says so.  Without a bound, an instrument of hundreds of frames a second keeps the interpreter so
#: busy with recording that the analysis hardly advances (docs/decisions/0046-what-comes-in-meanwhile.md).
FRAMES_MEANWHILE = 32


class HeldFrames:
    """Frames by their numbers, from when they come in until nothing is to be done with them any more."""

    def __init__(self) -> None:
        self.frames: dict[FrameRef, Frame] = {}
        self.timings: dict[FrameRef, Timing] = {}
        """Until their analysis begins."""
        self.unrecorded = 0
        self.meanwhile: int | None = None
        """Taken in since the analysis under way began."""
        self._room = asyncio.Condition()

    async def take(self, ref: FrameRef, frame: Frame, timing: Timing) -> None:
        """Hold a frame once there is room for it; one that is sent twice keeps its first."""
        async with self._room:
            await self._room.wait_for(self._has_room)
        if self.meanwhile is not None:
            self.meanwhile += 1
        self.frames.setdefault(ref, frame)
        self.timings.setdefault(ref, timing)
        self.unrecorded += 1

    def begin_analysis(self, ref: FrameRef) -> tuple[Frame, Timing]:
        """Count from now on what comes in meanwhile."""
        self.meanwhile = 0
        return self.frames[ref], self.timings.pop(ref)

    async def end_analysis(self) -> None:
        """Let in again what had to wait for the analysis."""
        self.meanwhile = None
        await self._tell()

    async def note_recorded(self) -> None:
        """Note that one more frame is on disk."""
        self.unrecorded -= 1
        await self._tell()

    async def let_go(self, ref: FrameRef) -> None:
        """Forget a frame."""
        self.frames.pop(ref, None)
        self.timings.pop(ref, None)
        await self._tell()

    def _has_room(self) -> bool:
        is_held = max(len(self.frames), self.unrecorded) >= FRAMES_HELD
        return not is_held and (self.meanwhile is None or self.meanwhile < FRAMES_MEANWHILE)

    async def _tell(self) -> None:
        async with self._room:
            self._room.notify_all()
