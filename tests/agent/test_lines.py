import asyncio
import io
import os
from types import SimpleNamespace

from agent.lines import LineWriter, show_lines
from drivers.contract.maps import MapFlag


def snapshot(count, total):
    lines = tuple(f"line {number}" for number in range(total - count, total))
    counts = SimpleNamespace(mapped=0)
    return SimpleNamespace(log=lines, lines_before=total - count, counts=counts, defect_map=None)


async def test_every_line_is_said_once_and_the_last_ones_at_the_end(monkeypatch):
    monkeypatch.setattr("agent.lines._EVERY_S", 0.0)
    moments = [snapshot(2, 2), snapshot(3, 4), snapshot(3, 4), snapshot(3, 9), snapshot(3, 11)]
    output = io.StringIO()

    shown = iter(moments[:4])
    last = moments[4]

    def look():
        try:
            return next(shown)
        except StopIteration:
            if asyncio.current_task().cancelling():
                return last
            asyncio.current_task().cancel()
            return snapshot(3, 9)

    task = asyncio.create_task(show_lines(look, output))
    await asyncio.wait([task])
    assert task.cancelled()
    said = output.getvalue().split("\n")[:-1]
    assert said == [f"line {number}" for number in (0, 1, 2, 3, 6, 7, 8, 9, 10)]


async def test_a_maps_line_names_its_flags(make):
    header = make.map_header(0.02).model_copy(update={"flags": (MapFlag(kind="spikes", message="1 pixel"),)})
    now = snapshot(0, 0)
    now.counts, now.defect_map = SimpleNamespace(mapped=1), SimpleNamespace(header=header)
    now.latency_s, now.fps = {"total": 0.05}, 2.0
    output = io.StringIO()
    task = asyncio.create_task(show_lines(lambda: now, output))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert output.getvalue() == (
        "map 1: frame None, HAADF, 1000 columns, 0.020 nats, 50 ms, 2.0 maps/s; flags: spikes\n"
    )


def test_a_pipe_that_nobody_reads_holds_nobody_up():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as output:
        writer = LineWriter(output)
        for number in range(5000):
            writer.say(f"{number} " + 200 * "x")
        assert writer._lines.full()
        os.close(reading)
        writer.close()
        writer._thread.join(10)
        assert not writer._thread.is_alive()


def test_what_is_said_arrives_in_order():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as output, os.fdopen(reading) as heard:
        writer = LineWriter(output)
        for number in range(50):
            writer.say(f"line {number}")
        writer.close()
        assert [heard.readline() for _ in range(50)] == [f"line {number}\n" for number in range(50)]
