"""`columnist evaluate labelled`: score classifiers against given labels of micrographs."""

import argparse
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.commands.options import make_folder
from agent.results.labelled import LabelledImage, find_labelled
from agent.results.wrong import wrong_sites_png
from drivers.contract.context import DETECTORS
from drivers.contract.errors import InputError
from drivers.contract.maps import DefectMap
from drivers.file_context import settle
from drivers.files import read_micrographs
from models.analysis import DEFAULT_MODEL, Analyser, analyse, load_analyser
from models.scoring import matched, score_map

#: Recall that points have more with rows and columns exchanged, if that is how they are meant.
_FAR_BETTER = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist evaluate labelled`."""
    parser.add_argument("folder", type=Path, help="folder with labelled micrographs, or of such folders")
    parser.add_argument(
        "--model", action="append", help=f"network to score, may be repeated (default: {DEFAULT_MODEL})"
    )
    parser.add_argument("--weights", type=Path, help="weights of your own (.safetensors), instead of --model")
    parser.add_argument(
        "--radius-px",
        type=float,
        default=2.5,
        help="a column and a label nearer than this match (default: 2.5)",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    parser.add_argument("--wrong", action="store_true", help="with --json: list every site that is wrong")
    parser.add_argument("--out", type=Path, help="folder for a picture of the wrong sites of each image")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Score every image by every model; 0 if all could be scored, 1 if some could, 2 if none could."""
    if not (math.isfinite(arguments.radius_px) and arguments.radius_px > 0):
        raise InputError(f"expected a positive --radius-px, found {arguments.radius_px:g}")
    images = find_labelled(arguments.folder)
    if arguments.out is not None:
        make_folder(arguments.out)
    if arguments.weights is not None:
        analysers = [load_analyser(weights=arguments.weights, device=arguments.device)]
    else:
        names = arguments.model or [DEFAULT_MODEL]
        analysers = [load_analyser(name, device=arguments.device) for name in names]
    rows = []
    failures: dict[tuple[str, str], None] = {}  # each once, not once a model
    for analyser in analysers:
        for image in images:
            try:
                rows.append(_score(image, analyser, arguments.radius_px, arguments.wrong, arguments.out))
            except InputError as error:
                failures[image.name, str(error)] = None
    report = summarise(rows, analysers[0].reference.name, arguments.radius_px)
    report["failures"] = [{"image": name, "error": error} for name, error in failures]
    told = [*failures, *((row["image"], note) for row in rows for note in row["notes"])]
    for name, line in dict.fromkeys(told):
        Console(stderr=True).print(
            f"columnist evaluate labelled: {name}: {line}",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if arguments.json:
        print(json.dumps(report, indent=1))
    elif rows:
        _print(rows, report)
    return 0 if not failures else 1 if rows else 2


def _score(
    image: LabelledImage, analyser: Analyser, radius_px: float, list_wrong: bool, out: Path | None
) -> dict[str, Any]:
    """Figures of one image by one model; its wrong sites are drawn into a folder, if one is given."""
    labels = image.labels
    file = read_micrographs(image.path)
    if len(file.micrographs) != 1:
        raise InputError(f"{image.path}: expected one image with these labels, found {len(file.micrographs)}")
    micrograph = file.micrographs[0]
    result = analyse(micrograph.image, settle(image.facts, micrograph.facts), analyser)
    score = score_map(result, labels, radius_px=radius_px)
    if out is not None:
        name = f"{image.name.replace('/', '_')}_{analyser.reference.name}"
        title = f"{image.name} ({image.detector}) by {analyser.reference.name}"
        lattice_px = result.header.scale.lattice_px
        (out / f"{name}.png").write_bytes(wrong_sites_png(micrograph.image, score.wrong, lattice_px, title))
    row: dict[str, Any] = {
        "image": image.name,
        "set": image.group,
        "detector": image.detector or result.header.settled.context.detector.name,
        "model": analyser.reference.name,
        "labelled": score.labelled,
        "scored": score.scored,
        "recall": score.recall,
        "recall_vacancy": score.recall_vacancy,
        "precision": score.precision,
        "kappa": _finite(score.kappa),
        "f1": score.f1,
        "apart": score.apart,
        "sublattice_right": score.sublattice_right,
        "sublattice_margin_nats": result.header.margin_nats,
        "sublattice_decided": result.header.is_decided,
        "wrong_sites": len(score.wrong),
        "pixel_size_angstrom": result.header.scale.pixel_size_angstrom,
        "flags": [flag.kind for flag in result.header.flags],
        "notes": _notes(result, image, score.recall, radius_px),
        "missed": score.missed,
        "spurious": score.spurious,
    }
    return row | ({"wrong": score.wrong} if list_wrong else {})


def _notes(result: DefectMap, image: LabelledImage, recall: float, radius_px: float) -> list[str]:
    """Say so if the points match far better with rows and columns exchanged."""
    positions = np.stack([result.columns["row_px"], result.columns["col_px"]], axis=1).astype(np.float64)
    exchanged = matched(positions, image.labels.points[:, ::-1], radius_px)[0].mean()
    if exchanged < recall + _FAR_BETTER:
        return []
    return [
        f"{100 * recall:.0f} % of the points are found, {100 * exchanged:.0f} % with rows and columns "
        "exchanged: check its order ('xy' or 'rc')"
    ]


def summarise(rows: list[dict[str, Any]], model: str, radius_px: float) -> dict[str, Any]:
    """Join the figures of all images by the first model: by set and detector, and of the tiwse2 images alone.

    Without tiwse2 images those figures are of all images.
    """
    own = [row for row in rows if row["model"] == model]
    tiwse2 = [row for row in own if row["set"] == "tiwse2"] or own
    report: dict[str, Any] = {
        "radius_px": radius_px,
        "model": model,
        "recall_min": _least(row["recall"] for row in tiwse2),
        "precision_min": _least(row["precision"] for row in tiwse2),
        "recall_vacancy_min": _least(row["recall_vacancy"] for row in tiwse2),
        "sublattice_right_min": _least(row["sublattice_right"] for row in own),
        "sublattice_margin_nats_min": _least(row["sublattice_margin_nats"] for row in own),
    }
    for detector in DETECTORS:
        of_detector = [row for row in tiwse2 if row["detector"] == detector]
        if of_detector:
            report[detector.lower()] = {
                "images": len(of_detector),
                "kappa": _mean(row["kappa"] for row in of_detector),
                "f1_vac1": _mean(row["f1"]["vac1"] for row in of_detector),
            }
    crwse2 = [row for row in own if row["set"] == "crwse2"]
    if crwse2:
        report["crwse2"] = {
            "images": len(crwse2),
            "kappa": _mean(row["kappa"] for row in crwse2),
            "f1_vac1": _mean(row["f1"]["vac1"] for row in crwse2),
            "f1_dopant": _mean(row["f1"]["dopant"] for row in crwse2),
        }
    report["sets"] = {
        group: {
            detector: _means([row for row in own if (row["set"], row["detector"]) == (group, detector)])
            for detector in dict.fromkeys(row["detector"] for row in own if row["set"] == group)
        }
        for group in dict.fromkeys(row["set"] for row in own)
    }
    report["images"] = rows
    return report


def _means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of the images of one set on one detector."""
    return {
        "images": len(rows),
        "kappa": _mean(row["kappa"] for row in rows),
        **{
            f"f1_{name}": _mean(row["f1"][name] for row in rows)
            for name in ("vac1", "vac2", "dopant")
            if any(row["f1"][name] is not None for row in rows)
        },
        "recall_min": _least(row["recall"] for row in rows),
        "precision_min": _least(row["precision"] for row in rows),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that there are."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _least(values: Iterable[float | None]) -> float | None:
    """The least of the values that there are."""
    return min((value for value in values if value is not None), default=None)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print(rows: list[dict[str, Any]], report: dict[str, Any]) -> None:
    """Print a table of all images and the summary below it."""
    table = Table(title=f"Against labels, matched within {report['radius_px']:g} px")
    for heading in ("image", "model", "recall", "of vacancies", "precision", "kappa"):
        table.add_column(heading)
    for heading in ("F1 x2", "vac1", "metal", "dopant", "sublattice", "margin [nats]"):
        table.add_column(Text(heading), justify="right")
    for row in rows:
        table.add_row(
            Text(row["image"]),
            Text(row["model"]),
            *(_number(row[key]) for key in ("recall", "recall_vacancy", "precision", "kappa")),
            *(_number(row["f1"][name]) for name in ("x2", "vac1", "metal", "dopant")),
            "-" if row["sublattice_right"] is None else f"{100 * row['sublattice_right']:.1f} %",
            f"{row['sublattice_margin_nats']:.1f}",
        )
    console = Console(width=max(150, Console().width))
    console.print(table)
    for group, by_detector in report["sets"].items():
        for detector, means in by_detector.items():
            figures = ", ".join(f"{key} {_number(value)}" for key, value in means.items())
            console.print(f"{group} {detector}: {figures}", markup=False, highlight=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
