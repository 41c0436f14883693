"""The console: a live view where there is a terminal, plain lines where there is none."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live

from agent.console_picture import Picture, draw
from agent.console_view import render, split
from agent.lines import show_lines
from agent.snapshot import Snapshot

#: Time between two looks [s].
_PERIOD_S = 0.25


async def show(look: Callable[[], Snapshot], output: TextIO | None = None) -> None:
    """Show the session until cancelled; the terminal is given back however this ends.

    Parameters
    ----------
    look : callable
        Gives the present moment.
    output : text stream, optional
        Where to show it; standard output by default.
    """
    console = Console(file=output or sys.stdout)
    if console.is_terminal and not console.is_dumb_terminal:
        await _show_live(look, console)
    else:
        await show_lines(look, output)


class _Painter:
    """Paints a moment, and draws the frame anew only when it, its map or the terminal's size changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn: tuple[Any, ...] = ()
        self._picture: Picture | None = None
        self._kept: Snapshot | None = None

    def paint(self, live: Live, snapshot: Snapshot) -> None:
        """Bring a moment onto the terminal; takes some milliseconds, hence is called in a thread."""
        width, height = self._console.size
        body, across, _ = split(width, height)
        drawn = (id(snapshot.pixels), id(snapshot.defect_map), body, across)
        if drawn != self._drawn and snapshot.pixels is not None:
            self._picture = draw(snapshot.pixels, snapshot.defect_map, body, across)
            self._drawn = drawn
            self._kept = snapshot  # so that no other array takes its place in memory, and its id
        live.update(render(snapshot, self._picture, width, height), refresh=True)


async def _show_live(look: Callable[[], Snapshot], console: Console) -> None:
    painter = _Painter(console)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            painting = asyncio.ensure_future(asyncio.to_thread(painter.paint, live, look()))
            try:
                await asyncio.shield(painting)
            except asyncio.CancelledError:
                await painting  # the terminal is given back only when nobody writes to it any more
                raise
            await asyncio.sleep(_PERIOD_S)
