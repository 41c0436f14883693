"""What the console shows: everything at one moment, read-only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from agent.assessment import Assessment
from agent.requests import Request
from agent.settings import Mode
from agent.state import Counts, Link
from drivers.contract.header import FrameHeader
from drivers.contract.maps import DefectMap


@dataclass(frozen=True)
class Snapshot:
    """One moment of a session.

    Parameters
    ----------
    frame, pixels, defect_map
        The newest frame that was mapped, and its map; None before the first.
    fps : float
        Maps a second over the last ten.
    latency_s : mapping
        By stage, of the newest map [s].
    entropy_history : tuple of float
        Mean entropy of the last maps, newest last [nats].
    requests : tuple of Request
        Newest last; those with status "proposed" wait for an answer.
    log : tuple of str
        The last lines, plain text.
    evidence : Assessment or None
        What the newest map added, where rules rest on evidence.
    lines_before : int
        Lines of the log that came before these.
    """

    session: str
    source: str
    mode: Mode
    link: Link
    uptime_s: float
    frame: FrameHeader | None
    pixels: NDArray[Any] | None
    defect_map: DefectMap | None
    counts: Counts
    fps: float
    latency_s: Mapping[str, float]
    entropy_history: tuple[float, ...]
    requests: tuple[Request, ...]
    log: tuple[str, ...]
    lines_before: int = 0
    evidence: Assessment | None = None
