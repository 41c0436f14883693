"""The bytes of the wire, pinned.  Run as a program, this file writes them anew."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from drivers.contract.codec import pack, pack_frame, unpack
from drivers.contract.context import HAADF, MAADF
from drivers.contract.frame import Frame, build_frame
from drivers.contract.header import FrameFacts, Simultaneous, StagePosition, Window
from drivers.contract.instrument import (
    AcquireImage,
    Capabilities,
    CommandOutcome,
    CommandRequest,
    InstrumentState,
)
from drivers.contract.messages import (
    Acknowledge,
    Dropped,
    GetState,
    Goodbye,
    Heartbeat,
    Hello,
    LinkLost,
    LinkUp,
    Rejected,
    Resume,
    Resumed,
    SessionEnded,
    SessionStarted,
    Unwelcome,
    Welcome,
    WireMessage,
)

GOLDEN = Path(__file__).parent / "golden"

SESSION = "20261125T101500Z-0a1b2c3d"
WINDOW = Window(row_px=16, col_px=8, rows_px=4, cols_px=6)
STAGE = StagePosition(x_nm=120.5, y_nm=-8.0, z_nm=0.0)
CAPABILITIES = Capabilities(
    instrument="simulated ARM200F",
    commands=("switch_detector", "switch_energy", "acquire_image", "blank_beam"),
    energies_kev=(60.0, 80.0),
    detectors=(HAADF, MAADF),
    max_simultaneous=2,
    can_scan_windows=True,
    dwell_us_range=(0.5, 100.0),
    field_of_view_nm_range=(2.0, 200.0),
    stage_nm_range=(-1000.0, 1000.0),
    max_shape_px=(2048, 2048),
    flyback_us=50.0,
    detector_switch_s=0.5,
    energy_switch_s=120.0,
    stage_settle_s=1.0,
)
STATE = InstrumentState(
    monotonic_s=1000.25,
    host="WSe2",
    dopants=("Ti",),
    energy_kev=80.0,
    convergence_mrad=31.0,
    detectors=(HAADF,),
    field_of_view_nm=6.4,
    shape_px=(32, 32),
    dwell_us=4.0,
    beam_current_pa=30.0,
    stage=STAGE,
    defocus_nm=0.0,
    is_blanked=False,
    is_scanning=True,
    is_settling=True,
    settles_in_s=0.4,
    note="switching detector",
)
FRAME = build_frame(
    FrameFacts(
        host="WSe2",
        dopants=("Ti",),
        energy_kev=80.0,
        convergence_mrad=31.0,
        detector=HAADF,
        pixel_size_angstrom=2.0,
        field_of_view_nm=6.4,
        field_shape_px=(32, 32),
        window=WINDOW,
        dwell_us=4.0,
        beam_current_pa=30.0,
        dose_e_per_a2=187.2,
        stage=STAGE,
        defocus_nm=0.0,
        is_settled=True,
        simultaneous=Simultaneous(group="scan-17", index=0, count=2),
        command_id="req-9",
        source="simulated",
    ),
    (np.arange(24, dtype=np.uint16) * 257).reshape(4, 6),
    session=SESSION,
    sequence=41,
    monotonic_s=1000.5,
    wall_time_unix_s=1795601700.5,
)
EXAMPLES = {
    message.kind: message
    for message in (
        CAPABILITIES,
        STATE,
        Hello(client="agent"),
        Welcome(
            version=1,
            session=SESSION,
            token="5f0c",
            role="controller",
            data_port=5556,
            capabilities=CAPABILITIES,
            state=STATE,
            first_sequence=33,
            next_sequence=41,
            heartbeat_s=0.5,
        ),
        Unwelcome(reason="this bridge does not know the token", remedy="send a hello first"),
        Resume(token="5f0c", next_sequence=41, credits=4, safe_sequence=39, number=2),
        Resumed(session=SESSION, next_sequence=41, number=2),
        Acknowledge(token="5f0c", next_sequence=42),
        GetState(),
        Goodbye(),
        Heartbeat(
            session=SESSION,
            monotonic_s=1000.75,
            wall_time_unix_s=1795601700.75,
            first_sequence=33,
            next_sequence=42,
            dropped=3,
            waits_for_client=True,
            instrument_error="OSError: scan generator",
            instrument_silent_s=0.25,
        ),
        Dropped(session=SESSION, first_sequence=30, last_sequence=32, count=3, reason="held no longer"),
        Rejected(
            session=SESSION,
            sequence=40,
            fault="PixelError",
            reason="expected finite intensities, found 1 NaN or infinite pixels of 24",
            remedy="replace dead pixels by their neighbours",
            raw_header="{}",
            pixel_bytes=48,
        ),
        SessionStarted(
            session=SESSION,
            capabilities=CAPABILITIES,
            state=STATE,
            monotonic_s=900.0,
            wall_time_unix_s=1795601600.0,
        ),
        SessionEnded(session=SESSION, next_sequence=42, is_aborted=True, reason="the bridge was stopped"),
        LinkUp(
            session=SESSION,
            role="controller",
            capabilities=CAPABILITIES,
            state=STATE,
            next_sequence=41,
            is_resumed=True,
        ),
        LinkLost(session=SESSION, reason="nothing was heard from the bridge for 5.0 s"),
        CommandRequest(
            session=SESSION,
            id="req-9",
            command=AcquireImage(dwell_us=4.0, shape_px=(32, 32), window=WINDOW),
            timeout_s=20.0,
        ),
        CommandOutcome(id="req-9", status="confirmed", state=STATE, sequences=(41,), elapsed_s=0.125),
    )
}


def packed():
    """Every golden message by its file names."""
    found = {}
    for kind, message in EXAMPLES.items():
        topic, text = pack(message)
        found |= {f"{kind}.topic": bytes(topic), f"{kind}.json": bytes(text)}
    topic, text, pixels = pack_frame(FRAME)
    return found | {
        "frame.topic": bytes(topic),
        "frame.json": bytes(text),
        "frame.pixels": bytes(pixels),
    }


def test_there_is_a_golden_message_of_every_kind():
    kinds = {member.model_fields["kind"].default for member in get_args(get_args(WireMessage)[0])}
    assert kinds == {*EXAMPLES, "frame"}
    assert {path.name for path in GOLDEN.iterdir()} == set(packed())


@pytest.mark.parametrize("name", sorted(packed()))
def test_messages_travel_as_they_did(name):
    assert (GOLDEN / name).read_bytes() == packed()[name]


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_golden_messages_are_read_as_what_they_are(kind):
    parts = [(GOLDEN / f"{kind}.{part}").read_bytes() for part in ("topic", "json")]
    assert unpack(parts) == EXAMPLES[kind]


def test_the_golden_frame_is_read_to_the_bit():
    frame = unpack([(GOLDEN / f"frame.{part}").read_bytes() for part in ("topic", "json", "pixels")])
    assert isinstance(frame, Frame)
    assert frame.header == FRAME.header
    assert np.array_equal(frame.pixels, FRAME.pixels)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, content in packed().items():
        (GOLDEN / name).write_bytes(content)
