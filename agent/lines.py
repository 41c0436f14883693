"""The console where there is no terminal: a plain line for whatever happens."""

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from agent.snapshot import Snapshot

#: Time between two looks [s].
_EVERY_S = 0.25

#: Lines that wait for a slow reader; further ones are left out.
_LINES_KEPT = 1000

#: How long the last lines may take at the end [s].
_LAST_S = 1.0


class LineWriter:
    """Writes lines in a thread of its own, so that a pipe that nobody reads holds nothing else up.

    Parameters
    ----------
    output : text stream
        Its descriptor is written to directly; a stream without one, such as a buffer, is written to at once.
    """

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._lines: queue.Queue[str | None] = queue.Queue(_LINES_KEPT)
        self._thread: threading.Thread | None = None
        try:
            descriptor = output.fileno()
        except OSError:
            return
        output.flush()
        self._thread = threading.Thread(target=self._write, args=(descriptor,), name="lines", daemon=True)
        self._thread.start()

    def say(self, line: str) -> None:
        """Write a line some time soon, or leave it out if too many wait."""
        if self._thread is None:
            self._output.write(line + "\n")
        elif not self._lines.full():
            self._lines.put_nowait(line)

    def close(self) -> None:
        """Give the last lines a moment."""
        if self._thread is not None and not self._lines.full():
            self._lines.put_nowait(None)
            self._thread.join(_LAST_S)

    def _write(self, descriptor: int) -> None:
        """Write until closed, or until the reader has gone."""
        for line in iter(self._lines.get, None):
            rest = (line + "\n").encode("utf-8", "replace")
            while rest:
                try:
                    rest = rest[os.write(descriptor, rest) :]
                except OSError:
                    return


async def show_lines(look: Callable[[], Snapshot], output: TextIO | None = None) -> None:
    """Write new lines of the log and a line for every map that is the newest, until cancelled."""
    writer = LineWriter(output or sys.stdout)
    lines, maps = 0, 0
    try:
        while True:
            lines, maps = _say_new(look(), lines, maps, writer.say)
            await asyncio.sleep(_EVERY_S)
    finally:
        _say_new(look(), lines, maps, writer.say)
        writer.close()


def _say_new(now: Snapshot, lines: int, maps: int, say: Callable[[str], None]) -> tuple[int, int]:
    """Say what is new since `lines` lines and `maps` maps; returns how many there are now."""
    for line in now.log[max(lines - now.lines_before, 0) :]:
        say(line)
    if now.counts.mapped != maps and now.defect_map is not None:
        header = now.defect_map.header
        flags = ", ".join(flag.kind for flag in header.flags)
        say(
            f"map {now.counts.mapped}: frame {header.frame.sequence}, "
            f"{header.settled.context.detector.name}, {header.columns} columns, "
            f"{header.mean_entropy_nats:.3f} nats, {1e3 * now.latency_s.get('total', 0):.0f} ms, "
            f"{now.fps:.1f} maps/s{f'; flags: {flags}' if flags else ''}"
        )
    return now.lines_before + len(now.log), now.counts.mapped
