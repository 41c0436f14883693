"""Finds a session that was cut short, and takes it up where its journal ends."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from agent.decide import decide
from agent.events import SessionEnding, SessionOpened, SessionResumed
from agent.journal import Journal
from agent.recording import Recording
from agent.sessions import find_sessions
from agent.settings import Settings, rules_of
from agent.state import State
from agent.state_file import read_state
from drivers.contract.errors import InputError
from drivers.session_layout import event_tree
from drivers.session_reader import SessionReader
from drivers.watch import Before


@dataclass(frozen=True)
class Recovered:
    """A session that goes on: its open journal, what the agent knew at its end, and what to begin with."""

    folder: Path
    journal: Journal
    state: State
    opened: SessionOpened
    event: SessionResumed
    notes: tuple[str, ...]

    @property
    def resume_at(self) -> tuple[str, int] | None:
        """Session of the bridge and number of the frame that comes next; None if none ever came."""
        if self.state.bridge_session is None or self.state.next_sequence is None:
            return None
        return self.state.bridge_session, self.state.next_sequence


def find_cut_short(folder: Path) -> Path | None:
    """Return the newest session of a folder if it has no end; None if it has, or there is none."""
    sessions = find_sessions(folder) if folder.is_dir() else []
    if not sessions:
        return None
    with SessionReader(sessions[-1]) as reader:
        ends = reader.ends()
    has_ended = ends is not None and ends[1].get("kind") == SessionEnding.model_fields["kind"].default
    return None if has_ended else sessions[-1]


def recover(folder: Path, settings: Settings, *, is_ours: bool) -> Recovered:
    """Open the journal of a session that was cut short, and think through what it holds.

    Parameters
    ----------
    folder : Path
    settings : Settings
        Must say the same as at the session's beginning, as far as decisions and maps rest on them.
    is_ours : bool
        Whether the session is to end with its source.

    Raises
    ------
    InputError
        If the session is damaged, has ended, is being recorded, or is one of other settings or of another
        version; the message says which, and that a new one has to be begun.
    """
    journal, repair = Journal.reopen(folder)
    try:
        state, opened = _think_through(folder)
        reason = _objection(opened, settings, is_ours)
        if reason:
            raise InputError(f"{folder}: {reason}; begin a new session")
    except BaseException:
        journal.close()
        raise
    event = SessionResumed(
        at_s=time.monotonic(),
        session=opened.session,
        wall_time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        position=journal.next_position,
        bytes_cut=repair.bytes_cut,
    )
    return Recovered(folder, journal, state, opened, event, repair.notes)


def folder_read(recovered: Recovered, source: str) -> Before | None:
    """Say how far a session had read the folder that it watched; None if its source was another one."""
    if recovered.opened.source != source:
        return None
    began_s = datetime.fromisoformat(recovered.opened.wall_time).timestamp()
    with SessionReader(recovered.folder) as reader:
        events = [event_tree(row.event) for row in reader.rows() if '"frame_seen"' in row.event]
    headers = [event["header"] for event in events if event["kind"] == "frame_seen"]
    return Before(began_s, {header["source"] or "": header["wall_time_unix_s"] for header in headers})


def _think_through(folder: Path) -> tuple[State, SessionOpened]:
    """Return what the agent knew at the end of a journal, and the journal's first event."""
    kept = read_state(folder)
    state, start = (kept.state, kept.position + 1) if kept else (State(), 0)
    with Recording(folder) as recording:
        first = next(recording.entries(1), None)
        if first is None or not isinstance(first.event, SessionOpened):
            raise InputError(f"{folder}: the session was cut short before its first entry; begin a new one")
        for entry in recording.entries(start=start):
            if isinstance(entry.event, SessionEnding):
                raise InputError(f"{folder}: the session has ended; begin a new session")
            state, _ = decide(state, entry.event)
    return state, first.event


def _objection(opened: SessionOpened, settings: Settings, is_ours: bool) -> str:
    """Say why a session cannot go on under these settings; empty if it can."""
    if opened.version != version("columnist"):
        return f"it is of columnist {opened.version}, this is {version('columnist')}"
    if opened.rules != rules_of(settings, end_with_source=is_ours):
        return "the settings that decisions rest on have changed since it began"
    if opened.analysis != settings.analysis:
        return "the settings of the analysis have changed since it began"
    return ""
