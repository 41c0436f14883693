"""The daemon: latency, its own share of it, frames a second, memory; bridge and agent are separate processes.

A frame's time begins when the last byte of it is sent: when ZeroMQ in the bridge has written it to the
system's socket and lets the pixels go, of which the bridge hears some 0.1 ms later.  It ends when a listener
in this third process has the whole map in hand.  All three share one machine, whose monotonic clock they
read.

- latency: 512 x 512 pixels of 8,000 columns, at a pace that is analysed with ease, so that nothing queues.
- overhead: 1024 x 1024 float32 (4 MiB) of the same columns; the analysis itself, as the agent timed it, is
  subtracted, the durable recording of frame and map is not.  For comparison, `overhead_from_first_byte`
  begins when the bridge hands the frame to its socket, so has the whole way over the wire in it, and
  `overhead_from_sealing` before the bridge takes the checksum.  What recording the frame meanwhile costs the
  analysis would be hidden by the subtraction: `analysis_1024_p50_ms` in the daemon is to be compared with
  `analysis_1024_alone_p50_ms`.
- fps: the first kind as fast as the agent takes them, every one analysed, none dropped.
- rss_growth: of the agent between frame 1,000 and frame 10,000, with frames of 64 x 64 and an analysis that
  gives the same map at once, so that the daemon itself is what is measured.
"""

import argparse
import asyncio
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zmq

from drivers.commands.options import count
from drivers.contract.context import HAADF, Context, Specimen
from drivers.contract.header import FrameFacts
from drivers.contract.instrument import Capabilities, Command, InstrumentState
from drivers.microscope import Exposure

CONTEXT = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
FIELD_NM = 19.6
COLUMNS = 8_000

#: Targets; growth of memory either way.
LIMITS = {"latency_p95_ms": 130.0, "overhead_p95_ms": 8.0, "rss_growth": 0.05, "frames_dropped": 0}

#: Frames that are left out at the start, while caches and threads warm up.
WARM_UP = 5


class PacedMicroscope:
    """Shows the same few pictures over and over, one every `period_s`."""

    def __init__(self, pictures: np.ndarray, period_s: float) -> None:
        self._pictures, self._period_s = pictures, period_s
        self._due_s, self._taken = time.monotonic(), 0

    def capabilities(self) -> Capabilities:
        return Capabilities(instrument="bench", detectors=(HAADF,))

    def state(self) -> InstrumentState:
        return InstrumentState(monotonic_s=time.monotonic(), detectors=(HAADF,), is_scanning=True)

    def take_frame(self, timeout_s: float) -> Exposure | None:
        wait_s = self._due_s - time.monotonic()
        if wait_s > timeout_s:
            time.sleep(timeout_s)
            return None
        time.sleep(max(wait_s, 0.0))
        self._due_s = time.monotonic() + self._period_s
        self._taken += 1
        facts = FrameFacts(
            host="WSe2",
            dopants=("Ti",),
            energy_kev=80.0,
            detector=HAADF,
            pixel_size_angstrom=10 * FIELD_NM / self._pictures.shape[-1],
            is_settled=True,
        )
        return Exposure(self._pictures[self._taken % len(self._pictures)], facts)

    def execute(self, command: Command) -> None:
        raise RuntimeError("the bench sends no commands")

    def close(self) -> None:
        pass


def serve(pictures: str, period_s: float) -> None:
    """Be the bridge, and write down when each frame was handed to the socket, and when it was sent."""
    from drivers.bridge import Bridge, Options

    tracker: Any = None

    def send_tracked(identity: bytes, parts: Any) -> None:
        nonlocal tracker
        told = {"flags": zmq.NOBLOCK, "copy": False, "track": True}
        with suppress(zmq.ZMQError):  # as the bridge does: the client is gone
            tracker = bridge._data.socket.send_multipart([identity, *parts], **told)

    def send_timed(data: bytes, subscription: Any, max_frame_bytes: int) -> None:
        number, handed_s = subscription.sent, time.monotonic()
        send_frame(data, subscription, max_frame_bytes)
        on_their_way.put((number, handed_s, tracker))

    def note() -> None:
        while True:
            number, handed_s, tracker = on_their_way.get()
            tracker.wait()
            sent.write(f"{number} {handed_s} {time.monotonic()}\n")

    on_their_way: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with _sent(pictures).open("w", buffering=1) as sent:
        threading.Thread(target=note, daemon=True).start()
        bridge = Bridge(PacedMicroscope(np.load(pictures), period_s), Options(port=0))
        send_frame = bridge._feed._send_frame
        bridge._data.send_parts = send_tracked  # type: ignore[method-assign]
        bridge._feed._send_frame = send_timed  # type: ignore[method-assign]
        print(bridge.address, flush=True)
        bridge.run()


def _sent(pictures: str) -> Path:
    """Where a bridge writes down when it sent each frame."""
    return Path(pictures).with_name("sent.txt")


class SameMap:
    """An analysis that takes no time: the first frame's map, again and again."""

    def prepare(self) -> None:
        pass

    def run(self, pixels: Any, settled: Any, header: Any) -> Any:
        from drivers.contract.maps import DefectMap, FrameReference, MapHeader

        frame = FrameReference(
            session=header.session, sequence=header.sequence, shape=header.shape, sha256="0" * 64
        )
        known = {name: getattr(self.header, name) for name in MapHeader.model_fields} | {"frame": frame}
        return DefectMap(MapHeader(**known), self.columns)

    def __init__(self) -> None:
        from models.analysis import analyse, load_analyser

        defect_map = analyse(make_pictures(128, 4.0, 1)[0], CONTEXT, load_analyser())
        self.header, self.columns = defect_map.header, defect_map.columns


def run_agent(address: str, folder: str, is_null: bool, threads: int) -> None:
    """Be the agent: exactly that of `columnist run`, but for the analysis where that is to take no time."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `columnist run` does
    from agent.lines import show_lines
    from agent.session import name_session, run_session
    from agent.settings_file import load_settings
    from agent.sockets import open_sockets
    from agent.sources import Source
    from agent.work import ColumnAnalysis

    flags: dict[str, object] = {
        f"publish.{name}": "tcp://127.0.0.1:0" for name in ("maps", "snapshot", "control")
    }
    flags |= {"session.folder": folder, "policy.when_behind": "every", "analysis.threads": threads}
    flags["policy.rule"] = "entropy"  # one picture again and again is no evidence to weigh
    settings = load_settings(None, {}, flags)
    analysis = SameMap() if is_null else ColumnAnalysis(settings.analysis)
    with open_sockets(settings) as sockets:
        print(sockets.addresses["maps"], flush=True)
        source = Source(address, "bench", False)

        with Path(os.devnull).open("w") as nowhere:

            async def show(look: Any) -> None:
                await show_lines(look, nowhere)

            asyncio.run(run_session(settings, source, sockets, analysis, None, name_session(), show))


def make_pictures(pixels: int, field_nm: float, count: int) -> np.ndarray:
    """Simulated frames, float32."""
    from sim_microscope.crystal import DefectConcentrations
    from sim_microscope.imaging import Acquisition
    from sim_microscope.simulate import SpecimenPlan, simulate_frame

    acquisition = Acquisition(pixels=pixels, fov_nm=field_nm, dose_e_per_a2=5e4)
    plan = SpecimenPlan(concentrations=DefectConcentrations(vac1=0.04, dopant=0.03))
    images = [simulate_frame(CONTEXT, acquisition, plan, seed=seed).image for seed in range(count)]
    return np.clip(np.asarray(images, dtype=np.float32), 0, None)


@contextmanager
def child(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start this file as another process; yields it with the address that it prints."""
    command = [sys.executable, __file__, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def daemon(
    pictures: np.ndarray, period_s: float, *, is_null: bool = False, threads: int = 2
) -> Iterator[tuple[psutil.Process, Iterator[tuple[float, dict[str, Any]]]]]:
    """Start bridge and agent; yields the agent's process and the maps as they come, with their time."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="columnist-bench-"))
        np.save(Path(folder) / "pictures.npy", pictures)
        path = str(Path(folder) / "pictures.npy")
        _, bridge = stack.enter_context(child("bridge", path, str(period_s)))
        null = ["--null"] if is_null else []
        agent, address = stack.enter_context(child("agent", bridge, folder, "--threads", str(threads), *null))
        context = stack.enter_context(zmq.Context())
        socket = stack.enter_context(context.socket(zmq.SUB))
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(address)
        socket.subscribe("map")
        yield psutil.Process(agent.pid), _hear(socket, _sent(path))


def _hear(socket: "zmq.Socket[bytes]", sent: Path) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield when each map was in hand, and its envelope, with when its frame was sent among the times."""
    known: dict[int, tuple[float, float]] = {}
    with sent.open() as lines:
        while socket.poll(120_000):
            _, text, _ = socket.recv_multipart()
            heard_s, envelope = time.monotonic(), json.loads(text)
            for number, handed_s, sent_s in map(str.split, lines):
                known[int(number)] = float(handed_s), float(sent_s)
            handed_s, sent_s = known.pop(envelope["body"]["frame"]["sequence"])
            envelope["times_s"] |= {"handed_s": handed_s, "sent_s": sent_s}
            yield heard_s, envelope
    raise TimeoutError("no map for two minutes")


def measure_latency(pictures: np.ndarray, frames: int, period_s: float, threads: int) -> dict[str, Any]:
    """Milliseconds from the bridge to the listener, and of these the daemon's own."""
    totals, analyses, columns = [], [], 0
    shares: dict[str, list[float]] = {"sent_s": [], "handed_s": [], "acquired_s": [], "received_s": []}
    with daemon(pictures, period_s, threads=threads) as (_, maps):
        for number, (heard_s, envelope) in enumerate(maps):
            times = envelope["times_s"]
            if number >= WARM_UP:
                totals.append(1e3 * (heard_s - times["sent_s"]))
                analyses.append(1e3 * (times["analysed_s"] - times["begun_s"]))
                for since, share in shares.items():
                    share.append(1e3 * (heard_s - times[since]) - analyses[-1])
                columns = envelope["columns"]["count"]
            if number == frames + WARM_UP - 1:
                break
    return {"total": totals, "shares": shares, "analysis": analyses, "columns": columns}


def measure_alone(pictures: np.ndarray, frames: int, threads: int) -> list[float]:
    """Milliseconds of the same analysis in a process that does nothing else, at the same pace."""
    from models.analysis import analyse, load_analyser
    from models.threads import use_threads

    use_threads(threads)
    analyser, times = load_analyser(), []
    for number in range(frames + WARM_UP):
        began_s = time.monotonic()
        analyse(pictures[number % len(pictures)], CONTEXT, analyser)
        times.append(1e3 * (time.monotonic() - began_s))
        time.sleep(max(0.0, 0.3 - times[-1] / 1e3))
    return times[WARM_UP:]


def measure_rate(pictures: np.ndarray, frames: int, threads: int) -> dict[str, Any]:
    """Maps a second when the bridge sends as fast as the agent takes."""
    with daemon(pictures, 0.0, threads=threads) as (_, maps):
        began_s, first, last = 0.0, 0, 0
        for number, (heard_s, envelope) in enumerate(maps):
            last = envelope["body"]["frame"]["sequence"]
            if number == WARM_UP:
                began_s, first = heard_s, last
            if number == WARM_UP + frames:
                break
    return {"fps": frames / (heard_s - began_s), "dropped": last - first - frames}


def measure_memory(frames: int) -> dict[str, Any]:
    """Resident memory of the agent at a tenth of the frames, and at the end."""
    pictures = np.random.default_rng(1).poisson(50, (4, 64, 64)).astype(np.float32)
    early = late = 0
    began_s = time.monotonic()
    with daemon(pictures, 0.0, is_null=True) as (process, maps):
        for number, _ in enumerate(maps, start=1):
            if number == frames // 10:
                early = process.memory_info().rss
            if number == frames:
                late = process.memory_info().rss
                break
    seconds = time.monotonic() - began_s
    return {"early": early, "late": late, "growth": late / early - 1, "fps": frames / seconds}


def percentile(values: list[float], share: float) -> float:
    """A percentile, to a tenth."""
    return round(float(np.percentile(values, share)), 1)


def main(words: tuple[str, ...] = ()) -> tuple[dict[str, Any], bool]:
    """Measure; whether every target is met."""
    parser = argparse.ArgumentParser(prog="columnist bench daemon")
    parser.add_argument("--frames", type=count, default=60)
    parser.add_argument("--small-frames", type=int, default=10_000)
    options = parser.parse_args(words)
    frames, threads = options.frames, 2
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # for the analysis alone: read as torch is loaded
    normal = make_pictures(512, FIELD_NM, 3)
    latency = measure_latency(normal, frames, 0.4, threads)
    large = make_pictures(1024, FIELD_NM, 2)
    overhead = measure_latency(large, frames, 0.8, threads)
    rate = measure_rate(normal, frames, threads)
    memory = measure_memory(options.small_frames)
    alone = measure_alone(large, frames // 2, threads)
    shares = overhead["shares"]
    figures: dict[str, Any] = {
        "latency_p50_ms": percentile(latency["total"], 50),
        "latency_p95_ms": percentile(latency["total"], 95),
        "latency_analysis_p50_ms": percentile(latency["analysis"], 50),
        "latency_columns": latency["columns"],
        "overhead_p50_ms": percentile(shares["sent_s"], 50),
        "overhead_p95_ms": percentile(shares["sent_s"], 95),
        "overhead_from_first_byte_p95_ms": percentile(shares["handed_s"], 95),
        "overhead_from_sealing_p95_ms": percentile(shares["acquired_s"], 95),
        "overhead_after_receipt_p95_ms": percentile(shares["received_s"], 95),
        "analysis_1024_p50_ms": percentile(overhead["analysis"], 50),
        "analysis_1024_alone_p50_ms": percentile(alone, 50),
        "overhead_of_512_p95_ms": percentile(latency["shares"]["sent_s"], 95),
        "fps": round(rate["fps"], 2),
        "frames_dropped": rate["dropped"],
        "rss_growth": round(memory["growth"], 4),
        "rss_mib": [round(memory[when] / 2**20, 1) for when in ("early", "late")],
        "small_frames": options.small_frames,
        "small_fps": round(memory["fps"], 1),
        "threads": threads,
    }
    met = {name: bool(abs(figures[name]) <= limit) for name, limit in LIMITS.items()}
    return figures | {"limits": LIMITS, "met": met}, all(met.values())


def _start() -> None:
    """Be one of the children."""
    parser = argparse.ArgumentParser()
    parts = parser.add_subparsers(dest="part", required=True)
    bridge = parts.add_parser("bridge")
    bridge.add_argument("pictures")
    bridge.add_argument("period_s", type=float)
    agent = parts.add_parser("agent")
    agent.add_argument("address")
    agent.add_argument("folder")
    agent.add_argument("--null", action="store_true")
    agent.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.part == "bridge":
        serve(arguments.pictures, arguments.period_s)
    else:
        run_agent(arguments.address, arguments.folder, arguments.null, arguments.threads)


if __name__ == "__main__":
    _start()
