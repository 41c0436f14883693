"""Classifiers on simulated fields that training never saw, one beside the other."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.checkpoint import Weights
from models.contexts import context_name, reference_contexts
from models.networks.catalogue import find_recipe
from models.training.conditions import Ranges
from models.training.dataset import SEEDS, Plan, build
from models.training.evaluation import REFERENCE_DOSE, all_logits, by_context, evaluate
from models.training.samples import Samples, load_all

#: Fields are smaller than training's, and many: what differs from frame to frame counts more than columns.
#: Limits are for specimens without carbon; how much is lost below it is a figure of its own.
CLEAN = Ranges(pixels=256, contaminated=0.0)
CONTAMINATED = Ranges(pixels=256, contaminated=1.0)

#: Columns of a class that a field gives, at most.
_MOST_A_FIELD = 150

#: Limits from the issue, in percent or nats; a figure beyond its limit is reported as missed.
LIMITS = {
    "accuracy_min": 98.7,
    "accuracy_best": 99.2,
    "information_gain": 94.0,
    "ece_max": 0.01,
    "worst_context_accuracy": 95.0,
    "gap_to_feature_limit": 0.3,
}


@dataclass(frozen=True)
class Scored:
    """One network on the test fields; n columns.

    Parameters
    ----------
    weights : Weights
        The network.
    samples : Samples
        The columns, with the flag that the network reads.
    logits : Tensor of shape (n, 5)
        Calibrated.
    """

    weights: Weights
    samples: Samples
    logits: Tensor

    @property
    def name(self) -> str:
        """Name of the network."""
        return str(self.weights.card["network"])


def make_fields(
    folder: Path, ranges: Ranges, frames: int, seed: int, *, workers: int, on_done: Callable[[int], None]
) -> dict[str, Any]:
    """Make test fields of all contexts in a folder; fields that are there already stay.

    Parameters
    ----------
    folder : Path
    ranges : Ranges
        `CLEAN` or `CONTAMINATED`.
    frames : int
        Fields of each context.
    seed : int
    workers : int
        Processes.
    on_done : callable
        Told a number of fields whenever a context's are finished.

    Returns
    -------
    dict
        Card of the fields.
    """
    # Data sets have smaller seeds, so none shares a field with these.
    plan = Plan(1, seed + SEEDS, ranges, frames_a_context=frames, most_a_frame=_MOST_A_FIELD)
    return build(
        plan,
        folder,
        workers=workers,
        made_by=f"columnist evaluate simulated --seed {seed} --fields FOLDER",
        on_done=lambda columns: on_done(frames),
    )


def score(weights: Weights, fields: Path) -> Scored:
    """Run a network on test fields."""
    samples = load_all(fields, find_recipe(weights.card["network"]).flag)
    logits = all_logits(weights.network, samples)
    calibrated = weights.calibration.apply(logits, samples.context.long(), samples.is_metal, samples.spread)
    return Scored(weights, samples, calibrated)


def figures(scored: Scored) -> dict[str, Any]:
    """Figures of one network: at the reference noise, and over the whole range of doses."""
    samples = scored.samples
    reference = samples.log10_dose >= REFERENCE_DOSE
    at_reference = evaluate(scored.logits[reference], samples.part(reference))
    whole = evaluate(scored.logits, samples)
    parameters = sum(p.numel() for p in scored.weights.network.parameters())
    # As many columns as there are, weighed against one another: weights of any size would say more columns.
    log_likelihood = -whole["loss"] * len(samples)
    right = (scored.logits.argmax(1) == samples.label).float()
    ranked = by_context(right[reference], samples.part(reference)).nan_to_num(1.0)
    worst = torch.argsort(ranked)[:5].tolist()
    return {
        "parameters": parameters,
        "train_accuracy": 100 * scored.weights.card["figures"]["train"]["accuracy_reference"],
        "accuracy": 100 * at_reference["accuracy"],
        "accuracy_whole_range": 100 * whole["accuracy"],
        "accuracy_by_dose": {band: 100 * a for band, a in whole["accuracy_by_dose"].items()},
        "entropy_nats": at_reference["entropy_nats"],
        "ece": at_reference["ece"],
        "ece_whole_range": whole["ece"],
        "bic": parameters * math.log(len(samples)) - 2 * log_likelihood,
        "confusion": at_reference["confusion"],
        "worst_contexts": {context_name(reference_contexts()[k]): 100 * float(ranked[k]) for k in worst},
        "median_context": 100 * float(ranked.median()),
    }


def compare(
    scored: list[Scored],
    default: str,
    card: dict[str, Any],
    reference: Scored | None = None,
    contaminated: list[Scored] | None = None,
) -> dict[str, Any]:
    """All networks' figures, and those that the issue sets limits for.

    Parameters
    ----------
    scored : list of Scored
    default : str
        Name of the model that is taken unless another is asked for.
    card : dict
        Of the fields.
    reference : Scored, optional
        A larger network on the same features; by default what is recorded of one beside the weights.
    contaminated : list of Scored, optional
        The networks on contaminated fields.
    """
    models = {one.name: figures(one) for one in scored}
    aware = [models[one.name] for one in scored if one.name != "mlp-nocontext"]
    report: dict[str, Any] = {"fields": card["frames"], "columns": card["columns"], "default": default}
    report |= {"fields_unread": card["refused"] - card["misread"], "fields_misread": card["misread"]}
    if aware:
        report["accuracy_min"] = min(model["accuracy"] for model in aware)
        report["accuracy_best"] = max(model["accuracy"] for model in aware)
        report["ece_max"] = max(model["ece"] for model in aware)
    if default in models:
        own = models[default]
        report["worst_context_accuracy"] = min(own["worst_contexts"].values())
        if "mlp-nocontext" in models:
            blind = models["mlp-nocontext"]["entropy_nats"]
            report["information_gain"] = 100 * (1 - own["entropy_nats"] / blind)
        report["references"] = recorded_references()
        if reference is not None:
            larger = figures(reference) | {"default": default, "default_accuracy": own["accuracy"]}
            report["references"] |= {"features": larger}
        if "features" in report["references"]:
            larger = report["references"]["features"]
            report["gap_to_feature_limit"] = larger["accuracy"] - larger["default_accuracy"]
    report["limits"] = LIMITS
    report["met"] = {name: is_met(name, report[name]) for name in LIMITS if name in report}
    if contaminated:
        report["contaminated"] = {one.name: _brief(figures(one)) for one in contaminated}
    return report | {"models": models}


def _brief(model: dict[str, Any]) -> dict[str, Any]:
    """Those of a network's figures that are looked at on contaminated fields."""
    return {name: model[name] for name in ("accuracy", "accuracy_whole_range", "ece", "median_context")}


def is_met(name: str, value: float) -> bool:
    """Whether a figure is within its limit."""
    smaller_is_better = name in ("ece_max", "gap_to_feature_limit")
    return value <= LIMITS[name] if smaller_is_better else value >= LIMITS[name]


def recorded_references() -> dict[str, Any]:
    """What the reference networks reached, which are not shipped, on the fields of an earlier evaluation."""
    path = Path(str(files("models") / "weights" / "references.json"))
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found
