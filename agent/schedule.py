"""What happens by the clock: jobs that only post events."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from agent.events import CheckpointDue, Event, HealthTaken, Ticked
from agent.settings import WatchSettings


async def keep_time(
    post: Callable[[Event], None], clock: Callable[[], float], watch: WatchSettings, folder: Path
) -> None:
    """Post ticks, health and checkpoints until cancelled.

    Parameters
    ----------
    post : callable
        Takes each event.
    clock : callable
        Monotonic [s].
    watch : WatchSettings
        How often.
    folder : Path
        Where the disk's free space counts.
    """
    process = psutil.Process()

    async def tick() -> None:
        post(Ticked(at_s=clock()))

    async def take_health() -> None:
        post(measure_health(process, clock(), folder))

    async def checkpoint() -> None:
        post(CheckpointDue(at_s=clock()))

    scheduler = AsyncIOScheduler()
    for job, seconds in (
        (tick, watch.heartbeat_s),
        (take_health, watch.health_s),
        (checkpoint, watch.checkpoint_s),
    ):
        scheduler.add_job(job, "interval", seconds=seconds, coalesce=True, misfire_grace_time=None)
    scheduler.start()
    try:
        await asyncio.Event().wait()
    finally:
        scheduler.shutdown(wait=False)


def measure_health(process: psutil.Process, at_s: float, folder: Path) -> HealthTaken:
    """Measure memory, threads, descriptors and disk."""
    with process.oneshot():
        return HealthTaken(
            at_s=at_s,
            memory_bytes=process.memory_info().rss,
            threads=process.num_threads(),
            descriptors=process.num_fds() if hasattr(process, "num_fds") else 0,
            disk_free_bytes=shutil.disk_usage(folder).free,
        )
