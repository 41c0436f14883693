"""Whole maps of simulated frames against their truth, columns that are not found included.

Run by `columnist bench maps [--json] [--frames N] [--seed S] [--dose LOW HIGH] [--lattice-px LOW HIGH]`.
Frames of random contexts, defects about as rare as in real specimens, sheared, drifting, jittering, some of
them contaminated; each is read as `columnist analyse` reads it.  A column and a true one nearer than a
quarter of the lattice constant are the same, one to one; columns nearer than 2 Å to the border do not count.
F1 counts a defect without a column as missed.  `covered` is how many of the 95 % intervals of concentrations
hold the true share.
"""

import argparse
import platform
from typing import Any

import numpy as np

from drivers.commands.options import count
from drivers.contract.context import ColumnClass
from drivers.contract.errors import InputError
from drivers.contract.maps import DefectMap, Sublattice
from models.analysis import Analyser, analyse, load_analyser
from models.contexts import context_name, reference_contexts
from models.scoring import matched
from models.training.conditions import Ranges, draw_frame
from sim_microscope.simulate import Frame

_BORDER_ANGSTROM, _RADIUS = 2.0, 0.25
_DEFECTS = (ColumnClass.VAC1, ColumnClass.VAC2, ColumnClass.DOPANT)


def main(words: tuple[str, ...] = ()) -> tuple[dict[str, Any], bool]:
    parser = argparse.ArgumentParser(prog="columnist bench maps")
    parser.add_argument("--frames", type=count, default=100)
    parser.add_argument("--seed", type=int, default=5, help="of the frames; 4 was looked at")
    parser.add_argument(
        "--dose", type=float, nargs=2, default=(1e4, 1e5), metavar=("LOW", "HIGH"), help="[e/Å²]"
    )
    parser.add_argument(
        "--lattice-px",
        type=float,
        nargs=2,
        default=(8.0, 16.0),
        metavar=("LOW", "HIGH"),
        help="pixels a lattice constant",
    )
    options = parser.parse_args(words)
    low, high = (float(np.log10(dose)) for dose in options.dose)
    ranges = Ranges(dilute=1.0, log10_dose=(low, high), lattice_px=tuple(options.lattice_px))
    analyser = load_analyser()
    rows = [_row(number, options.seed, ranges, analyser) for number in range(options.frames)]
    report = {"machine": platform.machine(), "frames": len(rows)} | summarise(rows)
    return report | {"rows": rows}, True


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the frames that could be read."""
    read = [row for row in rows if "recall" in row]
    counts = {name: np.sum([row["counts"][name] for row in read], axis=0).tolist() for name in _names()}
    return {
        "unread": len(rows) - len(read),
        "recall": _mean(read, "recall"),
        "recall_min": min((row["recall"] for row in read), default=None),
        "precision": _mean(read, "precision"),
        "rms_angstrom": _mean(read, "rms_angstrom"),
        "scale_error_max": max((row["scale_error"] for row in read), default=None),
        "one_grain": _mean(read, "one_grain"),
        "sublattice_right": _mean(read, "sublattice_right"),
        "accuracy": _mean(read, "accuracy"),
        "loss_nats": _mean(read, "loss_nats"),
        "median_loss_nats": float(np.median([row["loss_nats"] for row in read])) if read else None,
        "f1": {name: _f1(*found) for name, found in counts.items()},
        "covered": {name: float(np.mean([row["covered"][name] for row in read])) for name in _names()}
        if read
        else None,
        "worst": [
            f"{row['context']}, {row['dose_e_per_a2']:.2g} e/Å²: F1 of defects {row['f1']:.3f}"
            for row in sorted(read, key=lambda row: row["f1"])[:5]
        ],
    }


def _row(number: int, seed: int, ranges: Ranges, analyser: Analyser) -> dict[str, Any]:
    place = int(np.random.default_rng([seed, number]).integers(len(reference_contexts())))
    context = reference_contexts()[place]
    frame = draw_frame(context, ranges, [seed, place, number])
    row = {"context": context_name(context), "dose_e_per_a2": frame.acquisition.dose_e_per_a2}
    try:
        return row | score(frame, analyse(frame.image, context, analyser))
    except InputError as error:
        return row | {"error": str(error)}


def score(frame: Frame, made: DefectMap) -> dict[str, Any]:
    """Compare a map with its frame's truth."""
    columns, step = made.columns, frame.acquisition.pixel_size_angstrom
    found = np.stack([columns["row_px"], columns["col_px"]], axis=1).astype(np.float64)
    is_found, nearest = matched(found, frame.pixel_positions, _RADIUS * made.header.scale.lattice_px)
    border = _BORDER_ANGSTROM / step
    inner = _is_inside(frame.pixel_positions, frame.acquisition.pixels, border)
    known = inner & is_found
    truth, own = frame.crystal.classes, nearest[known]
    said = columns["cls"]
    probability = columns["p"][own].astype(np.float64)
    on_metal = np.isin(truth[known], (ColumnClass.METAL, ColumnClass.DOPANT))
    right_side = (columns["sublattice"][own] == Sublattice.METAL) == on_metal
    spurious = _is_inside(found, frame.acquisition.pixels, border)
    spurious[nearest[is_found]] = False
    aside = found[own] - frame.pixel_positions[known]
    counts = {
        kind.name.lower(): [
            int((said[own] == truth[known])[truth[known] == kind].sum()),
            int((said[own] == kind).sum() + (said[spurious] == kind).sum()),
            int((truth[inner] == kind).sum()),
        ]
        for kind in _DEFECTS
    }
    return {
        "recall": float(known.sum() / inner.sum()),
        "precision": float(1 - spurious.sum() / max(spurious.sum() + known.sum(), 1)),
        "rms_angstrom": float(np.sqrt(np.square(aside).sum(axis=1).mean()) * step),
        "scale_error": abs(made.header.scale.pixel_size_angstrom / _pixel_size(frame) - 1),
        "one_grain": float(len(made.header.grains) == 1),
        "sublattice_right": float(right_side.mean()),
        "accuracy": float((said[own] == truth[known]).mean()),
        "loss_nats": float(-np.log(np.maximum(probability[np.arange(len(own)), truth[known]], 2e-9)).mean()),
        "covered": {
            one.defect: one.low <= _share(frame, one.defect) <= one.high for one in made.header.concentrations
        },
        "counts": counts,
        "f1": _f1(*np.sum(list(counts.values()), axis=0).tolist()),
        "flags": [flag.kind for flag in made.header.flags],
    }


def _share(frame: Frame, defect: str) -> float:
    """True share of a defect among the sites of its sublattice in a frame."""
    kind = ColumnClass[defect.upper()]
    classes = frame.crystal.classes[_is_inside(frame.pixel_positions, frame.acquisition.pixels, 0.0)]
    metal = (ColumnClass.METAL, ColumnClass.DOPANT)
    return float((classes == kind).sum() / max((np.isin(classes, metal) == (kind in metal)).sum(), 1))


def _pixel_size(frame: Frame) -> float:
    """Root of the area of the specimen that a pixel shows, drift and distortion included [Å]."""
    design = np.column_stack([frame.pixel_positions, np.ones(len(frame.pixel_positions))])
    affine = np.linalg.lstsq(design, frame.crystal.positions, rcond=None)[0][:2]
    return float(np.sqrt(abs(np.linalg.det(affine))))


def _is_inside(positions: Any, pixels: int, border: float) -> Any:
    return ((positions > border) & (positions < pixels - 1 - border)).all(axis=1)


def _f1(both: int, said: int, true: int) -> float:
    return 2 * both / max(said + true, 1)


def _mean(rows: list[dict[str, Any]], key: str) -> float | None:
    return float(np.mean([row[key] for row in rows])) if rows else None


def _names() -> list[str]:
    return [kind.name.lower() for kind in _DEFECTS]
