"""Writes what a session found: a table and a NeXus file a map, its course, and one HTML page."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.actions import AnnounceRequest, Notice, RejectFrame
from agent.events import AnalysisFailed, FrameMapped, SessionEnding, SessionOpened
from agent.recording import MappedFrame, RecordedEntry, Recording
from agent.results.course import CoursePoint, course_csv, course_png
from agent.results.flagged import flagged_maps
from agent.results.names import ENDINGS, SUMMARY, check_results_of, own_others
from agent.results.nexus import nexus_bytes
from agent.results.pictures import overlay_png, patches_png
from agent.results.report import Failure, ReportImage, SessionStory, report_html
from agent.results.tables import csv_text
from agent.results.writing import write_all
from drivers.session_layout import DamagedSessionError
from models.mean_patches import mean_patches

#: Rejections and lines of the story that the report shows, at most.
_MOST_LINES = 200


@dataclass
class _Story:
    """What the report and the summary tell of a session besides its maps."""

    opened: SessionOpened | None = None
    ending: SessionEnding | None = None
    counts: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    points: list[CoursePoint] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    lost: int = 0

    def take(self, entry: RecordedEntry) -> None:
        """Take one entry into account."""
        event = entry.event
        self.counts[event.kind] += 1
        self.actions.update(action.kind for action in entry.actions)
        if isinstance(event, SessionOpened):
            self.opened = event
        elif isinstance(event, SessionEnding):
            self.ending = event
            self._tell(event.at_s, f"session ended: {event.reason}")
        elif isinstance(event, FrameMapped):
            frame = event.frame
            self.points.append(CoursePoint(frame.session, frame.sequence, event.at_s, event.header))
        elif isinstance(event, AnalysisFailed):
            self.failures.append(Failure(str(event.frame), event.reason))
        for action in entry.actions:
            if isinstance(action, RejectFrame):
                self.failures.append(Failure(str(action.frame or "a message"), action.reason))
            elif isinstance(action, AnnounceRequest):
                request = action.request
                why = request.outcome or (request.wish.reason if request.status == "proposed" else "")
                self._tell(event.at_s, f"request {request.id} {request.status}" + (f": {why}" if why else ""))
            elif isinstance(action, Notice):
                self._tell(event.at_s, action.text)

    def _tell(self, at_s: float, text: str) -> None:
        began_s = self.opened.at_s if self.opened else 0.0
        self.lines.append((f"{at_s - began_s:.1f} s", text))

    def lose(self, lost: Sequence[Exception]) -> None:
        """Take maps into account that are damaged."""
        self.lost = len(lost)
        self.failures += [Failure("a map", str(error)) for error in lost]

    def summary(self, name: str) -> dict[str, Any]:
        """Return the figures of the session as plain types."""
        opened, ending = self.opened, self.ending
        return {
            "session": name,
            "source": opened.source if opened else None,
            "began": opened.wall_time if opened else None,
            "ended": ending.wall_time if ending else None,
            "how": ending.reason if ending else "cut short",
            "is_aborted": ending.is_aborted if ending else True,
            "frames": self.counts["frame_seen"],
            "maps": self.counts["frame_mapped"],
            "maps_lost": self.lost,
            "columns": sum(point.header.columns for point in self.points),
            "rejected": self.actions["reject_frame"],
            "skipped": self.actions["skip_frame"],
            "commands_sent": self.actions["send_command"],
            "flags": {row.kind: row.maps for row in flagged_maps(self.points)},
        }


def export(
    recording: Recording,
    out: Path,
    *,
    stop: int | None = None,
    skip_lost: bool = False,
    pictures: int = 8,
    on_map: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write every map of a session, and what is of the whole of it.

    Parameters
    ----------
    recording : Recording
    out : Path
        Made if it does not exist.
    stop : int, optional
        Leave out what lies at this position and after.
    skip_lost : bool
        Name maps whose frame or columns are damaged in the report, instead of raising.
    pictures : int
        How many maps, evenly spread over the session, get pictures and a place in the report.
    on_map : callable
        Is told how many maps are written, and how many there are.

    Returns
    -------
    dict
        The summary, and under ``"files"`` the paths of what is of the whole session.

    Raises
    ------
    InputError
        If the folder holds results of anything else.
    DamagedSessionError
        If the session is damaged before `stop`, beyond what `skip_lost` allows.
    OSError
        If the results cannot be written.
    """
    check_results_of(out, recording.name)
    out.mkdir(parents=True, exist_ok=True)
    story = _read_story(recording, stop)
    total = len(story.points)
    pictured = _spread(total, pictures)
    images: list[ReportImage] = []
    taken: Counter[str] = Counter()
    lost: list[DamagedSessionError] = []
    for number, mapped in enumerate(recording.maps(stop, on_lost=lost.append if skip_lost else None)):
        shown, _ = _export_map(mapped, out, _stem(mapped, taken), with_pictures=number in pictured)
        images += shown
        on_map(number + 1, total)
    story.lose(lost)
    summary, files = _export_course(recording.name, story, images, out)
    return summary | {"files": {kind: str(path) for kind, path in files.items()}}


def write_results(folder: Path, out: Path | None = None) -> dict[str, Path]:
    """Write the newest map of each detector, and what is of the whole session.

    Parameters
    ----------
    folder : Path
        The session's.
    out : Path, optional
        By default ``results`` in the session's folder.

    Returns
    -------
    dict
        What was written: ``"report"``, ``"summary"``, ``"course"``, and ``"csv"``, ``"nexus"``,
        ``"overlay"`` and ``"patches"`` of the newest map, if there is one.

    Raises
    ------
    DamagedSessionError, OSError
        As `export`.
    """
    out = out or folder / "results"
    out.mkdir(parents=True, exist_ok=True)
    with Recording(folder) as recording:
        story = _read_story(recording, None)
        detectors = [point.header.settled.context.detector.name for point in story.points]
        newest = {name: number for number, name in enumerate(detectors)}
        images: list[ReportImage] = []
        written: dict[str, Path] = {}
        taken: Counter[str] = Counter()
        for mapped in recording.maps(is_wanted=lambda number: number in newest.values()):
            shown, written = _export_map(mapped, out, _stem(mapped, taken), with_pictures=True)
            images += shown
        _, files = _export_course(recording.name, story, images, out)
    return written | files


def _read_story(recording: Recording, stop: int | None) -> _Story:
    story = _Story()
    for entry in recording.entries(stop):
        story.take(entry)
    return story


def _export_map(
    mapped: MappedFrame, out: Path, stem: str, *, with_pictures: bool
) -> tuple[list[ReportImage], dict[str, Path]]:
    """Write one map; returns what the report shows of it, if it is to show it, and what was written."""
    defect_map, pixels = mapped.defect_map, mapped.pixels
    contents = {"csv": csv_text(defect_map).encode(), "nexus": nexus_bytes(defect_map, pixels)}
    shown: list[ReportImage] = []
    if with_pictures:
        file = defect_map.header.frame.file
        name = f"frame {mapped.header.sequence} of {mapped.header.session}" + (f" ({file})" if file else "")
        patches, counts = mean_patches(pixels, defect_map)
        contents["overlay"] = overlay_png(defect_map, pixels, name)
        contents["patches"] = patches_png(patches, counts, defect_map.header)
        shown.append(ReportImage(name, defect_map.header, contents["overlay"], contents["patches"]))
    named = {kind: (stem + ENDINGS[kind], content) for kind, content in contents.items()}
    return shown, write_all(out, named, stale=own_others(out, stem, contents))


def _export_course(
    name: str, story: _Story, images: list[ReportImage], out: Path
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Write what is of the whole session; returns its summary and the paths."""
    summary = story.summary(name)
    course = course_png(story.points) if story.points else None
    rows = tuple((key.replace("_", " "), _shown(value)) for key, value in summary.items())
    told = SessionStory(rows, tuple(story.lines[-_MOST_LINES:]), flagged_maps(story.points), course)
    page = report_html(f"session {name}", images, story.failures[:_MOST_LINES], told)
    files = {
        "report": ("report.html", page.encode()),
        "course": ("maps.csv", course_csv(story.points).encode()),
        "summary": (SUMMARY, (json.dumps(summary, indent=1) + "\n").encode()),
    }
    return summary, write_all(out, files)


def _shown(value: object) -> str:
    """A figure of the summary, for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    return "-" if value is None else str(value)


def _spread(total: int, most: int) -> set[int]:
    """Choose `most` numbers below `total`, evenly, the first and the last among them."""
    if total <= most:
        return set(range(total))
    return {round(step * (total - 1) / max(most - 1, 1)) for step in range(most)}


def _stem(mapped: MappedFrame, taken: Counter[str]) -> str:
    """Name a map's files by the frame's number, with another number if the instrument began anew."""
    stem = f"frame_{mapped.header.sequence:06d}"
    taken[stem] += 1
    return stem if taken[stem] == 1 else f"{stem}_{taken[stem]}"
