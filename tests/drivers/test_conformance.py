"""What every instrument has to keep to, over a real bridge on the loopback."""

import asyncio
import time

import numpy as np
import pytest

from drivers.bridge import serving
from drivers.client import BridgeClient, Options
from drivers.contract.context import HAADF, MAADF
from drivers.contract.frame import Frame
from drivers.contract.header import FrameFacts, Window
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    CommandOutcome,
    StartScan,
    StopScan,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from drivers.contract.messages import LinkUp, Rejected, SessionEnded
from drivers.fake import FakeMicroscope
from drivers.recording import Held, Recording
from drivers.replay import Options as ReplayOptions
from drivers.replay import ReplayMicroscope

PATIENCE_S = 300.0  # a ceiling: the simulator compiles itself the first time, on a busy machine for a minute


def fake_instrument():
    return FakeMicroscope(shape=(48, 40))


def replayed_instrument():
    """A recording of three positions, each seen by two detectors."""
    rng = np.random.default_rng(3)
    frames = []
    for position in range(3):
        for detector in (HAADF, MAADF):
            pixels = rng.integers(1, 999, (48, 40)).astype(np.uint16)
            facts = FrameFacts(
                host="WSe2",
                dopants=("Ti",),
                energy_kev=80.0,
                convergence_mrad=31.0,
                detector=detector,
                pixel_size_angstrom=0.2,
                field_of_view_nm=0.8,
                dwell_us=2.0,
            )
            frames.append(Held(f"position {position}", facts, (48, 40), 0.0, lambda pixels=pixels: pixels))
    recording = Recording("made up", tuple(frames), is_series=False)
    return ReplayMicroscope(recording, ReplayOptions(speed=float("inf"), at_end="loop"))


def simulated_instrument():
    """A small field, as fast as it can be computed."""
    instrument = pytest.importorskip("sim_microscope.instrument", reason="the simulator needs its extra")
    from sim_microscope.server import FastClock, SimulatedMicroscope
    from sim_microscope.settings import SimulatorSettings

    clock = FastClock()
    settings = SimulatorSettings(fov_nm=3.0, pixels=64)
    return SimulatedMicroscope(instrument.Instrument(settings, at_s=clock.now_s()), clock)


INSTRUMENTS = {
    "fake": fake_instrument,
    "replay": replayed_instrument,
    "simulator": simulated_instrument,
}


@pytest.fixture(params=INSTRUMENTS.values(), ids=INSTRUMENTS.keys())
def bridge(request):
    with serving(request.param()) as bridge:
        yield bridge


class Talk:
    """A client with everything that it has heard."""

    def __init__(self, client):
        self.client = client
        self.heard = []
        self._changed = asyncio.Event()

    async def listen(self):
        async for arrival in self.client.arrivals():
            self.heard.append(arrival.content)
            self._changed.set()

    @property
    def frames(self):
        return [one for one in self.heard if isinstance(one, Frame)]

    async def wait_until(self, condition):
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def wait_linked(self):
        await self.wait_until(lambda: any(isinstance(one, LinkUp) for one in self.heard))

    async def execute(self, command) -> CommandOutcome:
        return await self.client.execute(command, timeout_s=PATIENCE_S)


@pytest.fixture
async def talk(bridge):
    async with BridgeClient(bridge.address, Options(name="conformance")) as client:
        talk = Talk(client)
        task = asyncio.create_task(talk.listen())
        await talk.wait_linked()
        yield talk
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_frames_come_in_order_intact_and_with_their_context(talk):
    await talk.wait_until(lambda: len(talk.frames) >= 5)
    headers = [frame.header for frame in talk.frames[:5]]
    assert [header.sequence for header in headers] == list(range(5))
    assert len({header.session for header in headers}) == 1
    for frame in talk.frames[:5]:
        header = frame.header
        assert header.host == "WSe2"
        assert header.detector is not None
        assert header.energy_kev is not None
        assert header.dwell_us is not None
        assert frame.pixels.shape == header.shape
    stamps = [header.monotonic_s for header in headers]
    assert stamps == sorted(stamps)
    assert not [one for one in talk.heard if isinstance(one, Rejected)]


async def test_every_detector_can_be_switched_to_and_then_takes_the_frames(bridge, talk):
    for detector in bridge.capabilities.detectors[:2][::-1]:
        outcome = await talk.execute(SwitchDetector(detectors=(detector.name,)))
        assert (outcome.status, outcome.reason) == ("confirmed", "")
        assert [one.name for one in outcome.state.detectors] == [detector.name]
        assert not outcome.state.is_settling
        first = bridge.next_sequence
        await talk.wait_until(lambda first=first: any(f.header.sequence > first for f in talk.frames))
        last = talk.frames[-1].header
        assert last.detector == detector


async def test_detectors_that_record_at_once_send_marked_groups(bridge, talk):
    if bridge.capabilities.max_simultaneous < 2:
        pytest.skip("records one detector at a time")
    names = tuple(detector.name for detector in bridge.capabilities.detectors[:2])
    outcome = await talk.execute(SwitchDetector(detectors=names))
    assert outcome.status == "confirmed"

    def groups():
        found = {}
        for frame in talk.frames:
            if frame.header.simultaneous is not None:
                found.setdefault(frame.header.simultaneous.group, []).append(frame.header)
        return [headers for headers in found.values() if len(headers) == 2]

    await talk.wait_until(groups)
    one, other = groups()[0]
    assert {one.detector.name, other.detector.name} == set(names)
    assert (one.simultaneous.index, other.simultaneous.index) == (0, 1)
    assert one.shape == other.shape


async def test_an_image_that_is_asked_for_comes_and_names_the_command(talk):
    outcome = await talk.client.execute(AcquireImage(), id="ask-1", timeout_s=PATIENCE_S)
    assert outcome.status == "confirmed"
    assert len(outcome.sequences) == 1
    (number,) = outcome.sequences
    await talk.wait_until(lambda: any(frame.header.sequence == number for frame in talk.frames))
    header = next(frame.header for frame in talk.frames if frame.header.sequence == number)
    assert header.command_id == "ask-1"


async def test_a_window_is_scanned_alone_and_says_where_it_lies(bridge, talk):
    if not bridge.capabilities.can_scan_windows:
        pytest.skip("scans whole fields only")
    window = Window(row_px=8, col_px=4, rows_px=20, cols_px=24)
    outcome = await talk.execute(AcquireImage(window=window))
    assert outcome.status == "confirmed"
    await talk.wait_until(lambda: any(frame.header.window for frame in talk.frames))
    frame = next(frame for frame in talk.frames if frame.header.window)
    assert frame.header.window == window
    assert frame.pixels.shape == (20, 24)
    assert frame.header.field_shape_px == (await settled_state(talk)).shape_px


async def settled_state(talk):
    return (await talk.execute(StartScan())).state


async def test_a_scan_stops_and_starts(bridge, talk):
    assert (await talk.execute(StopScan())).status == "confirmed"
    stopped_at = bridge.next_sequence
    # Frames asked for one by one still come while the scan stands.
    outcome = await talk.execute(AcquireImage())
    assert (outcome.status, outcome.sequences) == ("confirmed", (stopped_at,))
    outcome = await talk.execute(StartScan())
    assert outcome.status == "confirmed"
    assert outcome.state.is_scanning
    await talk.wait_until(lambda: bridge.next_sequence > stopped_at + 1)


async def test_the_beam_is_blanked_and_unblanked(bridge, talk):
    if "blank_beam" not in bridge.capabilities.commands:
        pytest.skip("has no blanker")
    outcome = await talk.execute(BlankBeam())
    assert (outcome.status, outcome.state.is_blanked) == ("confirmed", True)
    outcome = await talk.execute(UnblankBeam())
    assert (outcome.status, outcome.state.is_blanked) == ("confirmed", False)


@pytest.mark.parametrize(
    "command",
    [SwitchDetector(detectors=("no such detector",)), SwitchEnergy(energy_kev=7.0)],
    ids=lambda command: command.kind,
)
async def test_what_is_impossible_is_refused_with_a_reason_and_changes_nothing(talk, command):
    before = await settled_state(talk)
    outcome = await talk.execute(command)
    assert outcome.status == "refused"
    assert outcome.reason
    after = await settled_state(talk)
    assert (after.detectors, after.energy_kev) == (before.detectors, before.energy_kev)


async def test_a_late_client_gets_what_the_bridge_still_holds(bridge, talk):
    await talk.wait_until(lambda: len(talk.frames) >= 4)
    async with BridgeClient(bridge.address, Options(name="late", role="reader")) as late:
        async with asyncio.timeout(PATIENCE_S):
            async for arrival in late.arrivals():
                if isinstance(arrival.content, Frame):
                    break
    first = arrival.content
    assert first.header == talk.frames[first.header.sequence].header
    assert np.array_equal(first.pixels, talk.frames[first.header.sequence].pixels)


@pytest.mark.parametrize("make", INSTRUMENTS.values(), ids=INSTRUMENTS.keys())
async def test_a_bridge_that_is_stopped_marks_the_end(make):
    with serving(make()) as bridge:
        async with BridgeClient(bridge.address, Options(is_one_session=True)) as client:
            async with asyncio.timeout(PATIENCE_S):
                heard = []
                async for arrival in client.arrivals():
                    heard.append(arrival.content)
                    if isinstance(arrival.content, Frame):
                        bridge.stop()
    assert isinstance(heard[-1], SessionEnded)
    assert heard[-1].is_aborted


@pytest.mark.parametrize("make", INSTRUMENTS.values(), ids=INSTRUMENTS.keys())
def test_reading_the_state_does_not_change_it(make):
    microscope = make()
    microscope.capabilities()
    one, other = microscope.state(), microscope.state()
    assert one.is_same_as(other)
    assert abs(one.monotonic_s - time.monotonic()) < 3600
    microscope.close()
