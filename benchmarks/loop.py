"""What the agent's choice of scans is worth: dose and time to know a specimen, against plainer policies.

Run by `columnist bench loop [--json] [--specimens N] [--seeds N] [--jobs N] [--out FOLDER]`.  Each policy
scans each simulated specimen under each seed (`benchmarks.rig.runs`), with the same networks and fusion.
Every session that is finished is kept in the folder, and found again by a later call with the same code,
weights and settings.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import as_completed
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmarks.rig.figures import draw, summarise
from benchmarks.rig.policies import POLICIES
from benchmarks.rig.runs import CASES, RULES, work
from drivers.commands.options import count
from sim_microscope.workers import worker_pool

#: From the issue.
LIMITS = {
    "dose_ratio_vs_best": 0.5,
    "dose_ratio_vs_windows": 0.85,
    "worst_dose_ratio": 1.10,
    "fused_ece": 0.02,
    "gain_error": 0.25,
}

_ROOT = Path(__file__).parents[1]


def main(words: tuple[str, ...] = ()) -> tuple[dict[str, Any], bool]:
    parser = argparse.ArgumentParser(prog="columnist bench loop")
    parser.add_argument("--specimens", type=int, default=len(CASES), help="the first so many")
    parser.add_argument("--seeds", type=count, default=20, help="of each specimen")
    parser.add_argument("--jobs", type=count, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("out/bench-loop"), help="where sessions are kept")
    options = parser.parse_args(words)
    names = ("agent", *POLICIES)
    wanted = [
        (case, name, seed)
        for seed in range(options.seeds)
        for case in range(min(options.specimens, len(CASES)))
        for name in names
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "sessions.jsonl"
    digest = digest_of_all()
    done = dict(_read(kept, digest))
    missing = [task for task in wanted if task not in done]
    with kept.open("a") as file:
        for task, session in _run_all(missing, options.jobs):
            file.write(json.dumps({"digest": digest, "task": task, "session": session}) + "\n")
            file.flush()
            done[task] = session
    report = summarise([done[task] for task in wanted])
    met = {name: report[name] is not None and bool(report[name] <= limit) for name, limit in LIMITS.items()}
    report |= {"specimens": options.specimens, "seeds": options.seeds, "limits": LIMITS, "met": met}
    report["plot"] = str(draw([done[task] for task in wanted], options.out / "f1-against-dose.png"))
    return report, all(met.values())


def digest_of_all() -> str:
    """Of all that a session rests on: settings, weights, law, and the code that decides and scans."""
    hashed = hashlib.sha256(json.dumps([vars(case) for case in CASES]).encode())
    hashed.update(RULES.model_dump_json().encode())
    for name in ("weights/mlp-simple.safetensors", "data/fusion-mlp-simple.json"):
        hashed.update((files("models") / name).read_bytes())
    for folder in ("agent", "benchmarks/rig", "models", "sim_microscope"):
        for path in sorted((_ROOT / folder).glob("*.py")):
            hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def _read(kept: Path, digest: str) -> Iterator[tuple[tuple[int, str, int], dict[str, Any]]]:
    """Sessions that were finished before; a line that was cut short is left out."""
    for line in kept.read_text().splitlines() if kept.exists() else ():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if found["digest"] == digest:
            case, name, seed = found["task"]
            yield (case, name, seed), found["session"]


def _run_all(
    tasks: list[tuple[int, str, int]], jobs: int
) -> Iterator[tuple[tuple[int, str, int], dict[str, Any]]]:
    """Run sessions, and show how far it is."""
    from rich.console import Console
    from rich.progress import Progress, TimeRemainingColumn

    with Progress(
        *Progress.get_default_columns()[:3], TimeRemainingColumn(), console=Console(stderr=True)
    ) as progress:
        bar = progress.add_task("sessions", total=len(tasks))
        if jobs == 1:
            for task in tasks:
                yield work(task)
                progress.advance(bar)
            return
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        pool = worker_pool(jobs)
        try:
            for future in as_completed([pool.submit(work, task) for task in tasks]):
                yield future.result()
                progress.advance(bar)
        finally:  # stopped half-way, do not work off the rest
            pool.shutdown(cancel_futures=True)
