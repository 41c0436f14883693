"""Torture: the agent is killed at random instants while frames flow, and every fault of the matrix is met.

Run by `columnist bench faults [--json] [--kills 200 --seeds 20]`, and by `make torture`.

- kills: the agent is a process of its own.  It is killed (SIGKILL) some time after it began to record or,
  every fifth time, while it starts; the next one goes on with its session.  Afterwards every frame that the
  bridge was told is safe must be in the journals once (`lost_frames`, `repeated_frames`), no command may have
  reached the instrument twice (`duplicate_commands`), and every journal must verify from end to end and
  replay to the same decisions (`journals_bad`).
- faults: `drivers.fault_trials` with the agent's own time-outs, for every kind of fault and every seed.
- disk: the agent may write no more for two seconds (RLIMIT_FSIZE), then again; nothing may be lost.
- connections: so many are opened to a bridge with keys, and kept; the operator must be served all the same.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from drivers.bridge import Bridge, serving
from drivers.bridge import Options as BridgeOptions
from drivers.contract.instrument import BlankBeam, Command
from drivers.fake import FakeMicroscope
from drivers.fault_trials import Trial, run_trial
from drivers.faults import INSTRUMENT_FAULTS, LINK_FAULTS, Fault
from drivers.microscope import Exposure

#: Between two frames [s]: where the agent is killed, and where several trials share a process.
PERIOD_S, TRIAL_PERIOD_S = 0.005, 0.02

#: Faults of single messages, which both ways meet.
SINGLE = ("missing", "duplicated", "reordered", "truncated", "altered")

#: Faults that are also tried for longer than a lease and the link's time-out.
LONG = ("loss", "half_open", "driver_hangs", "stalled_frame")

#: Longest wait for the agent to record something [s].
PATIENCE_S = 60.0


class Paced(FakeMicroscope):
    """A fake that takes a moment for every frame."""

    period_s = PERIOD_S

    def take_frame(self, timeout_s: float) -> Exposure | None:
        time.sleep(self.period_s)
        return super().take_frame(timeout_s)


class Slower(Paced):
    """The same, in trials."""

    period_s = TRIAL_PERIOD_S


# --- the agent, as a process to be killed ------------------------------------------------------------------


class NoAnalysis:
    """Gives a map of growing entropy after a set time, so that requests are made all the time.

    Parameters
    ----------
    takes_s : float
    columns : int
    """

    def __init__(self, takes_s: float = 0.0, columns: int = 3) -> None:
        self.takes_s, self.columns = takes_s, columns

    def prepare(self) -> None:
        pass

    def run(self, pixels: Any, settled: Any, header: Any) -> Any:
        from drivers.contract.maps import (
            COLUMN_DTYPE,
            ClassCounts,
            DefectMap,
            FrameReference,
            MapHeader,
            ModelReference,
            Scale,
        )

        time.sleep(self.takes_s)
        reference = FrameReference(
            session=header.session, sequence=header.sequence, shape=header.shape, sha256="0" * 64
        )
        made = MapHeader(
            frame=reference,
            settled=settled,
            model=ModelReference(name="none", weights_sha256="0", foreignness_sha256="0", code_version="0"),
            scale=Scale(lattice_px=10.0, pixel_size_angstrom=0.3, shear=1.0),
            grains=(),
            prior=(0.6, 0.0, 0.0, 0.3, 0.1),
            columns=self.columns,
            counts=ClassCounts(x2=self.columns, vac1=0, vac2=0, metal=0, dopant=0),
            concentrations=(),
            mean_entropy_nats=0.1 + header.sequence % 100_000 * 1e-5,  # the other detector was always better
            masked_fraction=0.0,
        )
        return DefectMap(made, np.zeros(self.columns, COLUMN_DTYPE))


class SparseAnalysis(NoAnalysis):
    """Analyses one frame of so many in earnest; the others get a made-up map at once.

    Parameters
    ----------
    every : int
    settings : AnalysisSettings
    """

    def __init__(self, every: int, settings: Any) -> None:
        from agent.work import ColumnAnalysis

        super().__init__()
        self._every, self._earnest = every, ColumnAnalysis(settings)

    def prepare(self) -> None:
        self._earnest.prepare()

    def run(self, pixels: Any, settled: Any, header: Any) -> Any:
        if header.sequence % self._every:
            return super().run(pixels, settled, header)
        return self._earnest.run(pixels, settled, header)


def agent_settings(folder: Path, **flags: object) -> Any:
    """Settings under which the agent asks for something after nearly every map."""
    from agent.settings_file import load_settings

    known: dict[str, object] = {
        f"publish.{name}": "tcp://127.0.0.1:0" for name in ("maps", "snapshot", "control")
    }
    known |= {
        "session.folder": str(folder),
        "policy.mode": "auto",
        "policy.rule": "entropy",
        "policy.entropy_nats": 0.0,
        "policy.margin_nats": 0.0,
        "policy.settle_frames": 1,
        "policy.cooldown_frames": 1,
        "limits.requests_per_minute": 600,
        "watch.checkpoint_s": 0.3,
    }
    return load_settings(None, {}, known | flags)


def run_agent(
    address: str, folder: Path, limit_bytes: int, analysis: NoAnalysis, flags: dict[str, object]
) -> None:
    """Be the agent of `columnist run --continue`, but for the analysis; prints its addresses as JSON."""
    if limit_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
    from agent.commands.run import take_up
    from agent.session import name_session, run_session
    from agent.sockets import open_sockets
    from agent.sources import Source

    async def hide(look: Any) -> None:
        await asyncio.Event().wait()

    settings = agent_settings(folder, **flags)
    recovered = take_up(settings, is_ours=False)
    name = recovered.opened.session if recovered else name_session()
    with open_sockets(settings) as sockets:
        source = Source(address, "torture", False)
        print(json.dumps(sockets.addresses), flush=True)
        session = run_session(settings, source, sockets, analysis, None, name, hide, recovered=recovered)
        asyncio.run(session)


@contextlib.contextmanager
def agent(address: str, folder: Path, limit_bytes: int = 0) -> Iterator["subprocess.Popen[bytes]"]:
    """Start an agent, and see that it is gone afterwards."""
    command = [sys.executable, __file__, "agent", address, str(folder), str(limit_bytes)]
    log = (folder.parent / "agents.log").open("ab")
    with log, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


# --- kills -------------------------------------------------------------------------------------------------


def safe_frames(bridge: Bridge) -> int:
    """Below which number the bridge was told that frames are safe."""
    return bridge._ring.pace


def wait_until_safe(bridge: Bridge, number: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until frames below a number are safe."""
    end_s = time.monotonic() + PATIENCE_S
    while safe_frames(bridge) < number:
        if process.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(
                f"expected frame {number} recorded, found {safe_frames(bridge)}; see agents.log"
            )
        time.sleep(0.002)


def torture_kills(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill the agent again and again, then stop it in order, and compare what is left with what was done."""
    rng = random.Random(seed)
    sessions = folder / "sessions"
    sessions.mkdir()
    microscope = Paced()
    restarts_s = []
    with serving(microscope, BridgeOptions(port=0)) as bridge:
        for number in range(kills + 1):
            began_s, before = time.monotonic(), safe_frames(bridge)
            with agent(bridge.address, sessions) as process:
                if number < kills and number % 5 == 4:
                    time.sleep(rng.uniform(0.0, 1.5))  # while it starts, or a little later
                    process.kill()
                    continue
                wait_until_safe(bridge, before + 1, process)
                restarts_s.append(time.monotonic() - began_s)
                time.sleep(rng.uniform(0.0, 0.5))
                if number < kills:
                    process.kill()
                else:
                    process.send_signal(signal.SIGTERM)
                    process.wait(30)
        safe = safe_frames(bridge)
    return examine(sessions, microscope.executed, safe) | {
        "kills": kills,
        "frames_safe": safe,
        "restart_p50_s": round(float(np.percentile(restarts_s, 50)), 2),
        "restart_p95_s": round(float(np.percentile(restarts_s, 95)), 2),
    }


def examine(sessions: Path, executed: list[Command], safe: int) -> dict[str, Any]:
    """Read every journal from end to end."""
    from agent.recording import Recording
    from agent.replay import replay
    from drivers.contract.errors import InputError
    from drivers.session_check import check_session

    seen: Counter[int] = Counter()
    sent: list[Command] = []
    requests: Counter[str] = Counter()
    bad: list[str] = []
    kinds: Counter[str] = Counter()
    folders = sorted(sessions.iterdir())
    for folder in folders:
        try:
            if not check_session(folder).is_whole:
                raise InputError("damaged")
            with Recording(folder) as recording:
                for entry in recording.entries():
                    kinds[entry.event.kind] += 1
                    if entry.event.kind == "frame_seen":
                        seen[entry.event.header.sequence] += 1
                    for action in entry.actions:
                        if action.kind == "send_command":
                            sent.append(action.command)
                            requests[f"{folder.name}.{action.request}"] += 1
                outcome = replay(recording)
                if outcome.difference is not None:
                    raise InputError(f"replays otherwise: {outcome.difference}")
        except InputError as error:
            bad.append(f"{folder.name}: {error}")
    moved = [command for command in executed if not isinstance(command, BlankBeam)]
    return {
        "sessions": len(folders),
        "journals_bad": len(bad),
        "bad": bad[:5],
        "lost_frames": len(set(range(safe)) - set(seen)),
        "repeated_frames": sum(count - 1 for count in seen.values()),
        "frames_recorded": len(seen),
        "restarts_recorded": kinds["session_resumed"],
        "commands_sent": len(sent),
        "commands_executed": len(moved),
        "duplicate_commands": count_repeated(moved, sent) + sum(n - 1 for n in requests.values()),
    }


def count_repeated(executed: list[Command], sent: list[Command]) -> int:
    """Count the commands that were executed and not sent: each that was sent counts once, and in order."""
    remaining = iter(sent)
    extra = 0
    for command in executed:
        if not any(command == candidate for candidate in remaining):
            extra += 1
            remaining = iter(())
    return extra


# --- faults of the link and the instrument -----------------------------------------------------------------


async def torture_faults(
    seeds: int, at_once: int, kinds: tuple[str, ...], keep: Callable[[dict[str, Any]], None]
) -> None:
    """Run every trial, some at a time, for most of their time is waiting; tells the figures as they grow."""
    gate = asyncio.Semaphore(at_once)
    trials: list[Trial] = []

    async def one(kind: str, seed: int) -> None:
        rng = random.Random(f"{kind} {seed}")
        lasts_s = 7.0 if kind in LONG and seed % 5 == 4 else rng.uniform(0.2, 2.0)
        direction: Any = "both" if kind in SINGLE else "to_client"
        fault = Fault(kind=kind, lasts_s=lasts_s, share=rng.uniform(0.05, 0.5), direction=direction)
        async with gate:
            trials.append(await run_trial(Slower, fault, seed))
            keep(summarise(trials))

    await asyncio.gather(*(one(kind, seed) for seed in range(seeds) for kind in kinds))


def summarise(trials: list[Trial]) -> dict[str, Any]:
    """Figures over all trials, and the worst of each kind."""
    times = [trial.recovered_s for trial in trials if trial.recovered_s is not None]
    worst: dict[str, float | None] = {}
    for trial in trials:
        seconds = trial.recovered_s
        known = worst.get(trial.fault.kind, 0.0)
        worst[trial.fault.kind] = None if seconds is None or known is None else max(known, round(seconds, 2))
    return {
        "trials": len(trials),
        "recovered": sum(trial.is_good for trial in trials),
        "recovery_p50_s": round(float(np.percentile(times, 50)), 2) if times else None,
        "recovery_p95_s": round(float(np.percentile(times, 95)), 2) if times else None,
        "frames_lost": sum(len(trial.lost) for trial in trials),
        "frames_repeated": sum(trial.repeated for trial in trials),
        "commands_executed_twice": sum(trial.executed_twice for trial in trials),
        "recovery_worst_s": worst,
        "failed": [f"{t.fault.kind} seed {t.seed}: {t}"[:400] for t in trials if not t.is_good][:5],
    }


# --- a full disk, and many connections ---------------------------------------------------------------------


def torture_disk(folder: Path, held_s: float) -> dict[str, Any]:
    """Let the agent's files grow no further for a while."""
    sessions = folder / "disk"
    sessions.mkdir()
    microscope = Paced(shape=(128, 128))
    with (
        serving(microscope, BridgeOptions(port=0)) as bridge,
        agent(bridge.address, sessions, 2 * 2**20) as process,
    ):
        wait_until_safe(bridge, 20, process)
        while not is_held(bridge):
            time.sleep(0.02)
        time.sleep(held_s)
        before, freed_s = safe_frames(bridge), time.monotonic()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        wait_until_safe(bridge, before + 20, process)
        recovered_s = time.monotonic() - freed_s
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        safe = safe_frames(bridge)
    figures = examine(sessions, microscope.executed, safe)
    return {"recovered_s": round(recovered_s, 2), "lost_frames": figures["lost_frames"]} | {
        name: figures[name] for name in ("repeated_frames", "journals_bad", "duplicate_commands")
    }


def is_held(bridge: Bridge) -> bool:
    """Whether no frame has become safe for a second."""
    before = safe_frames(bridge)
    time.sleep(1.0)
    return safe_frames(bridge) == before


def flood(port: int, count: int) -> None:
    """Open connections to the control port and keep them, until told to end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    greeting = bytes([0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3, 1]) + b"NULL".ljust(20, b"\0") + bytes(32)
    kept, refused = [], 0
    for number in range(count):
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            connection.sendall((greeting, b"GET / HTTP/1.1\r\n\r\n", b"\0", b"\xff" * 64)[number % 4])
            kept.append(connection)
        except OSError:
            refused += 1
    print(json.dumps({"opened": len(kept), "refused": refused}), flush=True)
    sys.stdin.read()


def torture_connections(folder: Path, count: int) -> dict[str, Any]:
    """Serve an operator while many who have no key are connected."""
    from drivers.client import BridgeClient
    from drivers.client import Options as ClientOptions
    from drivers.contract.frame import Frame
    from drivers.keys import allow, make_own, own, trust

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for name in ("bridge", "operator"):
        make_own(folder / name)
    trust(folder / "operator", own(folder / "bridge").public.decode())
    allow(folder / "bridge", "control", "operator", own(folder / "operator").public.decode())
    microscope = Paced()

    async def is_served(address: str) -> bool:
        async with BridgeClient(address, ClientOptions(keys=folder / "operator")) as client:
            async for arrival in client.arrivals():
                if isinstance(arrival.content, Frame):
                    return (await client.execute(BlankBeam())).status == "confirmed"
        return False

    with serving(microscope, BridgeOptions(port=0, keys=folder / "bridge")) as bridge:
        command = [sys.executable, __file__, "flood", str(bridge.port), str(count)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            opened = json.loads(process.stdout.readline())
            began_s = time.monotonic()
            served = asyncio.run(asyncio.wait_for(is_served(bridge.address), PATIENCE_S))
            served_s = time.monotonic() - began_s
            process.communicate("")
    moved = [command for command in microscope.executed if not isinstance(command, BlankBeam)]
    return opened | {"served": served, "served_s": round(served_s, 2), "moved_by_others": len(moved)}


# --- all of it ---------------------------------------------------------------------------------------------


def read_options(words: tuple[str, ...]) -> argparse.Namespace:
    """Read what stands behind the name."""
    parser = argparse.ArgumentParser(prog="columnist bench faults")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=20, help="of every fault")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=4, help="trials that run side by side")
    parser.add_argument("--kinds", nargs="+", default=[*LINK_FAULTS, *INSTRUMENT_FAULTS])
    parser.add_argument(
        "--disk-s", type=float, default=2.0, help="how long the disk is full; 0: leave it out"
    )
    parser.add_argument("--out", type=Path, help="file for the figures, written as each part is done")
    return parser.parse_args(words)


def main(words: tuple[str, ...] = ()) -> tuple[dict[str, Any], bool]:
    """Measure; met if nothing was lost or repeated and everything recovered in time."""
    options = read_options(words)
    figures: dict[str, Any] = {"cores": os.cpu_count()}

    def keep(found: dict[str, Any]) -> None:
        figures.update(found)
        if options.out is not None:
            options.out.write_text(json.dumps(figures, indent=1))

    with tempfile.TemporaryDirectory(prefix="columnist-torture-") as name:
        folder = Path(name)
        if options.kills:
            keep(torture_kills(folder, options.kills, options.seed))
        if options.seeds:
            kinds = tuple(options.kinds)
            asyncio.run(torture_faults(options.seeds, options.at_once, kinds, keep))
        if options.disk_s:
            keep({"disk_full": torture_disk(folder, options.disk_s)})
        if options.connections:
            keep({"connections": torture_connections(folder, options.connections)})
    return figures, is_met(figures)


def is_met(figures: dict[str, Any]) -> bool:
    """Whether all that was measured is as it has to be."""
    zeros = ("lost_frames", "repeated_frames", "duplicate_commands", "journals_bad")
    disk, connections = figures.get("disk_full", {}), figures.get("connections", {})
    return (
        not any(figures.get(name) or disk.get(name) for name in zeros)
        and figures.get("recovered") == figures.get("trials")
        and (figures.get("recovery_p95_s") or 0.0) <= 5.0
        and disk.get("recovered_s", 0.0) <= 5.0
        and connections.get("served", True)
        and not connections.get("moved_by_others")
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["agent"]:
        address, place, limit, *more = sys.argv[2:]
        told = json.loads(more[0]) if more else {}
        flags = told.get("flags", {})
        made = NoAnalysis(told.get("takes_s", 0.0), told.get("columns", 3))
        if "every" in told:
            made = SparseAnalysis(told["every"], agent_settings(Path(place), **flags).analysis)
        run_agent(address, Path(place), int(limit), made, flags)
    else:
        flood(int(sys.argv[2]), int(sys.argv[3]))
