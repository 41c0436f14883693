"""Those who watch over a session and take no part in it: supervisor, metrics, disk budget, state file."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.herald import Herald
from agent.loop import Loop
from agent.patient_recorder import PatientRecorder
from agent.retention import prune
from agent.settings import Settings
from agent.state_file import keep_state
from agent.supervision import Notifier, figures_of, give_signs_of_life, serve_metrics

#: So many ticks may be missed, and so long a stall is allowed [s], until the agent counts as hung.
_TICKS_MISSED, _SLOW_S = 3, 30.0

#: Between two looks at the disk budget [s].
_BUDGET_S = 60.0


def watchers(
    settings: Settings,
    folder: Path,
    herald: Herald,
    loop: Loop,
    recorder: PatientRecorder,
    notifier: Notifier | None,
) -> dict[str, Callable[[], Awaitable[None]]]:
    """Those that the settings ask for, each with its name for people."""

    def since_tick_s() -> float:
        return 0.0 if herald.ticked_s is None else time.monotonic() - herald.ticked_s

    def is_well() -> str:
        state, counts = loop.recorded, loop.recorded.counts
        if recorder.is_held:
            return "the disk takes nothing: frames wait with the bridge"
        if since_tick_s() > _TICKS_MISSED * settings.watch.heartbeat_s + _SLOW_S:
            return ""
        return f"{state.mode}, link {state.link}, {counts.seen} frames, {counts.mapped} maps"

    def figures() -> str:
        return figures_of(herald.look(loop.recorded), herald.health, recorder.is_held, since_tick_s())

    async def keep_budget() -> None:
        sessions, budget = Path(settings.session.folder), int(settings.session.budget_gib * 2**30)
        told: list[str] = []
        while True:
            said = await asyncio.to_thread(prune, sessions, budget, settings.session.delete)
            for line in said if said != told else ():
                herald.warn(line, "")
            told = said
            await asyncio.sleep(_BUDGET_S)

    async def keep_states() -> None:
        while True:
            await asyncio.sleep(settings.watch.checkpoint_s)
            if loop.recorded_position >= 0:
                await asyncio.to_thread(keep_state, folder, loop.recorded, loop.recorded_position)

    found: dict[str, Callable[[], Awaitable[None]]] = {"the state file": keep_states}
    if notifier is not None:
        found["the supervisor's socket"] = lambda: give_signs_of_life(notifier, is_well)
    if settings.publish.metrics_port:
        found["the metrics"] = lambda: serve_metrics(settings.publish.metrics_port, figures)
    if settings.session.budget_gib:
        found["the disk budget"] = keep_budget
    return found
