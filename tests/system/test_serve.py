"""`columnist serve` as a process, read over real sockets."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from drivers.client import BridgeClient, Options
from drivers.contract.frame import Frame
from drivers.contract.instrument import SwitchDetector
from drivers.contract.messages import SessionEnded

pytestmark = pytest.mark.system

PATIENCE_S = 60.0


@pytest.fixture
def folder(tmp_path):
    for seed, name in enumerate(("haadf_1.npy", "maadf_1.npy", "haadf_2.npy")):
        np.save(tmp_path / name, np.random.default_rng(seed).integers(1, 99, (40, 40)).astype(np.uint8))
    return tmp_path


@contextlib.contextmanager
def columnist_serve(*words):
    command = [sys.executable, "-m", "agent", "serve", *map(str, words), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            first = process.stdout.readline()
            yield (
                process,
                next((word.rstrip(",") for word in first.split() if word.startswith("tcp://")), None),
            )
        finally:
            process.kill()


async def test_a_folder_answers_as_an_instrument_and_ends_when_told_to(folder):
    with columnist_serve("replay", folder, "--speed", "max") as (process, address):
        async with BridgeClient(address, Options(is_one_session=True)) as client:
            heard, has_asked = [], False
            async with asyncio.timeout(PATIENCE_S):
                async for arrival in client.arrivals():
                    heard.append(arrival.content)
                    names = [one.header.detector.name for one in heard if isinstance(one, Frame)]
                    if names == ["HAADF", "HAADF"] and not has_asked:
                        has_asked = True
                        outcome = await client.execute(SwitchDetector(detectors=("MAADF",)))
                        assert outcome.status == "confirmed", outcome
                        process.send_signal(signal.SIGTERM)
        assert isinstance(heard[-1], SessionEnded)
        assert process.wait(PATIENCE_S) == 0


async def test_once_ends_by_itself_when_everything_is_delivered(folder):
    with columnist_serve("replay", folder, "--speed", "max", "--once") as (process, address):
        async with BridgeClient(address, Options(is_one_session=True)) as client:
            async with asyncio.timeout(PATIENCE_S):
                frames = [a.content async for a in client.arrivals() if isinstance(a.content, Frame)]
        assert [frame.header.source for frame in frames] == ["haadf_1.npy", "haadf_2.npy"]
        assert process.wait(PATIENCE_S) == 0


def test_a_port_in_use_is_said_and_the_status_is_2(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "agent", "serve", "replay", folder]
        done = subprocess.run(
            [*map(str, command), "--port", str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 2
    assert "choose a free port with --port" in done.stderr
