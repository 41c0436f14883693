"""What is lost when other software denoises frames, and how much comes back.

Run by `columnist bench denoised [--json] [--frames N] [--seed S] [--labelled FOLDER]`.  Simulated frames
of random contexts, dilute defects, 10^3.8 to 10^5.2 e/Å²; each is read as it was taken, after denoising by
principal components of patches (edge and number drawn at random) as a reader would that knows nothing of it,
and as columnist reads it.  With a folder, instead: the same for its labelled micrographs.
"""

import argparse
import platform
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from agent.results.labelled import LabelledImage, find_labelled
from drivers.commands.options import count
from drivers.contract.context import ColumnClass
from drivers.contract.errors import InputError
from drivers.file_context import settle
from drivers.files import read_micrographs
from models.analysis import Analyser, analyse, load_analyser
from models.classify import classify_columns
from models.contexts import context_name, reference_contexts
from models.denoised import find_filter
from models.frames import standardise
from models.patch_filter import learn_filter
from models.reading import read_columns
from models.scoring import score_map
from models.training.columns import match_truth
from models.training.conditions import Ranges, draw_frame, log_uniform
from sim_microscope.simulate import Frame

RANGES = Ranges(pixels=512, dilute=1.0, log10_dose=(3.8, 5.2), lattice_px=(8.0, 14.0))

#: Edges of patches [px] and components that are drawn from, uniformly in the logarithm.
EDGES, COMPONENTS = (12.0, 44.0), (10.0, 60.0)

WAYS = ("recorded", "denoised", "undone")

#: Edges of patches [px] and components for labelled micrographs.
SIZES = ((24, 24), (32, 36))


def main(words: tuple[str, ...] = ()) -> tuple[dict[str, Any] | list[dict[str, Any]], bool]:
    parser = argparse.ArgumentParser(prog="columnist bench denoised")
    parser.add_argument("--frames", type=count, default=40)
    parser.add_argument("--seed", type=int, default=3, help="seeds 1 and 2 were looked at")
    parser.add_argument("--labelled", type=Path, help="folder with labelled micrographs, denoised here")
    options = parser.parse_args(words)
    if options.labelled is not None:
        images = find_labelled(options.labelled)
        return [_labelled(image, *size) for image in images for size in SIZES], True
    rows = [_row(number, options.seed) for number in range(options.frames)]
    report = {"machine": platform.machine(), "frames": len(rows)} | summarise(rows)
    return report | {"rows": rows}, True


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the frames that could be read; a few whose sublattices are mixed up would rule a mean loss."""
    report: dict[str, Any] = {
        "told": float(np.mean([row["told"] is not None for row in rows])),
        "edge_right": float(
            np.mean([row["told"] is not None and row["told"][0] == row["edge"] for row in rows])
        ),
    }
    for way in WAYS:
        read = [row[way] for row in rows if row[way] is not None]
        report[way] = {
            "unread": len(rows) - len(read),
            "f1_defects": float(np.mean([one["f1_defects"] for one in read])),
            "median_loss_nats": float(np.median([one["loss_nats"] for one in read])),
        }
    return report


def _row(number: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    place = int(rng.integers(len(reference_contexts())))
    edge = round(log_uniform(EDGES, rng))
    components = min(round(log_uniform(COMPONENTS, rng)), edge * edge // 8)
    frame = draw_frame(reference_contexts()[place], RANGES, [seed, place, number])
    taken = standardise(frame.image)
    denoised = learn_filter(taken, edge, components).apply(taken).numpy()
    row: dict[str, Any] = {"context": context_name(reference_contexts()[place]), "edge": edge}
    row |= {"components": components, "dose_e_per_a2": frame.acquisition.dose_e_per_a2}
    row["recorded"], _ = _score(frame, place, frame.image)
    with patch("models.reading.find_filter", lambda *_: None):
        row["denoised"], _ = _score(frame, place, denoised)
    row["undone"], row["told"] = _score(frame, place, denoised)
    return row


def _score(frame: Frame, place: int, image: Any) -> tuple[dict[str, float] | None, tuple[int, int] | None]:
    """F1 of all defects together, mean negative log likelihood; edge and components, if a filter was told."""
    analyser = _analyser()
    try:
        reading = read_columns(image)
        found = classify_columns(reading, reference_contexts()[place], analyser.weights, analyser.familiar)
    except InputError:
        return None, None
    match = match_truth(frame, reading)[0][found.chosen.numpy()]
    known = (match >= 0) & found.is_whole.numpy()
    truth = frame.crystal.classes[match[known]]
    probability = found.posterior.probability.numpy()[known]
    said = probability.argmax(1)
    common = (ColumnClass.X2, ColumnClass.METAL)
    is_defect, is_said = ~np.isin(truth, common), ~np.isin(said, common)
    both = float(((truth == said) & is_defect).sum())
    f1 = 2 * both / max(float(is_defect.sum() + is_said.sum()), 1.0)
    loss = -np.log(np.maximum(probability[np.arange(len(truth)), truth], 2e-9)).mean()
    told = None
    if reading.patch_filter is not None:
        told = (reading.patch_filter.edge, len(reading.patch_filter.components))
    return {"f1_defects": f1, "loss_nats": float(loss)}, told


def _labelled(image: LabelledImage, edge: int, components: int) -> dict[str, Any]:
    """Kappa and F1 of single vacancies, each way."""
    micrograph = read_micrographs(image.path).micrographs[0]
    settled, taken = settle(image.facts, micrograph.facts), standardise(micrograph.image)
    denoised = learn_filter(taken, edge, components).apply(taken).numpy()
    row: dict[str, Any] = {"image": image.name, "edge": edge, "components": components}
    for way in WAYS:
        pixels = micrograph.image if way == "recorded" else denoised
        with patch("models.reading.find_filter", find_filter if way == "undone" else lambda *_: None):
            score = score_map(analyse(pixels, settled, _analyser()), image.labels, radius_px=2.5)
        row[way] = {"kappa": score.kappa, "f1_vac1": score.f1["vac1"]}
    return row


@cache
def _analyser() -> Analyser:
    return load_analyser()
