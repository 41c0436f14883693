"""`columnist derive`: what the agent needs to know beforehand, derived from the simulator alone."""

import argparse
import json
import os
import sys
from pathlib import Path

from drivers.contract.errors import InputError
from models.contexts import reference_contexts
from sim_microscope.commands.options import progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist derive`."""
    actions = parser.add_subparsers(dest="action", required=True)
    contrasts = actions.add_parser("contrasts", help="expected contrasts of all contexts, from kernels")
    contrasts.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parents[2] / "data" / "contrasts.json",
        help="JSON file to write (default: this checkout's)",
    )
    templates = actions.add_parser(
        "templates", help="expected moments of all contexts, from simulated frames"
    )
    templates.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parents[2] / "data" / "templates.npz",
        help="file to write (default: this checkout's)",
    )
    templates.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    sublattice = actions.add_parser(
        "sublattice", help="score the sublattice decision on simulated frames, and fit its constants to them"
    )
    sublattice.add_argument("--frames", type=int, default=576, help="simulated frames")
    sublattice.add_argument("--seed", type=int, default=0)
    sublattice.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    sublattice.add_argument("--json", action="store_true", help="print the figures as JSON")
    foreignness = actions.add_parser("foreignness", help="what familiar columns look like, from a data set")
    foreignness.add_argument("--dataset", type=Path, required=True, help="folder of a finished data set")
    foreignness.add_argument("--out", type=Path, default=Path("out/weights"), help="folder to write to")
    pixels = actions.add_parser("pixels", help="what six moments cost against the pixels themselves")
    pixels.add_argument(
        "--weights", type=Path, help="of the classifier to compare (default: the shipped one)"
    )
    pixels.add_argument("--every", type=int, default=1, help="take every so many-th of the 576 contexts (1)")
    pixels.add_argument("--frames", type=int, default=6, help="frames of each, the last for the test (6)")
    pixels.add_argument("--epochs", type=int, default=6)
    pixels.add_argument("--seed", type=int, default=0)
    pixels.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    fusion = actions.add_parser(
        "fusion", help="how evidence adds up over frames, for one network, from simulated series"
    )
    fusion.add_argument("--network", default="mlp-simple", help="shipped network that reads the frames")
    fusion.add_argument(
        "--weights", type=Path, help="weights (.safetensors) to use in place of the shipped ones"
    )
    fusion.add_argument(
        "--observations",
        type=Path,
        default=Path("out/fusion/observations.npz"),
        help="simulated and read series; used if it is there, else made and kept (default: %(default)s)",
    )
    fusion.add_argument("--series", type=int, default=288, help="series of ten frames to simulate")
    fusion.add_argument("--seed", type=int, default=0)
    fusion.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    fusion.add_argument(
        "--out", type=Path, help="JSON file to write (default: this checkout's, of the network)"
    )
    fusion.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit status."""
    actions = {
        "contrasts": contrasts,
        "templates": templates,
        "sublattice": sublattice,
        "foreignness": foreignness,
        "fusion": fusion,
        "pixels": pixels,
    }
    return actions[arguments.action](arguments)


def contrasts(arguments: argparse.Namespace) -> int:
    """Write the table of expected contrasts."""
    from models.training.contrasts import derive_table

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar() as progress:
        bar = progress.add_task("contexts", total=len(reference_contexts()))
        derive_table(arguments.out, on_done=lambda: progress.advance(bar))
    print(f"{arguments.out} ({arguments.out.stat().st_size / 2**10:.0f} KiB)")
    return 0


def templates(arguments: argparse.Namespace) -> int:
    """Write the table of expected moments."""
    from models.training.templates import derive_templates

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar() as progress:
        bar = progress.add_task("contexts", total=len(reference_contexts()))
        derive_templates(arguments.out, workers=arguments.workers, on_done=lambda: progress.advance(bar))
    print(f"{arguments.out} ({arguments.out.stat().st_size / 2**10:.0f} KiB)")
    return 0


def sublattice(arguments: argparse.Namespace) -> int:
    """Score the decision and print what its constants would be."""
    from models.training.sublattice import as_text, study

    if arguments.frames < 1:
        raise InputError(f"--frames {arguments.frames}: expected at least 1")
    with progress_bar() as progress:
        bar = progress.add_task("frames", total=arguments.frames)
        figures = study(
            arguments.frames,
            arguments.seed,
            workers=arguments.workers,
            on_done=lambda: progress.advance(bar),
        )
    print(json.dumps(figures, indent=1) if arguments.json else as_text(figures))
    return 0


def foreignness(arguments: argparse.Namespace) -> int:
    """Fit what familiar columns look like, and say how many of held-out frames it calls foreign."""
    from models.foreignness import save_familiar
    from models.training.foreignness import fit_familiar
    from models.training.samples import load_samples, read_card
    from models.zernike import ORDERS

    parts = load_samples(arguments.dataset, "metal")
    familiar, test = fit_familiar(parts["train"], parts["calibration"]), parts["test"]
    contrast, context, _ = test.take(slice(None))
    moments, is_metal = contrast[:, : len(ORDERS)], contrast[:, len(ORDERS)] > 0.5
    foreign = float((familiar.score(moments, is_metal, context) > 1).float().mean())
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "foreignness.safetensors"
    card = {
        "what": "Means and covariance of training's moments by context and class",
        "made_by": "columnist derive foreignness",
        "test_columns": len(test),
        "test_columns_above_1": foreign,
        "data": read_card(arguments.dataset),
    }
    save_familiar(path, familiar, card)
    print(f"{path}: {foreign:.2%} of {len(test)} held-out columns score above 1")
    return 0


def pixels(arguments: argparse.Namespace) -> int:
    """Compare a convolutional network on pixels with a classifier of moments; prints the figures."""
    from models.analysis import DEFAULT_MODEL
    from models.checkpoint import load_shipped, load_weights
    from models.training.pixels import study

    if min(arguments.every, arguments.frames - 1, arguments.epochs, arguments.workers) < 1:
        raise InputError("--every, --epochs and --workers must be at least 1, and --frames at least 2")
    chosen = load_shipped(DEFAULT_MODEL) if arguments.weights is None else load_weights(arguments.weights)
    with progress_bar() as progress:
        bar = progress.add_task("contexts", total=len(range(0, len(reference_contexts()), arguments.every)))
        figures = study(
            chosen,
            every=arguments.every,
            frames=arguments.frames,
            epochs=arguments.epochs,
            seed=arguments.seed,
            workers=arguments.workers,
            on_done=lambda: progress.advance(bar),
        )
    print(json.dumps(figures, indent=1))
    return 0


def fusion(arguments: argparse.Namespace) -> int:
    """Fit the constants of `models.fusion` for a network; score them on series that none was fitted to."""
    from models.checkpoint import FEATURES_FORMAT, load_shipped, load_weights
    from models.fusion_law import law_as_plain
    from models.training.fusion import as_text, fit, score, tabulate
    from models.training.observations import RANGES, load_observations, observe, save_observations

    weights = load_weights(arguments.weights) if arguments.weights else load_shipped(arguments.network)
    if not arguments.observations.is_file():
        if arguments.series < 6:
            raise InputError(
                f"--series {arguments.series}: expected at least 6, some to fit and some to score"
            )
        with progress_bar() as progress:
            bar = progress.add_task("series", total=arguments.series)
            made = observe(
                arguments.series,
                arguments.seed,
                workers=arguments.workers,
                on_done=lambda: progress.advance(bar),
            )
        card = {
            "what": "Columns of simulated series of frames, read as the agent reads them",
            "made_by": "columnist derive fusion",
            "features_format": FEATURES_FORMAT,
            "series": arguments.series,
            "seed": arguments.seed,
            "ranges": RANGES.as_card(),
        }
        save_observations(arguments.observations, made, card)
    made_as = json.loads(arguments.observations.with_suffix(".json").read_text()).get("features_format")
    if made_as != FEATURES_FORMAT:
        raise InputError(
            f"{arguments.observations} holds features of format {made_as!r}, this code needs "
            f"{FEATURES_FORMAT}; move it away, and new series are made"
        )
    table = tabulate(load_observations(arguments.observations), weights)
    law = fit(table)
    figures = score(table, law)
    network = weights.card["network"]
    out = arguments.out or Path(__file__).parents[2] / "data" / f"fusion-{network}.json"
    card = {
        "what": "How evidence adds up over frames: constants of models.fusion",
        "made_by": f"columnist derive fusion --network {network}",
        "weights_sha256": weights.card["sha256"],
        "observations": json.loads(arguments.observations.with_suffix(".json").read_text()),
        "figures": figures,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(law_as_plain(law, card), indent=1) + "\n")
    print(json.dumps(figures, indent=1) if arguments.json else as_text(law, figures))
    print(f"{out} ({out.stat().st_size / 2**10:.0f} KiB)", file=sys.stderr)
    return 0
