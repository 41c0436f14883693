"""`columnist derive`: what the agent needs to know beforehand, derived from the simulator alone."""

import argparse
import json
import os
import sys
from pathlib import Path

from drivers.commands.options import count
from drivers.contract.errors import InputError
from models.contexts import reference_contexts
from sim_microscope.commands.options import make_folder, progress_bar

#: Series that are simulated unless another number is asked for, and the fewest: some to fit, some to score.
_SERIES, _LEAST_SERIES = 288, 6


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
    templates.add_argument("--workers", type=count, default=os.cpu_count() or 1, help="processes")
    sublattice = actions.add_parser(
        "sublattice", help="score the sublattice decision on simulated frames, and fit its constants to them"
    )
    sublattice.add_argument("--frames", type=count, default=576, help="simulated frames")
    sublattice.add_argument("--seed", type=_seed, default=0)
    sublattice.add_argument("--workers", type=count, default=os.cpu_count() or 1, help="processes")
    sublattice.add_argument("--json", action="store_true", help="print the figures as JSON")
    foreignness = actions.add_parser("foreignness", help="what familiar columns look like, from a data set")
    foreignness.add_argument("--dataset", type=Path, required=True, help="folder of a finished data set")
    foreignness.add_argument("--out", type=Path, default=Path("out/weights"), help="folder to write to")
    pixels = actions.add_parser("pixels", help="what six moments cost against the pixels themselves")
    pixels.add_argument(
        "--weights", type=Path, help="of the classifier to compare (default: the shipped one)"
    )
    pixels.add_argument(
        "--every", type=count, default=1, help="take every so many-th of the 576 contexts (1)"
    )
    pixels.add_argument("--frames", type=int, default=6, help="frames of each, the last for the test (6)")
    pixels.add_argument("--epochs", type=count, default=6)
    pixels.add_argument("--seed", type=_seed, default=0)
    pixels.add_argument("--workers", type=count, default=os.cpu_count() or 1, help="processes")
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
    fusion.add_argument("--series", type=count, help=f"series of ten frames to simulate ({_SERIES})")
    fusion.add_argument("--seed", type=_seed, help="of the series (0)")
    fusion.add_argument("--workers", type=count, default=os.cpu_count() or 1, help="processes")
    fusion.add_argument(
        "--out", type=Path, help="JSON file to write (default: this checkout's, of the network)"
    )
    fusion.add_argument("--json", action="store_true", help="print the figures as JSON")


def _seed(text: str) -> int:
    """Type of an option that seeds random numbers."""
    from models.training.dataset import SEEDS

    if not text.isdecimal() or int(text) >= SEEDS:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {SEEDS - 1}, found {text!r}")
    return int(text)


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

    make_folder(arguments.out.parent)
    with progress_bar() as progress:
        bar = progress.add_task("contexts", total=len(reference_contexts()))
        derive_table(arguments.out, on_done=lambda: progress.advance(bar))
    print(f"{arguments.out} ({arguments.out.stat().st_size / 2**10:.0f} KiB)")
    return 0


def templates(arguments: argparse.Namespace) -> int:
    """Write the table of expected moments."""
    from models.training.templates import derive_templates

    make_folder(arguments.out.parent)
    with progress_bar() as progress:
        bar = progress.add_task("contexts", total=len(reference_contexts()))
        derive_templates(arguments.out, workers=arguments.workers, on_done=lambda: progress.advance(bar))
    print(f"{arguments.out} ({arguments.out.stat().st_size / 2**10:.0f} KiB)")
    return 0


def sublattice(arguments: argparse.Namespace) -> int:
    """Score the decision and print what its constants would be."""
    from models.training.sublattice import as_text, study

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

    if arguments.frames < 2:
        raise InputError(f"--frames {arguments.frames}: expected at least 2, the last for the test")
    chosen = load_shipped(DEFAULT_MODEL) if arguments.weights is None else load_weights(arguments.weights)
    if chosen.card.get("data", {}).get("seed") == arguments.seed:
        raise InputError(
            f"--seed {arguments.seed}: the weights learnt from frames of that seed, which would test them; "
            "take another"
        )
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
    from models.checkpoint import FEATURES_FORMAT, load_shipped, load_weights, write_at_once
    from models.fusion_law import law_as_plain
    from models.training.dataset import read_json
    from models.training.fusion import as_text, fit, score, tabulate
    from models.training.observations import load_observations

    weights = load_weights(arguments.weights) if arguments.weights else load_shipped(arguments.network)
    network = weights.card["network"]
    out = arguments.out or Path(__file__).parents[2] / "data" / f"fusion-{network}.json"
    make_folder(out.parent)
    if not arguments.observations.is_file():
        _observe(arguments)
    kept = arguments.observations
    observed = read_json(kept.with_suffix(".json"), "move both away, and new series are made")
    for name, asked in (("series", arguments.series), ("seed", arguments.seed)):
        if asked not in (None, observed.get(name)):
            raise InputError(
                f"--{name} {asked}: {kept} is of {name} {observed.get(name)}; leave the option out to use "
                "it, or give another --observations"
            )
    if observed.get("features_format") != FEATURES_FORMAT:
        raise InputError(
            f"{kept} holds features of format {observed.get('features_format')!r}, this code needs "
            f"{FEATURES_FORMAT}; move it away, and new series are made"
        )
    table = tabulate(load_observations(kept), weights)
    law = fit(table)
    figures = score(table, law)
    weighed = f"--network {network}" if arguments.weights is None else "--weights FILE"
    drawn = f"--series {observed.get('series')} --seed {observed.get('seed')}"
    card = {
        "what": "How evidence adds up over frames: constants of models.fusion",
        "made_by": f"columnist derive fusion {weighed} {drawn} --observations FILE",
        "weights_sha256": weights.card["sha256"],
        "observations": observed,
        "figures": figures,
    }
    write_at_once(out, (json.dumps(law_as_plain(law, card), indent=1) + "\n").encode())
    print(json.dumps(figures, indent=1) if arguments.json else as_text(law, figures))
    print(f"{out} ({out.stat().st_size / 2**10:.0f} KiB)", file=sys.stderr)
    return 0


def _observe(arguments: argparse.Namespace) -> None:
    """Simulate and read series, and keep what was read with its card."""
    from models.checkpoint import FEATURES_FORMAT
    from models.training.observations import RANGES, observe, save_observations

    series, seed = arguments.series or _SERIES, arguments.seed or 0
    if series < _LEAST_SERIES:
        raise InputError(
            f"--series {series}: expected at least {_LEAST_SERIES}, some to fit and some to score"
        )
    make_folder(arguments.observations.parent)
    with progress_bar() as progress:
        bar = progress.add_task("series", total=series)
        made = observe(series, seed, workers=arguments.workers, on_done=lambda: progress.advance(bar))
    card = {
        "what": "Columns of simulated series of frames, read as the agent reads them",
        "made_by": f"columnist derive fusion --series {series} --seed {seed} --observations FILE",
        "features_format": FEATURES_FORMAT,
        "series": series,
        "seed": seed,
        "ranges": RANGES.as_card(),
    }
    save_observations(arguments.observations, made, card)
