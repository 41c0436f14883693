"""Tells the world what has been recorded: publishes, logs, and keeps what the console shows."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from agent.actions import Action, AnnounceMode, AnnounceRequest, Notice, RejectFrame, SkipFrame
from agent.events import (
    Event,
    EvidenceWeighed,
    FrameMapped,
    FrameSeen,
    HealthTaken,
    SessionEnding,
    SessionOpened,
    SessionResumed,
    Ticked,
)
from agent.journal import JournalEntry
from agent.publish import PackedMap, Publisher, pack_map
from agent.snapshot import Snapshot
from agent.state import State
from drivers.contract.frame import Frame
from drivers.contract.maps import DefectMap, MapHeader

#: Lines and maps that the console can look back on.
_LINES, _MAPS = 50, 200


@dataclass
class Timing:
    """When a frame passed each stage, on the agent's monotonic clock [s]; `acquired_s` on the bridge's."""

    acquired_s: float
    received_s: float
    begun_s: float = 0.0
    analysed_s: float = 0.0
    recorded_s: float = 0.0

    def latency_s(self, published_s: float) -> dict[str, float]:
        """Seconds by stage; overhead is all that is not the analysis."""
        analysis_s = self.analysed_s - self.begun_s
        return {
            "queue": self.begun_s - self.received_s,
            "analysis": analysis_s,
            "recording": self.recorded_s - self.analysed_s,
            "publishing": published_s - self.recorded_s,
            "overhead": published_s - self.received_s - analysis_s,
            "total": published_s - self.received_s,
        }


class Documents(Protocol):
    """Makes documents of another format of what is recorded."""

    def feed(self, entry: JournalEntry) -> list[tuple[str, dict[str, object]]]:
        """Return the documents that an entry gives, by name."""


@dataclass
class Herald:
    """The voice of a session.

    Parameters
    ----------
    publisher : Publisher
    log : logger
        Takes one line an event.
    clock : callable
        Monotonic [s].
    documents : Documents or None
        For a second format.
    """

    publisher: Publisher
    log: FilteringBoundLogger
    clock: Callable[[], float]
    documents: Documents | None = None
    opened: SessionOpened | None = None
    frame: Frame | None = None
    defect_map: DefectMap | None = None
    evidence: EvidenceWeighed | None = None
    latency_s: dict[str, float] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    lines_made: int = 0
    entropies: deque[float] = field(default_factory=lambda: deque(maxlen=_MAPS))
    flagged: dict[str, frozenset[str]] = field(default_factory=dict)
    """Kinds of flags that the last map had, by detector."""
    health: HealthTaken | None = None
    ticked_s: float | None = None
    """When the last tick was recorded [s]: what records no ticks records nothing."""
    published_s: deque[float] = field(default_factory=lambda: deque(maxlen=10))

    def note(self, event: Event, actions: tuple[Action, ...]) -> None:
        """Write the log line of an event."""
        about: dict[str, Any] = {"at_s": round(event.at_s, 4)}
        if isinstance(event, FrameSeen):
            about["frame"] = event.header.sequence
        elif isinstance(event, FrameMapped):
            about |= {"frame": event.frame.sequence, "analysis_ms": round(1e3 * event.analysis_s, 1)}
        if actions:
            about["actions"] = [action.kind for action in actions]
        if isinstance(event, Ticked) and not actions:
            self.log.debug(event.kind, **about)
        else:
            self.log.info(event.kind, **about)

    def prepare(
        self, entry: JournalEntry, actions: tuple[Action, ...], defect_map: DefectMap | None
    ) -> PackedMap | None:
        """Do what need not wait until a step is recorded: log it, and pack its map."""
        event: Any = entry.event
        self.note(event, actions)
        return None if defect_map is None else pack_map(defect_map)

    def publish_map(
        self, defect_map: DefectMap, packed: PackedMap, frame: Frame | None, timing: Timing
    ) -> None:
        """Publish a map with its latency by stage."""
        now_s = self.clock()
        self.latency_s = timing.latency_s(now_s)
        times_s = {**vars(timing), "published_s": now_s}
        self.publisher.publish_map(packed, latency_s=self.latency_s, times_s=times_s)
        self.frame, self.defect_map = frame, defect_map
        self.entropies.append(defect_map.header.mean_entropy_nats)
        self.published_s.append(now_s)
        self._note_flags(defect_map.header)

    def tell(self, entry: JournalEntry, actions: tuple[Action, ...], state: State) -> None:
        """Publish what an event brought and what was decided on it."""
        event: Any = entry.event
        match event:
            case SessionOpened():
                self.opened = event
                self.publisher.publish("session", event)
            case SessionResumed():
                self.publisher.publish("session", event)
            case SessionEnding():
                self.publisher.publish("session", event)
                self._line(f"session ended: {event.reason}")
            case HealthTaken():
                self.health = event
                self.publisher.publish("health", event)
            case Ticked():
                self.ticked_s = self.clock()
                self.publisher.publish("heartbeat", self.summary(state))
            case EvidenceWeighed():
                self.publisher.publish("evidence", event)
                self.evidence = event
        for action in actions:
            self._tell(action)
        for name, document in self.documents.feed(entry) if self.documents else ():
            self.publisher.publish(f"doc/{name}", document)

    def warn(self, text: str, remedy: str) -> None:
        """Say at once what cannot be recorded: of trouble with the recording, or around it."""
        self.log.error("trouble", text=text, remedy=remedy)
        self._tell(Notice(level="error", text=text, remedy=remedy))

    def summary(self, state: State) -> dict[str, Any]:
        """What every heartbeat says."""
        return {
            "kind": "heartbeat",
            "mode": state.mode,
            "link": state.link,
            "frames": vars(state.counts),
            "fps": self.fps(),
            "latency_s": self.latency_s,
        }

    def fps(self) -> float:
        """Maps a second over the last ten."""
        span_s = self.published_s[-1] - self.published_s[0] if len(self.published_s) > 1 else 0.0
        return (len(self.published_s) - 1) / span_s if span_s > 0 else 0.0

    def look(self, state: State) -> Snapshot:
        """Everything that a console shows."""
        began_s = self.opened.at_s if self.opened else self.clock()
        return Snapshot(
            session=state.session,
            source=self.opened.source if self.opened else "",
            mode=state.mode,
            link=state.link,
            uptime_s=self.clock() - began_s,
            frame=self.frame.header if self.frame else None,
            pixels=self.frame.pixels if self.frame else None,
            defect_map=self.defect_map,
            counts=state.counts,
            fps=self.fps(),
            latency_s=self.latency_s,
            entropy_history=tuple(self.entropies),
            requests=state.requests,
            log=tuple(self.lines),
            lines_before=self.lines_made - len(self.lines),
            evidence=self.evidence.assessment if self.evidence else None,
        )

    def _tell(self, action: Action) -> None:
        """Publish one action and keep a line of it."""
        match action:
            case RejectFrame():
                self.publisher.publish("rejection", action)
                name = f"frame {action.frame.sequence}" if action.frame else "a message"
                verb = "quarantined" if action.is_quarantined else "rejected"
                self._line(f"{name} {verb}: {action.reason}; {action.remedy}")
            case SkipFrame():
                self.publisher.publish("skip", action)
            case AnnounceRequest():
                request = action.request
                self.publisher.publish("request", request)
                end = f": {request.outcome}" if request.outcome else ""
                why = f": {request.wish.reason}" if request.status == "proposed" else ""
                self._line(f"request {request.id} {request.status}{why}{end}")
            case Notice():
                self.publisher.publish("notice", action)
                self._line(f"{action.text}; {action.remedy}" if action.remedy else action.text)
            case AnnounceMode():
                self.publisher.publish("mode", action)
                self._line(f"mode is {action.mode}")
            case _:
                pass

    def _note_flags(self, header: MapHeader) -> None:
        """Keep a line of every flag that the detector's map before did not have."""
        detector = header.settled.context.detector.name
        before = self.flagged.get(detector, frozenset())
        for flag in header.flags:
            if flag.kind not in before:
                self._line(f"frame {header.frame.sequence}, {detector}: {flag.kind}: {flag.message}")
        self.flagged[detector] = frozenset(flag.kind for flag in header.flags)

    def _line(self, text: str) -> None:
        """Keep a line for the console."""
        self.lines_made += 1
        self.lines.append(f"{datetime.now():%H:%M:%S} {text}")
