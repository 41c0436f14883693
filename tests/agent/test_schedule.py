import asyncio

import psutil

from agent.schedule import keep_time, measure_health
from agent.settings import WatchSettings


async def test_jobs_post_ticks_health_and_checkpoints_and_nothing_else(tmp_path):
    posted = []
    watch = WatchSettings(heartbeat_s=0.05, health_s=0.05, checkpoint_s=0.05)
    task = asyncio.create_task(keep_time(posted.append, lambda: 3.0, watch, tmp_path))
    async with asyncio.timeout(5):
        while {event.kind for event in posted} != {"ticked", "health_taken", "checkpoint_due"}:
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert {event.at_s for event in posted} == {3.0}


def test_health_is_that_of_the_process(tmp_path):
    health = measure_health(psutil.Process(), 1.0, tmp_path)
    assert health.memory_bytes > 1e6
    assert health.threads >= 1
    assert health.disk_free_bytes > 0
