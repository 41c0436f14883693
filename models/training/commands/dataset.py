"""`columnist dataset`: build the data set that classifiers learn from."""

import argparse
import json
import math
import os
import time
from pathlib import Path

from drivers.commands.options import count
from drivers.contract.errors import InputError
from models.contexts import reference_contexts
from models.training.conditions import Ranges
from models.training.dataset import Plan, build, check_seed
from sim_microscope.commands.options import finite, make_folder, progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist dataset`."""
    actions = parser.add_subparsers(dest="action", required=True)
    action = actions.add_parser("build", help="build a data set; goes on where it was interrupted")
    action.add_argument("--patches", type=finite, default=55e6, help="columns in all, about (55e6)")
    action.add_argument("--out", type=Path, required=True, help="folder of the data set")
    action.add_argument("--seed", type=int, default=0)
    action.add_argument("--workers", type=count, default=os.cpu_count() or 1, help="processes")
    action.add_argument("--cluster", metavar="ADDRESS", help="Dask scheduler to work on instead")
    action.add_argument("--json", action="store_true", help="print the card as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Build the data set behind a progress bar."""
    contexts = len(reference_contexts())
    if not contexts <= arguments.patches <= 1e10:
        raise InputError(f"--patches {arguments.patches:g}: expected {contexts} (one a context) to 1e10")
    check_seed(arguments.seed)
    plan = Plan(math.ceil(arguments.patches / contexts), arguments.seed, Ranges())
    make_folder(arguments.out)
    start = time.monotonic()
    with progress_bar() as progress:
        bar = progress.add_task("columns", total=contexts * plan.columns_a_context)
        card = build(
            plan,
            arguments.out,
            workers=arguments.workers,
            cluster=arguments.cluster,
            on_done=lambda columns: progress.advance(bar, columns),
        )
    if arguments.json:
        print(json.dumps(card, indent=1))
        return 0
    seconds = time.monotonic() - start
    print(f"{arguments.out}: {card['columns']} columns of {card['frames']} frames ({seconds:.0f} s this run)")
    return 0
