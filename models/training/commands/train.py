"""`columnist train`: train a classifier on a data set."""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from drivers.contract.errors import InputError
from models.networks.catalogue import NETWORKS, find_recipe
from models.training import fit
from models.training.dataset import check_seed
from models.training.workers import joined


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist train`."""
    parser.add_argument("name", help="network: " + ", ".join(NETWORKS))
    parser.add_argument("--dataset", type=Path, required=True, help="folder of `columnist dataset build`")
    parser.add_argument("--out", type=Path, default=Path("out/weights"), help="folder to write weights to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="default: the paper's, 20 for mlp-*, 10 for attn-*")
    parser.add_argument("--batch", type=int, help="default: the paper's, by name")
    parser.add_argument("--learning-rate", type=float, default=fit.LEARNING_RATE)
    parser.add_argument("--decay", action="store_true", help="let the learning rate fall along a cosine")
    parser.add_argument("--device", default="cpu", help="cpu (default), or cuda; several GPUs by torchrun")
    parser.add_argument("--json", action="store_true", help="print the card as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Train behind a progress bar with loss, accuracy and time left."""
    find_recipe(arguments.name)
    check_seed(arguments.seed)
    for option in ("epochs", "batch"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise InputError(f"--{option} {value}: expected at least 1")
    if not 0 < arguments.learning_rate < 1:
        raise InputError(f"--learning-rate {arguments.learning_rate:g}: expected a number between 0 and 1")
    training = fit.Training(
        arguments.name,
        arguments.dataset,
        arguments.out,
        arguments.seed,
        arguments.epochs,
        arguments.batch,
        arguments.learning_rate,
        arguments.decay,
    )
    with joined(arguments.device) as worker, _progress_bar(quiet=worker.rank > 0) as progress:
        bar = progress.add_task(arguments.name, total=None, figures="reading the data set")

        def show(state: fit.Progress) -> None:
            progress.update(
                bar,
                total=state.total,
                completed=state.done,
                figures=f"epoch {state.epoch + 1}/{state.epochs}  loss {state.loss:.4f}  "
                f"accuracy {state.accuracy:.2%}",
            )

        card = fit.train(training, show, worker)
    if worker.rank > 0:
        return 0
    if arguments.json:
        print(json.dumps(card, indent=1))
        return 0
    test = card["figures"]["test"]
    print(
        f"{arguments.out / arguments.name}.safetensors: test accuracy {test['accuracy']:.2%} "
        f"({test['accuracy_reference']:.2%} at 10^4.5 e/Å² and more), ECE {test['ece']:.4f}, "
        f"entropy {test['entropy_nats']:.4f} nats"
    )
    return 0


def _progress_bar(*, quiet: bool) -> Progress:
    """Return a progress bar with figures and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )
