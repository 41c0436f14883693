import asyncio
import re
import socket
from pathlib import Path

import pytest

from agent.events import HealthTaken
from agent.herald import Herald
from agent.logs import LogFile, open_log
from agent.supervision import Notifier, figures_of, give_signs_of_life, serve_metrics

UNIT = Path(__file__).parents[2] / "docs" / "examples" / "columnist.service"


@pytest.fixture
def supervisor(tmp_path):
    """A socket as systemd has it, and the environment that it gives."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        yield receiver, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}


async def test_a_supervisor_hears_that_it_is_ready_well_and_stopping(supervisor):
    receiver, environment = supervisor
    notifier = Notifier(environment)
    assert notifier.watchdog_s == 30.0
    task = asyncio.create_task(give_signs_of_life(notifier, lambda: "auto, link up"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    heard = [receiver.recv(1000) for _ in range(3)]
    assert heard == [b"READY=1", b"WATCHDOG=1\nSTATUS=auto, link up", b"STOPPING=1"]


async def test_what_is_not_well_gives_no_sign_of_life(supervisor):
    receiver, environment = supervisor
    states, has_looked = ["well", "", ""], asyncio.Event()

    def is_well():
        if len(states) == 1:
            has_looked.set()
        return states.pop(0) if states else ""

    task = asyncio.create_task(give_signs_of_life(Notifier(environment), is_well, 0.001))
    await has_looked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    receiver.setblocking(False)
    assert receiver.recv(1000) == b"READY=1"
    assert receiver.recv(1000).startswith(b"WATCHDOG=1")
    assert receiver.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}, {"NOTIFY_SOCKET": "@nobody", "WATCHDOG_USEC": "soon"}],
    ids=["none", "gone", "abstract"],
)
def test_without_a_supervisor_nothing_happens(environment):
    notifier = Notifier(environment)
    notifier.tell("READY=1")
    assert notifier.watchdog_s == 0.0


async def ask(port, text):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def test_metrics_are_served_and_nothing_else_is(monkeypatch, make, tmp_path):
    monkeypatch.setattr("agent.supervision._PATIENCE_S", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    herald = Herald(None, open_log(LogFile(tmp_path / "log"), "info", "s1"), lambda: 5.0)
    state, _ = make.run_through([make.opened(), make.link_made(), make.frame_seen(0)])
    health = HealthTaken(at_s=1.0, memory_bytes=7, threads=3, descriptors=9, disk_free_bytes=2**40)
    figures = figures_of(herald.look(state), health, True, 1.5)
    task = asyncio.create_task(serve_metrics(port, lambda: figures))
    await asyncio.sleep(0.05)
    try:
        answer = await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        head, body = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(body)
        lines = body.decode().splitlines()
        assert all(re.fullmatch(r'columnist_\w+(\{(\w+="[^"]*",?)+\})? -?[\d.e+-]+', line) for line in lines)
        assert 'columnist_frames_total{what="seen"} 1' in lines
        assert "columnist_recording_held 1" in lines
        assert "columnist_disk_free_bytes 1099511627776" in lines
        assert (await ask(port, b"GET /../etc/passwd HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert await ask(port, b"x" * 20_000 + b"\r\n\r\n") == b""
        assert await ask(port, b"GET /metrics") == b""
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_the_unit_of_the_examples_starts_what_there_is():
    text = UNIT.read_text(encoding="utf-8")
    options = re.search(r"^ExecStart=\S+ run (.*)$", text, re.M)[1].split()
    from agent.__main__ import build_parser

    assert build_parser("run").parse_args(["run", *options]).supervised
    assert "Type=notify" in text
    assert "Restart=on-failure" in text
