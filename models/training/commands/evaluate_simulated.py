"""`columnist evaluate simulated`: score classifiers on simulated fields that training never saw."""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from drivers.commands.options import count
from drivers.contract.errors import InputError
from models.analysis import DEFAULT_MODEL
from models.checkpoint import Weights, load_shipped, load_weights
from models.contexts import reference_contexts
from models.networks.catalogue import NETWORKS
from models.training import simulated
from models.training.dataset import check_seed
from sim_microscope.commands.options import make_folder, progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist evaluate simulated`."""
    parser.add_argument("--out", type=Path, help="folder for report.json and the figures (default: none)")
    parser.add_argument("--model", action="append", choices=list(NETWORKS), help="default: all six")
    parser.add_argument("--weights", type=Path, help="folder of weights of your own, instead of the shipped")
    parser.add_argument(
        "--reference", type=Path, help="weights of `reference-features`, to measure the gap to it anew"
    )
    parser.add_argument(
        "--frames",
        type=count,
        default=12,
        help="fields of each of the 576 contexts (12), and a third below carbon",
    )
    parser.add_argument("--fields", type=Path, help="folder to keep the fields in, or to find them")
    parser.add_argument("--seed", type=int, default=0, help="seed of the fields")
    parser.add_argument("--workers", type=count, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make fields, score every network on them, and draw what was found."""
    check_seed(arguments.seed)
    if arguments.reference is not None and DEFAULT_MODEL not in (arguments.model or NETWORKS):
        raise InputError(
            f"--reference: measured is the gap of {DEFAULT_MODEL} to it; add --model {DEFAULT_MODEL}, "
            "or leave it out"
        )
    if arguments.out is not None:
        make_folder(arguments.out)
    weights = [_load(name, arguments.weights) for name in arguments.model or NETWORKS]
    larger = None if arguments.reference is None else load_weights(arguments.reference)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.fields or Path(temporary)
        third = max(1, arguments.frames // 3)
        sets = {
            "clean": (simulated.CLEAN, arguments.frames),
            "contaminated": (simulated.CONTAMINATED, third),
        }
        cards = {}
        with progress_bar() as progress:
            bar = progress.add_task("fields", total=len(reference_contexts()) * (arguments.frames + third))
            for name, (ranges, frames) in sets.items():
                cards[name] = simulated.make_fields(
                    folder / name,
                    ranges,
                    frames,
                    arguments.seed,
                    workers=arguments.workers,
                    on_done=lambda fields: progress.advance(bar, fields),
                )
        scored, contaminated = ([simulated.score(one, folder / name) for one in weights] for name in sets)
        reference = None if larger is None else simulated.score(larger, folder / "clean")
    report = simulated.compare(scored, DEFAULT_MODEL, cards["clean"], reference, contaminated)
    if arguments.out is not None:
        from models.training.pictures import draw_all

        (arguments.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        draw_all(scored, report, arguments.out)
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        _print(report)
    return 0 if all(report["met"].values()) else 1


def _load(name: str, folder: Path | None) -> Weights:
    """Weights of a network, shipped or from a folder."""
    return load_shipped(name) if folder is None else load_weights(folder / f"{name}.safetensors")


def _print(report: dict[str, Any]) -> None:
    """Print a table of the networks, and the figures that have limits."""
    table = Table(
        title=f"{report['columns']:,} columns of {report['fields']:,} fields at 10^4.5 e/Å² and more"
    )
    for heading in (
        "network",
        "train %",
        "test %",
        "all doses %",
        "entropy [nats]",
        "ECE",
        "worst context %",
        "below carbon %",
    ):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for name, model in report["models"].items():
        worst = min(model["worst_contexts"].values())
        table.add_row(
            name,
            f"{model['train_accuracy']:.2f}",
            f"{model['accuracy']:.2f}",
            f"{model['accuracy_whole_range']:.2f}",
            f"{model['entropy_nats']:.4f}",
            f"{model['ece']:.4f}",
            f"{worst:.1f}",
            f"{report['contaminated'][name]['accuracy']:.2f}",
        )
    console = Console()
    console.print(table)
    for name, limit in report["limits"].items():
        if name in report:
            verdict = "met" if report["met"][name] else "missed"
            console.print(f"{name}: {report[name]:.4g} (limit {limit:g}, {verdict})", highlight=False)
