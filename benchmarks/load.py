"""Load: more frames than can be analysed, many listeners of which some are dead, and a long run with faults.

Run by `columnist bench load [--json] [--seconds 600 --listeners 100 --frames 100000 --faults 300]`.

The agent is a process of its own, as `columnist run` sets it up but for the analysis.  Whatever is measured
of it is the growth between the second quarter of a run, by frames, and the last: of its memory, descriptors
and threads, and of the bytes of journal a frame.

- overload: the bridge has a frame three times as often as one is analysed, by an analysis that takes a set
  time (`--analysis-ms`) and gives a made-up map.  Every frame must be recorded (`frames_lost`), and be mapped
  or skipped (`unaccounted`); `newest_latency_p95_s` is from a scan's end to the map in a listener's hands.
- listeners: so many at once; the dead ones connect, subscribe and never read.  The others must miss nothing.
- soak: so many small frames through a link on which one fault follows the other.  Every hundredth
  frame is analysed in earnest, the others get a made-up map at once.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zmq

from drivers.bridge import Bridge, serving
from drivers.bridge import Options as BridgeOptions
from drivers.fake import FakeMicroscope
from drivers.fault_relay import relaying
from drivers.faults import LINK_FAULTS, Fault
from drivers.microscope import Exposure

_FAULTS = Path(__file__).with_name("faults.py")

#: Between two measurements of the agent [s].
_LOOK_S = 0.5


class Paced(FakeMicroscope):
    """A fake whose frames come at a pace; it can wait."""

    def __init__(self, period_s: float, **options: Any) -> None:
        super().__init__(**options)
        self._period_s, self._due_s = period_s, time.monotonic()

    def take_frame(self, timeout_s: float) -> Exposure | None:
        wait_s = self._due_s - time.monotonic()
        time.sleep(min(max(wait_s, 0.0), timeout_s))
        if wait_s > timeout_s:
            return None
        self._due_s = max(self._due_s + self._period_s, time.monotonic() - self._period_s)
        return super().take_frame(timeout_s)


class SmallFrames(FakeMicroscope):
    """The smallest frames that are still read as a lattice, a few simulated ones over and over."""

    EDGE_PX, FIELD_NM, COUNT = 64, 2.0, 5

    def __init__(self) -> None:
        from benchmarks.daemon import make_pictures

        pictures = make_pictures(self.EDGE_PX, self.FIELD_NM, self.COUNT)
        counts = (pictures / pictures.max() * 60_000).astype(np.uint16)
        super().__init__(shape=(self.EDGE_PX,) * 2, draw=lambda number, shape: counts[number % self.COUNT])
        self._now["field_of_view_nm"] = self.FIELD_NM


class Watched:
    """The agent's process, measured now and then from a thread; `count` says how many frames are safe."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path, count: Callable[[], int]) -> None:
        self._process, self._folder, self._count = psutil.Process(process.pid), folder, count
        self.samples: list[dict[str, float]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while True:
            with contextlib.suppress(psutil.Error):
                self.samples.append(
                    {
                        "memory": self._process.memory_info().rss,
                        "descriptors": self._process.num_fds(),
                        "threads": self._process.num_threads(),
                        "journal": self.journal_bytes(),
                        "cpu_s": sum(self._process.cpu_times()[:2]),
                        "frames": self._count(),
                    }
                )
            if self._is_over.wait(_LOOK_S):
                return

    def journal_bytes(self) -> int:
        """Bytes of all sessions."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())

    def _by_tenth(self, name: str) -> list[float]:
        """Means of the ten parts of a run, in MiB."""
        parts = np.array_split([sample[name] for sample in self.samples], 10)
        return [round(float(part.mean()) / 2**20, 1) for part in parts if part.size]

    def figures(self) -> dict[str, Any]:
        """What grew between the second quarter and the last, and by how much a frame."""
        self._is_over.set()
        self._thread.join()
        end = self.samples[-1]["frames"]
        early = [sample for sample in self.samples if 0.25 * end < sample["frames"] <= 0.5 * end]
        late = [sample for sample in self.samples if sample["frames"] > 0.75 * end]

        def mean(part: list[dict[str, float]], name: str) -> float:
            return float(np.mean([sample[name] for sample in part]))

        def by_frame(part: list[dict[str, float]], name: str) -> float:
            grown, frames = (part[-1][key] - part[0][key] for key in (name, "frames"))
            return grown / max(frames, 1)

        parts = (early or self.samples, late or self.samples)  # a short run has few samples
        early, late = parts
        return {
            "memory_mib": [round(mean(part, "memory") / 2**20, 1) for part in parts],
            "memory_mib_by_tenth": self._by_tenth("memory"),
            "memory_most_mib": round(max(sample["memory"] for sample in self.samples) / 2**20, 1),
            "memory_growth": round(mean(late, "memory") / mean(early, "memory") - 1, 4),
            "descriptors": [round(mean(part, "descriptors"), 1) for part in parts],
            "threads": [round(mean(part, "threads"), 1) for part in parts],
            "journal_bytes_a_frame": [round(by_frame(part, "journal")) for part in parts],
            "cpu_ms_a_frame": [round(1e3 * by_frame(part, "cpu_s"), 2) for part in parts],
        }


@contextlib.contextmanager
def agent(
    address: str, folder: Path, told: dict[str, Any]
) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """Start an agent; yields it with the addresses of its sockets, and ends it in order."""
    folder.mkdir()
    command = [sys.executable, str(_FAULTS), "agent", address, str(folder), "0", json.dumps(told)]
    log = (folder.parent / "agents.log").open("ab")
    with log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


class Audience:
    """Listeners in one thread; some of them never read."""

    def __init__(self, address: str, count: int, dead: int) -> None:
        self._context = zmq.Context()
        self._sockets = [self._connect(address, is_dead=number < dead) for number in range(count)]
        self._live = self._sockets[dead:]
        self.gaps = 0
        self.heard = 0
        self.latencies_s: list[float] = []
        self._is_over = False
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _connect(self, address: str, *, is_dead: bool) -> "zmq.Socket[bytes]":
        listener = self._context.socket(zmq.SUB)
        listener.setsockopt(zmq.LINGER, 0)
        listener.setsockopt(zmq.RCVHWM, 1 if is_dead else 1000)
        if is_dead:  # so that what the agent keeps for it is full early, and growth after that is another's
            listener.setsockopt(zmq.RCVBUF, 8192)
        listener.connect(address)
        listener.subscribe("map")
        return listener

    def _listen(self) -> None:
        poller, numbers = zmq.Poller(), dict.fromkeys(self._live, 0)
        for listener in self._live:
            poller.register(listener, zmq.POLLIN)
        while not self._is_over:
            for listener, _ in poller.poll(100):
                _, text, _ = listener.recv_multipart()
                envelope = json.loads(text)
                if numbers[listener]:
                    self.gaps += envelope["number"] - numbers[listener] - 1
                numbers[listener] = envelope["number"]
                self.heard += 1
                if listener is self._live[0]:
                    self.latencies_s.append(time.monotonic() - envelope["times_s"]["acquired_s"])

    def wait_for_maps(self) -> None:
        """Wait until the agent is under way."""
        end_s = time.monotonic() + 60
        while len(self.latencies_s) < 3:
            if time.monotonic() > end_s:
                raise RuntimeError("expected maps within a minute, found none; see agents.log")
            time.sleep(0.02)

    def close(self) -> None:
        """Go."""
        self._is_over = True
        self._thread.join()
        self._context.destroy(linger=0)


def count_entries(folder: Path, safe: int) -> dict[str, int]:
    """What the journals hold, of a bridge that was told that the frames below one are safe."""
    from agent.recording import Recording

    counts = {"seen": 0, "mapped": 0, "skipped": 0, "rejected": 0, "held": 0}
    numbers: set[int] = set()
    for session in folder.iterdir():
        with Recording(session) as recording:
            for entry in recording.entries():
                kind = entry.event.kind
                counts["mapped"] += kind == "frame_mapped"
                counts["held"] += kind == "recording_held"
                if kind == "frame_seen":
                    counts["seen"] += 1
                    numbers.add(entry.event.header.sequence)
                for action in entry.actions:
                    counts["skipped"] += action.kind == "skip_frame"
                    counts["rejected"] += action.kind == "reject_frame" and kind == "frame_seen"
    return counts | {"lost": len(set(range(safe)) - numbers), "repeated": counts["seen"] - len(numbers)}


def overload(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """More frames than can be analysed, before an audience."""
    takes_s = options.analysis_ms / 1000
    told = {"takes_s": takes_s, "columns": options.columns, "flags": {"policy.mode": "observe"}}
    microscope = Paced(takes_s / 3, shape=(options.pixels, options.pixels))
    with (
        serving(microscope, BridgeOptions(port=0)) as bridge,
        agent(bridge.address, folder / "overload", told) as (process, addresses),
    ):
        watched = Watched(process, folder / "overload", lambda: bridge._ring.pace)
        audience = Audience(addresses["maps"], options.listeners, options.dead)
        audience.wait_for_maps()
        began_s, first = time.monotonic(), bridge.next_sequence
        time.sleep(options.seconds)
        seconds, taken = time.monotonic() - began_s, bridge.next_sequence - first
        figures = watched.figures()
        audience.close()
        safe = bridge._ring.pace
    counts = count_entries(folder / "overload", safe)
    late = audience.latencies_s[len(audience.latencies_s) // 4 :]
    return figures | {
        "seconds": round(seconds, 1),
        "frames_a_second": round(taken / seconds, 1),
        "maps_a_second": round(counts["mapped"] / seconds, 1),
        "frames": safe,
        "frames_lost": counts["lost"],
        "unaccounted": counts["seen"] - counts["mapped"] - counts["skipped"] - counts["rejected"],
        "skipped": counts["skipped"],
        "newest_latency_p50_s": round(float(np.percentile(late, 50)), 3),
        "newest_latency_p95_s": round(float(np.percentile(late, 95)), 3),
        "newest_latency_most_s": round(max(late), 3),
        "listeners": options.listeners,
        "dead": options.dead,
        "heard_by_each": audience.heard // max(options.listeners - options.dead, 1),
        "missed_by_live": audience.gaps,
    }


def soak(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Many small frames, and one fault after the other."""
    rng = random.Random(options.seed)
    told = {"every": options.analyse_every, "flags": {"policy.when_behind": "every"}}
    with (
        serving(SmallFrames(), BridgeOptions(port=0)) as bridge,
        relaying(bridge.address, seed=options.seed) as relay,
        agent(relay.address, folder / "soak", told) as (process, _),
    ):
        watched = Watched(process, folder / "soak", lambda: bridge._ring.pace)
        faults: Counter[str] = Counter()
        began_s = time.monotonic()
        while bridge._ring.pace < options.frames and process.poll() is None:
            kind: Any = rng.choice(LINK_FAULTS)
            relay.begin(Fault(kind=kind, lasts_s=rng.uniform(0.1, 0.5), share=0.05, by_s=0.05))
            faults[kind] += 1
            _wait_for(bridge, bridge._ring.pace + max(options.frames // options.faults, 20), process)
        seconds, safe = time.monotonic() - began_s, bridge._ring.pace
        figures = watched.figures()
    counts = count_entries(folder / "soak", safe)
    return figures | {
        "frames": safe,
        "seconds": round(seconds, 1),
        "frames_a_second": round(safe / seconds, 1),
        "faults": sum(faults.values()),
        "faults_by_kind": dict(sorted(faults.items())),
        "frames_lost": counts["lost"],
        "frames_repeated": counts["repeated"],
        "mapped": counts["mapped"],
        "skipped": counts["skipped"],
        "rejected": counts["rejected"],
    }


def _wait_for(bridge: Bridge, number: int, process: "subprocess.Popen[str]") -> None:
    for _ in range(15_000):  # five minutes, not counting those for which the whole machine was stopped
        if bridge._ring.pace >= number or process.poll() is not None:
            return
        time.sleep(0.02)
    raise RuntimeError(f"expected frame {number} safe within five minutes, found {bridge._ring.pace}")


def read_options(words: tuple[str, ...]) -> argparse.Namespace:
    """Read what stands behind the name."""
    parser = argparse.ArgumentParser(prog="columnist bench load")
    parser.add_argument("--seconds", type=float, default=600.0, help="of overload; 0: leave it out")
    parser.add_argument("--analysis-ms", type=float, default=100.0)
    parser.add_argument("--pixels", type=int, default=256, help="edge of the frames of the overload")
    parser.add_argument("--columns", type=int, default=1000, help="of its maps")
    parser.add_argument("--listeners", type=int, default=100)
    parser.add_argument("--dead", type=int, default=10)
    parser.add_argument("--frames", type=int, default=100_000, help="of the soak; 0: leave it out")
    parser.add_argument("--faults", type=int, default=300, help="in the soak, at most; 20 frames lie between")
    parser.add_argument(
        "--analyse-every", type=int, default=100, help="frames of the soak; the others get a map"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file for the figures of each part, as soon as it is done")
    return parser.parse_args(words)


def main(words: tuple[str, ...] = ()) -> tuple[dict[str, Any], bool]:
    """Measure; met if nothing was lost and nothing grew."""
    options = read_options(words)
    figures: dict[str, Any] = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="columnist-load-") as name:
        for part, is_wanted, measure in (
            ("overload", options.seconds, overload),
            ("soak", options.frames, soak),
        ):
            if is_wanted:
                figures[part] = measure(Path(name), options)
                if options.out is not None:
                    options.out.write_text(json.dumps(figures, indent=1))
    return figures, all(is_met(part) for part in figures.values() if isinstance(part, dict))


def is_met(part: dict[str, Any]) -> bool:
    """Whether nothing was lost, and memory, descriptors and threads stayed as they were."""
    return (
        not any(
            part.get(name) for name in ("frames_lost", "frames_repeated", "unaccounted", "missed_by_live")
        )
        and part["memory_growth"] < 0.05
        and part["descriptors"][1] <= part["descriptors"][0] + 3
        and part["threads"][1] <= part["threads"][0] + 0.5
        and part["journal_bytes_a_frame"][1] <= 1.05 * part["journal_bytes_a_frame"][0]
    )
