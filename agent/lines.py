"""The console where there is no terminal: a plain line for whatever happens."""

import asyncio
from collections.abc import Callable

from agent.snapshot import Snapshot

#: Time between two looks [s].
_EVERY_S = 0.25


async def show_lines(look: Callable[[], Snapshot], say: Callable[[str], None] = print) -> None:
    """Print new lines of the log and a line for every map that is the newest, until cancelled."""
    shown, mapped = 0, 0
    while True:
        now = look()
        for line in now.log[shown - now.lines_before :]:
            say(line)
        shown = now.lines_before + len(now.log)
        if now.counts.mapped != mapped and now.defect_map is not None:
            mapped = now.counts.mapped
            header = now.defect_map.header
            say(
                f"map {mapped}: frame {header.frame.sequence}, {header.settled.context.detector.name}, "
                f"{header.columns} columns, {header.mean_entropy_nats:.3f} nats, "
                f"{1e3 * now.latency_s.get('total', 0):.0f} ms, {now.fps:.1f} maps/s"
            )
        await asyncio.sleep(_EVERY_S)
