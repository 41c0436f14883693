"""A folder that another program writes micrographs into, as an instrument: each file becomes a frame."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.contract.errors import CommandRefusedError, InputError, shown
from drivers.contract.facts import Facts
from drivers.contract.instrument import Capabilities, Command, InstrumentState
from drivers.files import SUFFIXES
from drivers.folder import frames_of_file
from drivers.frame_facts import wire_pixels
from drivers.microscope import Exposure
from drivers.own_results import is_own
from drivers.recording import Held

#: For how long [s] a file's size and time must not have changed before it counts as complete.
STABLE_S = 1.0

#: Wait [s] between two looks at the folder.
LOOK_S = 0.2

#: Endings of names that programs give to files which they have not finished.
UNFINISHED = (".tmp", ".part", ".partial", "~")


@dataclass(frozen=True)
class Before:
    """How far a folder had been read when its watcher was cut short.

    Parameters
    ----------
    began_unix_s : float
        When it began: files that have not changed since were there before.
    read_unix_s : mapping of str to float
        When images of it were handed over last, by the `source` of their frames.
    """

    began_unix_s: float
    read_unix_s: Mapping[str, float]

    def missed(self, folder: Path, names: Iterable[str], *, since_unix_s: float) -> set[str]:
        """Return the files that came, or changed, after a time and after they were read last."""
        read_s: dict[str, float] = {}
        for source, when_s in self.read_unix_s.items():
            file, _, label = source.rpartition(" ")  # a label holds no space; a file's name may
            for name in {source, file} if label else {source}:
                read_s[name] = max(when_s, read_s.get(name, when_s))
        found = set()
        for name in names:
            try:
                changed_s = (folder / name).stat().st_ctime
            except OSError:
                continue  # gone meanwhile
            if changed_s > max(since_unix_s, read_s.get(shown(name), since_unix_s)):
                found.add(name)
        return found

    def newest_series(self) -> str:
        """Return the file of several images one of which was handed over last: others may be left."""
        newest = max(self.read_unix_s, key=self.read_unix_s.__getitem__, default="")
        return newest.rpartition(" ")[0]


@dataclass
class _Seen:
    """How a file looked, and since when it has looked so."""

    size: int
    mtime_ns: int
    since_s: float


class WatchMicroscope:
    """Hands over every new file of a folder once it is complete; implements `Microscope`.

    A file is complete when its size and time of change have stayed the same for a while; names that look
    unfinished are left alone until they are renamed.  A file that changes afterwards, or comes back after it
    was moved away, is handed over again.  What cannot be read is announced, once, be it a file or a frame of
    a series.  Pictures and maps that we wrote, and formats that are folders (.zspy), are not watched for.

    Parameters
    ----------
    folder : Path
    given : Facts, optional
        What the operator knows of every frame; counts more than what files say.
    takes_present : bool
        Also hand over the files that are there at the start.
    before : Before, optional
        How far the folder had been read before a restart: what came since is handed over, too, and what had
        been is not, though it be there at the start.
    stable_s : float
    clock, wait : callable
        Monotonic seconds, and a wait of some seconds.

    Raises
    ------
    InputError
        If the folder is none.
    """

    def __init__(
        self,
        folder: Path,
        given: Facts | None = None,
        *,
        takes_present: bool = False,
        before: Before | None = None,
        stable_s: float = STABLE_S,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Any] = time.sleep,
    ) -> None:
        if not folder.is_dir():
            raise InputError(
                f"{folder}: expected a folder to watch, found {'a file' if folder.exists() else 'nothing'}"
            )
        self._folder = folder
        self._given = given or Facts()
        self._stable_s = stable_s
        self._clock = clock
        self._wait = wait
        self._pending: dict[str, _Seen] = {}
        self._done: dict[str, tuple[int, int]] = {}
        self._ready: deque[Held] = deque()
        self._unusable: deque[str] = deque()
        self._read_before: Container[str] = before.read_unix_s if before is not None else ()
        self._in_part: dict[str, tuple[int, int]] = {}
        if before is not None:
            since_s = -math.inf if takes_present else before.began_unix_s
            looks, series = dict(self._look()), before.newest_series()
            missed = before.missed(folder, looks, since_unix_s=since_s)
            read = {name: look for name, look in looks.items() if name not in missed}
            self._in_part = {name: look for name, look in read.items() if shown(name) == series}
            self._done = {name: look for name, look in read.items() if name not in self._in_part}
        elif not takes_present:
            self._done = dict(self._look())

    def capabilities(self) -> Capabilities:
        """It cannot be told anything."""
        return Capabilities(instrument=f"watched folder {shown(self._folder.resolve().name)}"[:100])

    def state(self) -> InstrumentState:
        """Tell nothing of the instrument that writes the files: each speaks for itself alone."""
        return InstrumentState(monotonic_s=self._clock(), is_scanning=True)

    def take_frame(self, timeout_s: float) -> Exposure | None:
        """Hand over the next image, if a file is complete within the time.

        Raises
        ------
        InputError
            If a file that is complete, or one frame of it, cannot be used; it is not tried again until it
            changes.
        """
        until_s = self._clock() + timeout_s
        while not (self._ready or self._unusable):
            name = self._next_complete()
            if name is not None:
                self._read(name)
            elif (left_s := until_s - self._clock()) <= 0:
                return None
            else:
                self._wait(min(left_s, LOOK_S))
        if self._unusable:
            raise InputError(self._unusable.popleft())
        held = self._ready.popleft()
        return Exposure(wire_pixels(held.load()), held.facts)

    def execute(self, command: Command) -> None:
        """Refuse."""
        raise CommandRefusedError(f"a watched folder does not take {command.kind}")

    def close(self) -> None:
        """Nothing is held."""

    def _read(self, name: str) -> None:
        """Make ready what a file holds, but for our results and for what was handed over before a restart."""
        if is_own(self._folder / name):
            return
        frames, unusable = frames_of_file(self._folder / name, self._given)
        if self._in_part.pop(name, None) == self._done[name]:
            frames = tuple(held for held in frames if held.facts.source not in self._read_before)
        self._ready.extend(frames)
        self._unusable.extend(unusable)

    def _next_complete(self) -> str | None:
        """Return a file that is complete, the one that changed first of those that are."""
        now_s = self._clock()
        complete = []
        looks = dict(self._look())
        self._pending = {name: seen for name, seen in self._pending.items() if name in looks}
        self._done = {name: look for name, look in self._done.items() if name in looks}
        for name, look in looks.items():
            if self._done.get(name) == look:
                continue
            seen = self._pending.get(name)
            if seen is None or (seen.size, seen.mtime_ns) != look:
                self._pending[name] = seen = _Seen(*look, now_s)
            if look[0] > 0 and now_s - seen.since_s >= self._stable_s:
                complete.append((look[1], name))
        if not complete:
            return None
        _, name = min(complete)
        self._done[name] = looks[name]
        del self._pending[name]
        return name

    def _look(self) -> list[tuple[str, tuple[int, int]]]:
        """List the files of readable types with their size and time of change."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name
                if (
                    name.startswith(".")
                    or name.endswith(UNFINISHED)
                    or Path(name).suffix.lower() not in SUFFIXES
                ):
                    continue
                try:
                    status = entry.stat()
                except OSError:
                    continue  # gone between the listing and the look
                if entry.is_file():
                    found.append((name, (status.st_size, status.st_mtime_ns)))
        return found
