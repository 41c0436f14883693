"""Processes of the system tests: a bridge that serves made-up frames, and the agent beside it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

ROOT = Path(__file__).resolve().parents[2]

#: A bridge of a fake instrument; frame 12 contradicts the instrument, frame 14 holds NaN;
#: the first eight may have been taken before the agent is there.
BRIDGE = """
import sys
import time
import numpy as np
from drivers.bridge import Bridge, Options
from drivers.contract.context import HAADF
from drivers.contract.header import FrameFacts
from drivers.fake import FakeMicroscope

image = np.load(sys.argv[1])
bad = image.copy()
bad[7, 9] = np.nan

class Troubled(FakeMicroscope):
    def take_frame(self, timeout_s):
        time.sleep(0.02)  # a scan takes its time; without it hundreds of frames a second would come
        exposure = super().take_frame(timeout_s)
        if exposure is None or self.taken != 13:
            return exposure
        facts = exposure.facts.model_dump() | {"energy_kev": 60.0}
        return type(exposure)(exposure.pixels, FrameFacts.model_validate(facts, strict=False))

microscope = Troubled(shape=image.shape, draw=lambda number, shape: bad if number == 14 else image)
bridge = Bridge(microscope, Options(port=0))
print(bridge.address, flush=True)
bridge.run()
"""


def honeycomb(edge=160, lattice_px=3.32 / 0.3):
    """WSe2 at the fake's 0.3 Å a pixel: bright metal columns, dimmer chalcogens, some missing."""
    rng = np.random.default_rng(3)
    a = np.array([0.0, lattice_px])
    b = lattice_px * np.array([np.sqrt(3) / 2, 0.5])
    cells = np.stack(np.meshgrid(np.arange(-40, 40), np.arange(-40, 40)), axis=-1).reshape(-1, 2)
    rows, cols = np.mgrid[:edge, :edge]
    image = np.full((edge, edge), 20.0)
    for shift, height in ((0.0, 100.0), (1 / 3, 90.0)):
        for site in cells @ np.stack([a, b]) + shift * (a + b) + 3.3:
            if (site > -8).all() and (site < edge + 8).all():
                dimmer = 0.5 if shift and rng.random() < 0.08 else 1.0
                distance2 = (rows - site[0]) ** 2 + (cols - site[1]) ** 2
                image += dimmer * height * np.exp(-distance2 / (2 * 1.9**2))
    return rng.poisson(image).astype(np.float32)


def environment():
    """An environment without the user's own settings, in which this checkout is what is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COLUMNIST_")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "honeycomb.npy"
    np.save(path, honeycomb())
    return path


@pytest.fixture
def bridge(picture):
    """Address of a bridge in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", BRIDGE, str(picture)], stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        yield process.stdout.readline().strip()
        process.kill()


class Agent:
    """The agent in a process of its own, with its addresses."""

    def __init__(self, folder, *words):
        command = [sys.executable, "-m", "agent", "run", "--out", str(folder), *words]
        for name in ("maps", "snapshot", "control"):
            command += ["--set", f"publish.{name}=tcp://127.0.0.1:0"]
        command += ["--set", "analysis.threads=1"]
        self.folder = folder
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=folder
        )
        line = ""
        while not line.startswith("sockets:"):
            line = self.process.stderr.readline()
            assert line, self.process.communicate()
        self.addresses = dict(re.findall(r"(\w+) (tcp://[\d.:]+)", line))

    def order(self, **order):
        """Send an order as `docs/wire-agent.md` says it, without any code of ours."""
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVTIMEO, 10_000)
            socket.connect(self.addresses["control"])
            socket.send(json.dumps(order).encode())
            return json.loads(socket.recv())

    def end(self, number=signal.SIGTERM):
        """Stop it; returns its exit status, what it printed and its errors."""
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=30)
        return self.process.returncode, out, errors

    @property
    def session(self):
        """Folder of its session."""
        (folder,) = [path for path in self.folder.iterdir() if path.is_dir()]
        return folder


@pytest.fixture
def start_agent(tmp_path):
    """Start agents that are gone when the test is."""
    started = []

    def start(*words):
        agent = Agent(tmp_path, *words)
        started.append(agent)
        return agent

    yield start
    for agent in started:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.communicate()


@pytest.fixture
def columnist(tmp_path):
    """Run a subcommand to its end."""

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "agent", *words],
            capture_output=True,
            text=True,
            env=environment(),
            cwd=tmp_path,
            timeout=180,  # only so that a test that hangs ends; the machine may be busy
            check=False,
        )

    return run


class PlainListener:
    """Hears an agent with nothing but ZeroMQ and JSON, as a client in another language would."""

    def __init__(self, addresses):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.SUB)
        self.socket.connect(addresses["maps"])
        self.socket.subscribe(b"")
        self.asking = self.context.socket(zmq.REQ)
        self.asking.connect(addresses["snapshot"])
        self.heard = {}

    def last(self):
        """Take the last message of every topic."""
        self.asking.send(b"")
        assert self.asking.poll(10_000)
        parts = self.asking.recv_multipart()
        for topic, text, raw in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            self.heard.setdefault(topic.decode(), []).append((json.loads(text), raw))

    def until(self, is_enough, timeout_s=60.0):
        """Listen until it is enough."""
        end_s = time.monotonic() + timeout_s
        while not is_enough(self.heard):
            assert time.monotonic() < end_s, {topic: len(got) for topic, got in self.heard.items()}
            if self.socket.poll(100):
                topic, text, raw = self.socket.recv_multipart()
                self.heard.setdefault(topic.decode(), []).append((json.loads(text), raw))

    def bodies(self, topic):
        return [envelope["body"] for envelope, _ in self.heard.get(topic, [])]

    def detector(self):
        """Of the newest map."""
        return self.bodies("map")[-1]["settled"]["context"]["detector"]["name"]

    def close(self):
        self.context.destroy(linger=0)


@pytest.fixture
def listen():
    listeners = []

    def begin(agent):
        listeners.append(PlainListener(agent.addresses))
        return listeners[-1]

    yield begin
    for listener in listeners:
        listener.close()
