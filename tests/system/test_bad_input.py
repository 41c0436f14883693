"""A bridge that was written from `docs/wire.md` alone sends everything wrong once, between good frames."""

import json
import threading
import time
import zlib
from functools import partial

import numpy as np
import pytest
import zmq

from agent.recording import Recording

pytestmark = pytest.mark.system

SESSION = "bad-1"
HAADF = {"name": "HAADF", "inner_mrad": 68.0, "outer_mrad": 280.0}
CONTEXT = {"host": "WSe2", "dopants": ["Ti"], "energy_kev": 80.0, "detector": HAADF}
STATE = {
    "kind": "instrument_state",
    "monotonic_s": 0.0,
    "host": "WSe2",
    "energy_kev": 80.0,
    "detectors": [HAADF],
    "is_scanning": True,
}
CAPABILITIES = {"kind": "capabilities", "instrument": "by hand", "detectors": [HAADF]}


def message(kind, **fields):
    """Topic and header."""
    text = json.dumps({"kind": kind} | fields).encode()
    return [b"%s %08x" % (kind.encode(), zlib.crc32(text)), text]


def frame(sequence, pixels, **changes):
    """A frame as it travels; a field that is changed to `...` is left out."""
    raw = np.ascontiguousarray(pixels).tobytes()
    header = CONTEXT | {
        "wire": 1,
        "session": SESSION,
        "sequence": sequence,
        "pixel_size_angstrom": 0.3,
        "is_settled": True,
        "monotonic_s": time.monotonic(),
        "wall_time_unix_s": time.time(),
        "dtype": pixels.dtype.name,
        "shape": list(pixels.shape),
        "checksum": f"crc32:{zlib.crc32(raw):08x}",
    }
    header |= changes
    return [*message("frame", **{name: value for name, value in header.items() if value is not ...}), raw]


def with_pixel(pixels, value):
    changed = pixels.copy()
    changed[7, 9] = value
    return changed


#: What is wrong with a frame: how it is made, and words of the reason and of the remedy.
WRONG = {
    "missing context": (
        lambda n, p: frame(n, p, dopants=...),
        "dopant",
        "settings [context]",
    ),
    "contradictory context": (
        lambda n, p: frame(n, p, energy_kev=60.0),
        "says energy_kev 60",
        "override",
    ),
    "volts": (lambda n, p: frame(n, p, energy_kev=80000.0), "80000 keV: looks like volts", "mend"),
    "unknown host": (lambda n, p: frame(n, p, host="Unobtainium"), "'Unobtainium'", "mend"),
    "contradicts itself": (
        lambda n, p: frame(n, p, field_of_view_nm=99.0),
        "field_of_view_nm 99 contradicts",
        "mend",
    ),
    "NaN": (lambda n, p: frame(n, with_pixel(p, np.nan)), "1 NaN or infinite", "dead pixels"),
    "negative": (lambda n, p: frame(n, with_pixel(p, -3)), "1 negative pixels", "offset"),
    "wrong length": (lambda n, p: [*frame(n, p)[:2], p.tobytes()[:-4]], "bytes for 160 x 160 px", "all rows"),
    "wrong checksum": (lambda n, p: frame(n, p, checksum="crc32:00000000"), "with the checksum", "CRC-32"),
    "no pixels": (lambda n, p: frame(n, p)[:2], "three parts", "one part beside"),
    "altered header": (
        lambda n, p: [frame(n, p)[0], frame(n, p, energy_kev=60.0)[1], p.tobytes()],
        "JSON with the checksum",
        "send it again",
    ),
    "too large": (
        lambda n, p: frame(n, p, shape=[16384, 16384]),
        "at most 268435456 bytes",
        "fewer pixels",
    ),
    "unknown version": (lambda n, p: frame(n, p, wire=2), "wire version of 1, found 2", "same release"),
    "unknown field": (lambda n, p: frame(n, p, colour="red"), "colour", "mend"),
    "text for a number": (lambda n, p: frame(n, p, energy_kev="80"), "energy_kev", "mend"),
}


class PlainBridge:
    """Serves one client with a list of numbered messages, from any of them on, as often as it asks.

    Each is made as it is sent, so that its frame comes after the state that the welcome told.
    """

    def __init__(self, script):
        self.script = script
        self.context = zmq.Context()
        self.control, self.data = (self.context.socket(zmq.ROUTER) for _ in range(2))
        for socket in (self.control, self.data):
            socket.setsockopt(zmq.LINGER, 0)
        self.port, self.data_port = (
            socket.bind_to_random_port("tcp://127.0.0.1") for socket in (self.control, self.data)
        )
        self.place, self.safe, self.reader = len(script), 0, b""
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    @property
    def address(self):
        return f"tcp://127.0.0.1:{self.port}"

    def close(self):
        self.is_over.set()
        self.thread.join()
        self.context.destroy(linger=0)

    def serve(self):
        poller = zmq.Poller()
        for socket in (self.control, self.data):
            poller.register(socket, zmq.POLLIN)
        beat_s = 0.0
        client = b""
        while not self.is_over.is_set():
            ready = dict(poller.poll(20))
            if self.control in ready:
                client, _, text = self.control.recv_multipart()[:3]
                self.answer(client, json.loads(text))
            if self.data in ready:
                self.reader, _, text = self.data.recv_multipart()[:3]
                self.hear(json.loads(text))
            if client and time.monotonic() > beat_s:
                beat_s = time.monotonic() + 0.5
                self.control.send_multipart([client, *message("heartbeat", **self.heartbeat())])
            while self.place < len(self.script) and self.script[self.place][0] < self.safe + 4:
                self.data.send_multipart([self.reader, *self.script[self.place][1]()])
                self.place += 1

    def heartbeat(self):
        return {
            "session": SESSION,
            "monotonic_s": time.monotonic(),
            "wall_time_unix_s": time.time(),
            "first_sequence": 0,
            "next_sequence": 1 + self.script[-1][0],
        }

    def answer(self, client, heard):
        state = STATE | {"monotonic_s": time.monotonic()}
        if heard["kind"] == "hello":
            told = {"version": 1, "session": SESSION, "token": "abc", "role": heard["role"]}
            told |= {"data_port": self.data_port, "capabilities": CAPABILITIES, "state": state}
            told |= {"first_sequence": 0, "next_sequence": 0, "heartbeat_s": 0.5}
            self.control.send_multipart([client, *message("welcome", **told)])
        elif heard["kind"] == "get_state":
            text = {name: value for name, value in state.items() if name != "kind"}
            self.control.send_multipart([client, *message("instrument_state", **text)])

    def hear(self, heard):
        if heard["kind"] == "acknowledge":
            self.safe = max(self.safe, heard["next_sequence"])
        elif heard["kind"] == "resume":
            first = heard["next_sequence"]
            told = {"session": SESSION, "next_sequence": first, "number": heard["number"]}
            self.data.send_multipart([self.reader, *message("resumed", **told)])
            self.place = next(i for i, (number, _) in enumerate(self.script) if number >= first)


@pytest.fixture
def play():
    bridges = []

    def begin(script):
        bridges.append(PlainBridge(script))
        return bridges[-1].address

    yield begin
    for bridge in bridges:
        bridge.close()


def journal(folder):
    """Rejected frames by number, mapped ones, and the texts of notices, as the session recorded them."""
    with Recording(folder) as recording:
        entries = list(recording.entries())
    actions = [action for entry in entries for action in entry.actions]
    rejected = {a.frame.sequence: a for a in actions if a.kind == "reject_frame" and a.frame is not None}
    mapped = [entry.event.frame.sequence for entry in entries if entry.event.kind == "frame_mapped"]
    return rejected, mapped, [action.text for action in actions if action.kind == "notice"]


def run(start_agent, listen, address, last):
    """Run an agent until it has mapped the last frame; returns what it told, and what it recorded."""
    agent = start_agent("--connect", address, "--no-report", "--set", "policy.when_behind=every")
    listener = listen(agent)
    listener.until(
        lambda heard: any(e["body"]["frame"]["sequence"] == last for e, _ in heard.get("map", [])), 180.0
    )
    listener.last()
    assert agent.order(kind="stop")["ok"]
    out, errors = agent.process.communicate(timeout=60)
    assert agent.process.returncode == 0, out + errors
    return listener, journal(agent.session)


def test_each_bad_frame_is_recorded_and_announced_with_its_remedy_and_the_daemon_goes_on(
    play, start_agent, listen, picture
):
    pixels = np.load(picture)
    makers = [frame, *(make for make, _, _ in WRONG.values()), frame]
    script = [(number, partial(make, number, pixels)) for number, make in enumerate(makers)]
    last = len(script) - 1

    listener, (rejected, mapped, _) = run(start_agent, listen, play(script), last)

    announced = {body["frame"]["sequence"]: body for body in listener.bodies("rejection") if body["frame"]}
    for number, (name, (_, reason, remedy)) in enumerate(WRONG.items(), start=1):
        assert reason in rejected[number].reason, name
        assert remedy in rejected[number].remedy, name
        assert (announced[number]["reason"], announced[number]["remedy"]) == (
            rejected[number].reason,
            rejected[number].remedy,
        ), name
    assert mapped == [0, last]


def test_repeated_skipped_and_reordered_numbers_are_told_and_no_frame_is_mapped_twice(
    play, start_agent, listen, picture
):
    pixels = np.load(picture)
    numbers = (0, 1, 1, 2, 4, 6, 5, 7)  # 1 is repeated, 3 never comes, 6 and 5 are swapped
    script = [(number, partial(frame, number, pixels)) for number in numbers]

    listener, (rejected, mapped, notices) = run(start_agent, listen, play(script), 7)

    told = " / ".join(body["reason"] for body in listener.bodies("rejection"))
    assert "found 1 again" in told
    assert "expected frame 3, found 4: frame 3 skipped" in told
    assert "expected frame 5, found 6" in told
    assert all(body["remedy"] for body in listener.bodies("rejection"))
    assert any("3 to 3: frame 3 did not come when asked for again" in text for text in notices)
    assert mapped == [0, 1, 2, 4, 6, 7]
    assert rejected
