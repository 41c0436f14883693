"""An event on its way to `decide`, and what was decided on its way into the world."""

import asyncio
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from agent.actions import Action
from agent.events import Event
from agent.journal import JournalEntry
from agent.publish import PackedMap
from agent.state import State
from drivers.contract.maps import DefectMap


@dataclass
class Inbound:
    """An event on its way to `decide`, with the array beside it, and who waits for what it answers."""

    event: Event
    array: NDArray[Any] | None = None
    defect_map: DefectMap | None = None
    answer: "asyncio.Future[tuple[Action, ...]] | None" = None


@dataclass
class Step:
    """What was decided on an event, on its way to the disk and from there into the world."""

    entry: JournalEntry
    actions: tuple[Action, ...]
    defect_map: DefectMap | None
    state: State
    packed: PackedMap | None = None
    """The map as it will be sent; made while the step is written."""
