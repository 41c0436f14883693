"""Fuzzing: every byte that comes from outside, mutated from golden messages and small valid files.

Run by `columnist bench fuzz [--json] [--messages 1000000 --files 10000] [--out counts.json]`.

A case fails if anything but the errors of the contract comes out, if it takes longer or more memory than its
bound, or if the process crashes or hangs.  HDF5 files that crash or hang their library do not count if the
rehearsal in a process of its own (`drivers.file_rehearsal`) refuses them; they are counted apart.

The mutator is seeded: kind, seed and number make a case again.  Each kind runs in a process of its own, whose
memory is limited; one that crashes or hangs is begun again behind the case that did it.  With `--out`, counts
are written there as they grow, and a later call with the same file, seed and code goes on where it ended.
"""

import argparse
import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rig.fuzz_files import (
    DATA,
    RECORDED,
    Case,
    micrograph_case,
    session_case,
    settings_case,
    weights_case,
)
from benchmarks.rig.fuzz_messages import orders_case, wire_case
from drivers import file_rehearsal

#: Bounds of a case: seconds of the processor for a message or a file, and memory beyond what the process had
#: at the start [bytes].
MESSAGE_S, FILE_S = 1.0, 10.0
MEMORY_BYTES = 2 * 2**30

#: For HDF5, of the processor [s]: what takes longer here is given to the rehearsal, which has so long.
HDF5_S, REHEARSAL_S = 1.0, 3.0

#: On the clock, for one that waits without end [s].
STUCK_S = 120.0

#: Cases after which the worker says how far it is.
REPORT_EVERY = 1000

MESSAGES = ("wire", "orders")
FORMATS = (
    "frame.hspy", "frame.zspy", "frame.tif", "frame.mrc", "frame.ser", "velox.emd", "berkeley.emd",
    "frame.nxs", "frame.h5", "frame.npy", "frame.png", "frame.dm3", "frame.dm4", RECORDED,
)  # fmt: skip
#: HDF5 hangs or crashes on some files; they are read in a process of their own first.
REHEARSED = ("frame.hspy", "velox.emd", "berkeley.emd", "frame.nxs", "frame.h5")
FILES = ("settings", "session", "weights", *FORMATS)

_FOLDERS: dict[str, Callable[[Path], Case]] = {
    "settings": settings_case,
    "session": session_case,
    "weights": weights_case,
}


def make_case(kind: str, folder: Path) -> Case:
    """Set a kind up."""
    if kind in MESSAGES:
        return {"wire": wire_case, "orders": orders_case}[kind]()
    return _FOLDERS[kind](folder) if kind in _FOLDERS else micrograph_case(kind, folder)


class Failures:
    """What failed, by where it did: how often, and the first few."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}

    def add(self, where: str, what: str, count: int = 1) -> None:
        known = self.found.setdefault(where, {"count": 0, "first": []})
        known["count"] += count
        if what and len(known["first"]) < 2:
            known["first"].append(what[:300])

    def merge(self, found: dict[str, dict[str, Any]]) -> None:
        for where, what in found.items():
            for place, first in enumerate(what["first"]):
                self.add(where, first, what["count"] if place == 0 else 0)

    @property
    def count(self) -> int:
        return sum(each["count"] for each in self.found.values())


# --- the process of a kind ---------------------------------------------------------------------------------


class Report:
    """What a worker has to tell so far, in a file that is whole at any time."""

    def __init__(self, path: Path, base_kib: int) -> None:
        self._path, self._base_kib = path, base_kib
        self.accepted, self.slowest_s = 0, 0.0
        self.failures = Failures()

    def write(self, following: int) -> None:
        """Say how it stands before the case `following`."""
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        told = {
            "next": following,
            "accepted": self.accepted,
            "failures": self.failures.found,
            "slowest_s": self.slowest_s,
            "peak_mib": (peak_kib - self._base_kib) / 1024,
        }
        partial = self._path.with_suffix(".part")
        partial.write_text(json.dumps(told))
        os.replace(partial, self._path)


def work(kind: str, start: int, count: int, seed: int, folder: Path) -> None:
    """Be the process of one kind: run cases, and say on which one it is, and what failed."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    sys.setrecursionlimit(1000)
    run = make_case(kind, folder)
    run(random.Random(0))  # whatever is loaded at the first use belongs to no case
    with Path("/proc/self/statm").open() as file:
        now_bytes = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + MEMORY_BYTES, resource.RLIM_INFINITY))
    bound_s = MESSAGE_S if kind in MESSAGES else FILE_S
    progress = os.open(folder / "progress", os.O_RDWR | os.O_CREAT, 0o600)
    report = Report(folder / "report.json", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for number in range(start, start + count):
        os.pwrite(progress, b"%20d" % number, 0)
        signal.setitimer(signal.ITIMER_PROF, HDF5_S if kind in REHEARSED else FILE_S)  # ends the process
        seconds = run_one(run, f"{kind} {seed} {number}", number, report)
        report.slowest_s = max(report.slowest_s, seconds)
        if seconds > bound_s:
            report.failures.add("slow", f"case {number}: took {seconds:.1f} s, the bound is {bound_s:g} s")
        if number % REPORT_EVERY == REPORT_EVERY - 1:
            report.write(number + 1)
    signal.setitimer(signal.ITIMER_PROF, 0)
    report.write(start + count)


def run_one(run: Case, seed: str, number: int, report: Report) -> float:
    """Run a case; returns the seconds of the processor that it took."""
    began_s = time.process_time()
    try:
        report.accepted += run(random.Random(seed))
    except BaseException as error:  # whatever it is, it is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        report.failures.add(f"{type(error).__name__} at {place}", f"case {number}: {error}")
        report.write(number + 1)
        if isinstance(error, KeyboardInterrupt):
            raise
    return time.process_time() - began_s


# --- the process that watches ------------------------------------------------------------------------------


class Tally:
    """What is known of one kind, over all its processes and all calls."""

    def __init__(self, start: int, known: dict[str, Any] | None = None) -> None:
        known = known or {}
        self.next = known.get("next", start)
        self.total: dict[str, Any] = {
            name: known.get(name, 0) for name in ("cases", "accepted", "slowest_s", "peak_mib", "elapsed_s")
        }
        self.total |= (
            {"refused_by_rehearsal": known["refused_by_rehearsal"]} if "refused_by_rehearsal" in known else {}
        )
        self.failures = Failures()
        self.failures.merge(known.get("found", {}))

    def add(self, report: dict[str, Any], following: int, elapsed_s: float) -> None:
        """Count what a worker did."""
        self.total["cases"] += following - self.next
        self.next = following
        self.total["accepted"] += report["accepted"]
        self.failures.merge(report["failures"])
        for name, places in (("slowest_s", 3), ("peak_mib", 1)):
            self.total[name] = round(max(self.total[name], report[name]), places)
        self.total["elapsed_s"] = round(self.total["elapsed_s"] + elapsed_s, 1)

    def figures(self) -> dict[str, Any]:
        """As they are told."""
        return self.total | {"failures": self.failures.count, "found": self.failures.found, "next": self.next}


_NOTHING: dict[str, Any] = {"accepted": 0, "failures": {}, "slowest_s": 0.0, "peak_mib": 0.0}


def fuzz(kind: str, end: int, seed: int, tally: Tally, keep: Callable[[], None]) -> None:
    """Run the cases of a kind up to one; begins again behind one that ends or stops the process."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    while tally.next < end:
        count, began_s = min(end - tally.next, 100 * REPORT_EVERY), time.monotonic()
        with tempfile.TemporaryDirectory(prefix="columnist-fuzz-", dir=base) as name:
            folder = Path(name)
            command = [sys.executable, __file__, "work", kind, str(tally.next), str(count), str(seed), name]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                ending = _watch(process, folder / "progress")
            told = folder / "report.json"
            report = json.loads(told.read_text()) if told.is_file() else _NOTHING
            following = tally.next + count
            if ending is not None:
                at = _progress(folder / "progress")
                if at is None:
                    raise RuntimeError(f"{kind} could not be set up: {ending}")
                following = at + 1
                _judge(kind, at, seed, ending, tally)
        tally.add(report, following, time.monotonic() - began_s)
        keep()


def _judge(kind: str, number: int, seed: int, ending: str, tally: Tally) -> None:
    """Count a case that ended or stopped the process."""
    if kind in REHEARSED and _is_refused(kind, number, seed):
        tally.total["refused_by_rehearsal"] = tally.total.get("refused_by_rehearsal", 0) + 1
    else:
        tally.failures.add(ending.split(":")[0], f"case {number}: {ending}")


def _watch(process: "subprocess.Popen[bytes]", progress: Path) -> str | None:
    """Wait for a worker; say how it ended if not in order."""
    at, since_s = None, time.monotonic()
    while True:
        try:
            _, errors = process.communicate(timeout=1.0)
            break
        except subprocess.TimeoutExpired:
            now = _progress(progress)
            if now != at:
                at, since_s = now, time.monotonic()
            elif at is not None and time.monotonic() - since_s > STUCK_S:
                process.kill()
                process.communicate()
                return f"waited for {STUCK_S:g} s"
    if process.returncode == 0:
        return None
    if process.returncode == -signal.SIGPROF:
        return "hung"
    said_last = errors[-300:].decode(errors="replace")
    return f"ended the process with status {process.returncode}: {said_last}"


def _is_refused(kind: str, number: int, seed: int) -> bool:
    """Whether a case that ends or stops the process is refused when it is read as files from outside are."""
    file_rehearsal.PATIENCE_S = REHEARSAL_S
    with tempfile.TemporaryDirectory(prefix="columnist-fuzz-") as name:
        case = micrograph_case(kind, Path(name), is_trusted=False)
        return not case(random.Random(f"{kind} {seed} {number}"))


def _progress(path: Path) -> int | None:
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return None


# --- all of it ---------------------------------------------------------------------------------------------


def read_options(words: tuple[str, ...]) -> argparse.Namespace:
    """Read what stands behind the name."""
    parser = argparse.ArgumentParser(prog="columnist bench fuzz")
    parser.add_argument("--messages", type=int, default=1_000_000, help="of each kind of message")
    parser.add_argument("--files", type=int, default=10_000, help="of each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--kinds", nargs="+", default=[*MESSAGES, *FILES], choices=[*MESSAGES, *FILES])
    parser.add_argument("--out", type=Path, help="file of the counts; one that is there is gone on with")
    return parser.parse_args(words)


def main(words: tuple[str, ...] = ()) -> tuple[dict[str, Any], bool]:
    """Fuzz; met if nothing failed.  Hours pass: each kind is told of as it is done."""
    options = read_options(words)
    known = _known(options)
    tallies: dict[str, Tally] = {}

    def keep() -> None:
        if options.out is not None:
            told = {kind: tally.figures() for kind, tally in tallies.items()}
            partial = options.out.with_suffix(".part")
            partial.write_text(json.dumps({"seed": options.seed, "kinds": known | told}, indent=1))
            os.replace(partial, options.out)

    for kind in options.kinds:
        if kind == RECORDED and not DATA.is_dir():
            continue
        tallies[kind] = tally = Tally(options.start, known.get(kind))
        count = options.messages if kind in MESSAGES else options.files
        fuzz(kind, options.start + count, options.seed, tally, keep)
        print(f"{kind:14} {tally.figures()}", file=sys.stderr, flush=True)
    failures = sum(tally.failures.count for tally in tallies.values())
    kinds = {kind: tally.figures() for kind, tally in tallies.items()}
    return {"fuzz_failures": failures, "kinds": kinds}, not failures


def _known(options: argparse.Namespace) -> dict[str, Any]:
    """Counts of an earlier call."""
    if options.out is None or not options.out.is_file():
        return {}
    told = json.loads(options.out.read_text())
    if told["seed"] != options.seed:
        raise SystemExit(
            f"expected counts of seed {options.seed} in {options.out}, found seed {told['seed']}; "
            "name another file"
        )
    return dict(told["kinds"])


if __name__ == "__main__":
    work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), Path(sys.argv[6]))
