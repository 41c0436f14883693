"""What the loop needs of its collaborators."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from agent.actions import WeighEvidence
from agent.assessment import Assessment
from agent.frames import FrameRef
from agent.journal import JournalEntry
from agent.settings import Rules
from drivers.contract.facts import Settled
from drivers.contract.header import FrameHeader
from drivers.contract.instrument import Capabilities, Command, CommandOutcome
from drivers.contract.maps import DefectMap


class Recorder(Protocol):
    """Where entries become durable; called from one thread at a time."""

    def append(self, entries: Sequence[JournalEntry]) -> None:
        """Record; returns when it is on disk."""

    def checkpoint(self) -> None:
        """Tidy up."""


class Instrument(Protocol):
    """The client of a bridge, as far as the loop needs it."""

    def arrivals(self) -> AsyncIterator[Any]:
        """Everything that comes from the bridge, and what becomes of the link."""

    def acknowledge(self, header: FrameHeader) -> None:
        """Say that every frame up to this one is safe."""

    async def execute(self, command: Command, *, id: str, timeout_s: float) -> CommandOutcome:
        """Have a command carried out; always ends."""


class Analysis(Protocol):
    """Makes maps of frames; the same frame, context and settings give the same map to the bit."""

    def prepare(self) -> None:
        """Set up the thread that `run` will be called in."""

    def run(self, pixels: NDArray[Any], settled: Settled, header: FrameHeader) -> DefectMap:
        """Make a map.

        Raises
        ------
        InputError
            If the frame cannot be read under this context.
        """


class Weigher(Protocol):
    """Keeps the evidence of a session; the same maps in the same order give the same assessments."""

    def hold(self, frame: FrameRef, defect_map: DefectMap, header: FrameHeader) -> None:
        """Keep a map until it is weighed or left out."""

    def leave_out(self, frame: FrameRef) -> None:
        """Forget a map."""

    def weigh(self, order: WeighEvidence, capabilities: Capabilities | None, rules: Rules) -> Assessment:
        """Enter a map that is held; called from one thread."""
