"""The simulated microscope as a process, read and told over real sockets."""

import asyncio

import numpy as np
import pytest

from drivers.client import BridgeClient, Options
from drivers.contract.context import ColumnClass
from drivers.contract.frame import Frame
from drivers.contract.header import Window
from drivers.contract.instrument import AcquireImage, MoveStage, StopScan, SwitchDetector, SwitchEnergy
from drivers.contract.messages import LinkUp
from sim_microscope.process import simulator_process

pytestmark = pytest.mark.system

SMALL = ("--fov-nm", "4", "--pixels", "128", "--current-pa", "500")


@pytest.fixture(scope="module")
def simulator():
    with simulator_process((*SMALL, "--pace", "fast", "--energy-ramp-s", "1")) as simulator:
        yield simulator


async def frames_of(client, count, keep=lambda frame: True):
    """Wait for the next frames that are to be kept."""
    found = []
    async with asyncio.timeout(60):
        async for arrival in client.arrivals():
            if isinstance(arrival.content, Frame) and keep(arrival.content):
                found.append(arrival.content)
                if len(found) == count:
                    return found
    raise AssertionError("the stream ended")


async def execute(client, command):
    """Have a command carried out while frames flow."""
    outcome = asyncio.create_task(client.execute(command, timeout_s=30))

    async def drain():
        async for _ in client.arrivals():
            pass

    flow = asyncio.create_task(drain())
    try:
        return await outcome
    finally:
        flow.cancel()


async def test_frames_flow_with_their_context_and_their_truth(simulator):
    async with BridgeClient(simulator.address, Options(credits=2)) as client:
        first, second = await frames_of(client, 2)
    assert first.header.session == simulator.session
    assert first.header.host == "WSe2"
    assert first.header.dopants == ("Ti",)
    assert first.header.detector.name in ("HAADF", "MAADF")
    assert second.header.sequence == first.header.sequence + 1
    truth = simulator.truth(first.header.sequence)
    metals = truth.columns[truth.columns["cls"] == ColumnClass.METAL]
    rows, cols = np.round(metals["row_px"]).astype(int), np.round(metals["col_px"]).astype(int)
    inside = (rows >= 0) & (rows < 128) & (cols >= 0) & (cols < 128)
    at_columns = first.pixels[rows[inside], cols[inside]]
    assert at_columns.mean() > 2 * first.pixels.mean()


async def test_it_switches_detector_and_energy_and_takes_windows(simulator):
    async with BridgeClient(simulator.address, Options(credits=2)) as client:
        await frames_of(client, 1)
        outcome = await execute(client, SwitchDetector(detectors=("MAADF", "HAADF")))
        assert outcome.status == "confirmed", outcome.reason
        outcome = await execute(client, SwitchEnergy(energy_kev=60.0))
        assert outcome.status == "confirmed", outcome.reason
        assert outcome.state.energy_kev == 60.0
        pair = await frames_of(client, 2, keep=lambda f: f.header.is_settled and f.header.simultaneous)
        assert all(frame.header.energy_kev == 60.0 for frame in pair)
        await execute(client, StopScan())
        window = Window(row_px=10, col_px=20, rows_px=32, cols_px=48)
        asked = asyncio.create_task(client.execute(AcquireImage(window=window, dwell_us=20.0)))
        part = await frames_of(client, 2, keep=lambda f: f.header.window == window)
        outcome = await asked
        assert outcome.status == "confirmed", outcome.reason
        assert part[0].pixels.shape == (32, 48)
        assert {f.header.detector.name for f in part} == {"HAADF", "MAADF"}
        assert outcome.sequences == tuple(f.header.sequence for f in part)


async def test_it_refuses_with_a_reason(simulator):
    async with BridgeClient(simulator.address, Options(credits=2)) as client:
        async with asyncio.timeout(60):
            async for arrival in client.arrivals():
                if isinstance(arrival.content, LinkUp):
                    break
        outcome = await client.execute(MoveStage(x_nm=1e6))
    assert outcome.status == "refused"
    assert "1e+06 nm" in outcome.reason


async def test_it_ends_by_itself_after_the_frames_that_it_was_given():
    with simulator_process((*SMALL, "--pace", "fast", "--frames", "3")) as simulator:
        async with BridgeClient(simulator.address, Options(is_one_session=True)) as client:
            heard = [arrival.content async for arrival in client.arrivals()]
        assert await asyncio.to_thread(simulator.process.wait, 20) == 0
    assert sum(isinstance(content, Frame) for content in heard) == 3


def test_it_ends_cleanly_when_it_is_asked_to():
    with simulator_process((*SMALL, "--pace", "real")) as simulator:
        pass
    assert simulator.process.returncode == 0


def test_what_it_said_is_told_when_it_does_not_start():
    with (
        pytest.raises(RuntimeError, match="host 'WSe3' is unknown"),
        simulator_process(("--host", "WSe3")),
    ):
        pass
