"""The console where there is no terminal: a plain line for whatever happens."""

import asyncio
from collections.abc import Callable

from agent.snapshot import Snapshot

#: Time between two looks [s].
_EVERY_S = 0.25


async def show_lines(look: Callable[[], Snapshot], say: Callable[[str], None] = print) -> None:
    """Print new lines of the log and a line for every map that is the newest, until cancelled."""
    lines, maps = 0, 0
    try:
        while True:
            lines, maps = _say_new(look(), lines, maps, say)
            await asyncio.sleep(_EVERY_S)
    finally:
        _say_new(look(), lines, maps, say)


def _say_new(now: Snapshot, lines: int, maps: int, say: Callable[[str], None]) -> tuple[int, int]:
    """Say what is new since `lines` lines and `maps` maps; returns how many there are now."""
    for line in now.log[max(lines - now.lines_before, 0) :]:
        say(line)
    if now.counts.mapped != maps and now.defect_map is not None:
        header = now.defect_map.header
        say(
            f"map {now.counts.mapped}: frame {header.frame.sequence}, "
            f"{header.settled.context.detector.name}, {header.columns} columns, "
            f"{header.mean_entropy_nats:.3f} nats, {1e3 * now.latency_s.get('total', 0):.0f} ms, "
            f"{now.fps:.1f} maps/s"
        )
    return now.lines_before + len(now.log), now.counts.mapped
