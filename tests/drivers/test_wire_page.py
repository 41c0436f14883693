"""`docs/wire.md`: complete, and enough to write a client from."""

import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import zmq

import drivers.contract.header
import drivers.contract.instrument
import drivers.contract.messages
from drivers.bridge import serving
from drivers.contract.context import Message
from drivers.fake import FakeMicroscope

PAGE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")

MODULES = (drivers.contract.header, drivers.contract.instrument, drivers.contract.messages)
MESSAGES = {
    name: member
    for module in MODULES
    for name, member in vars(module).items()
    if isinstance(member, type) and issubclass(member, Message) and member is not Message
}


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_the_page_names_every_message_and_field(name):
    fields = MESSAGES[name].model_fields
    for field, info in fields.items():
        word = info.default if field == "kind" else field
        assert re.search(rf"[`\"]{word}[`\"]", PAGE), f"docs/wire.md does not mention {word}"


# --- A client written from docs/wire.md alone: ZeroMQ, JSON, zlib and numpy, nothing of ours ---------------


class PlainClient:
    """Speaks the wire as the page says it."""

    def __init__(self, host, port):
        self.context = zmq.Context()
        self.host = host
        self.control = self._dealer(port)
        self.data = None

    def _dealer(self, port):
        dealer = self.context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RCVTIMEO, 20_000)
        dealer.connect(f"tcp://{self.host}:{port}")
        return dealer

    def send(self, dealer, kind, **fields):
        text = json.dumps({"kind": kind, **fields}).encode()
        dealer.send_multipart([f"{kind} {zlib.crc32(text):08x}".encode(), text])

    def receive(self, dealer, *kinds):
        """Wait for one of some kinds; returns its object and the parts behind it."""
        while True:
            topic, text, *more = dealer.recv_multipart()
            kind, checksum = topic.split()
            assert int(checksum, 16) == zlib.crc32(text)
            message = json.loads(text)
            assert message["kind"] == kind.decode()
            if message["kind"] in kinds:
                return message, more

    def connect(self):
        self.send(self.control, "hello", versions=[1], client="plain", role="controller")
        self.welcome, _ = self.receive(self.control, "welcome")
        self.data = self._dealer(self.welcome["data_port"])
        self.send(self.data, "resume", token=self.welcome["token"], next_sequence=0, credits=2)
        resumed, _ = self.receive(self.data, "resumed")
        return resumed["next_sequence"]

    def frame(self):
        """Read a frame, check it as the page says, acknowledge it."""
        header, (pixels,) = self.receive(self.data, "frame")
        assert header["wire"] == 1
        letter = {"uint8": "u1", "uint16": "u2", "float32": "f4"}[header["dtype"]]
        rows, columns = header["shape"]
        assert len(pixels) == rows * columns * np.dtype(letter).itemsize
        assert header["checksum"] == f"crc32:{zlib.crc32(pixels):08x}"
        sequence = header["sequence"]
        self.send(self.data, "acknowledge", token=self.welcome["token"], next_sequence=sequence + 1)
        return header, np.frombuffer(pixels, f"<{letter}").reshape(rows, columns)

    def command(self, id, **command):
        self.send(
            self.control,
            "command_request",
            session=self.welcome["session"],
            id=id,
            command=command,
            timeout_s=20.0,
        )
        return self.receive(self.control, "command_outcome")[0]

    def close(self):
        self.send(self.control, "goodbye")
        self.context.destroy(linger=0)


@pytest.fixture
def plain():
    with serving(FakeMicroscope(frames=8)) as bridge:
        client = PlainClient("127.0.0.1", bridge.port)
        yield client
        client.close()


def test_a_client_written_from_the_page_reads_frames_and_the_end(plain):
    assert plain.connect() == 0
    for number in range(8):
        header, pixels = plain.frame()
        assert header["sequence"] == number
        assert header["detector"] == {"name": "HAADF", "inner_mrad": 68.0, "outer_mrad": 280.0}
        assert pixels[0, 0] == number  # as the fake instrument draws it
    ended, _ = plain.receive(plain.data, "session_ended")
    assert ended["next_sequence"] == 8
    assert not ended["is_aborted"]


def test_it_switches_the_detector_and_asks_for_a_window(plain):
    plain.connect()
    outcome = plain.command("plain-1", kind="switch_detector", detectors=["MAADF"])
    assert outcome["status"] == "confirmed"
    assert [one["name"] for one in outcome["state"]["detectors"]] == ["MAADF"]
    window = {"row_px": 2, "col_px": 4, "rows_px": 8, "cols_px": 16}
    outcome = plain.command("plain-2", kind="acquire_image", window=window)
    assert outcome["status"] == "confirmed"
    while (read := plain.frame())[0]["command_id"] != "plain-2":
        pass
    assert read[0]["window"] == window
    assert read[1].shape == (8, 16)


def test_it_hears_the_state_and_signs_of_life(plain):
    plain.connect()
    plain.send(plain.control, "get_state")
    assert plain.receive(plain.control, "instrument_state")[0]["energy_kev"] == 80.0
    assert plain.receive(plain.control, "heartbeat")[0]["session"] == plain.welcome["session"]


def test_the_example_of_the_page_is_right():
    assert f"{zlib.crc32(b'123456789'):08x}" in PAGE
    text = b'{"kind":"get_state"}'
    assert f"`get_state {zlib.crc32(text):08x}`" in PAGE


def test_pixels_could_be_read_with_nothing_but_the_golden_files():
    golden = Path(__file__).parent / "golden"
    header = json.loads((golden / "frame.json").read_bytes())
    raw = (golden / "frame.pixels").read_bytes()
    rows, columns = header["shape"]
    assert header["dtype"] == "uint16"
    values = struct.unpack(f"<{rows * columns}H", raw)
    assert values[:3] == (0, 257, 514)
