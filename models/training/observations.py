"""Columns of simulated series as a model sees them, frame by frame.

Features are kept, not what a network says of them, so that new weights need no new frames.
"""

import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from drivers.contract.context import ENERGIES_KEV, Specimen
from drivers.contract.errors import InputError
from drivers.contract.materials import doped_pairs
from models.alignment import align
from models.checkpoint import write_at_once
from models.contexts import context_number
from models.encoding import encode_contrast
from models.reading import read_columns
from models.scatter import find_scatter
from models.templates import find_templates
from models.training.columns import match_truth, metal_side
from models.training.conditions import Ranges
from models.training.pools import reading_pool
from models.training.series import SeriesFrame, draw_series

#: Series are of this dose [log10 of e/Å²] and else as frames to learn from; and have rarer defects.
RANGES = Ranges(
    pixels=224,
    log10_dose=(3.3, 5.0),
    dilute=1.0,
    vacancy1=(0.03, 0.15),
    vacancy2=(0.02, 0.10),
    dopant=(0.03, 0.15),
)


@dataclass(frozen=True)
class Observations:
    """Columns of many frames; n observations in F frames.

    Parameters
    ----------
    contrast : ndarray of shape (n, 8), float32
        With the flag of the metal's sublattice, as the truth has it.
    depth, centre, spread, tail, noise, second, say : ndarray of shape (n,), float32
        The frame's scatter around the column (`models.scatter`).
    is_regular : ndarray of shape (n,), bool
        Whether its frame learns from it.
    label : ndarray of shape (n,), uint8
        `ColumnClass`.
    column : ndarray of shape (n,), int32
        Which column of its series' specimen it is.
    frame : ndarray of shape (n,), int32
        Which frame it was read from.
    series, scan, context : ndarray of shape (F,), int32
        Of each frame; frames of one scan of a series were taken at once.
    log10_dose, doubt : ndarray of shape (F,), float32
        Dose, and what is open of the depth (`models.alignment`).
    """

    contrast: NDArray[np.float32]
    depth: NDArray[np.float32]
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    tail: NDArray[np.float32]
    noise: NDArray[np.float32]
    second: NDArray[np.float32]
    say: NDArray[np.float32]
    is_regular: NDArray[np.bool_]
    label: NDArray[np.uint8]
    column: NDArray[np.int32]
    frame: NDArray[np.int32]
    series: NDArray[np.int32]
    scan: NDArray[np.int32]
    context: NDArray[np.int32]
    log10_dose: NDArray[np.float32]
    doubt: NDArray[np.float32]


def observe(
    count: int, seed: int, *, workers: int, on_done: Callable[[], None] = lambda: None
) -> Observations:
    """Simulate and read series; all 96 doped pairs and the energies take turns.

    Parameters
    ----------
    count : int
        Number of series.
    seed, workers : int
        Seed of everything random; processes.
    on_done : callable
        Called after each series.
    """
    parts = []
    with reading_pool(workers) as pool:
        for future in [pool.submit(_observe_one, seed, number) for number in range(count)]:
            parts += future.result()
            on_done()
    if not parts:
        raise InputError(f"none of the frames of {count} series shows a lattice; take more series")
    frames = np.concatenate([np.full(len(p[1]["label"]), k, np.int32) for k, p in enumerate(parts)])
    table = np.array([p[0] for p in parts])
    return Observations(
        **{name: np.concatenate([p[1][name] for p in parts]) for name in parts[0][1]},
        frame=frames,
        series=table[:, 0].astype(np.int32),
        scan=table[:, 1].astype(np.int32),
        context=table[:, 2].astype(np.int32),
        log10_dose=table[:, 3].astype(np.float32),
        doubt=table[:, 4].astype(np.float32),
    )


_Part = tuple[tuple[int, int, int, float, float], dict[str, NDArray[Any]]]


def _observe_one(seed: int, number: int) -> list[_Part]:
    """Frames of one series that show a lattice."""
    host, dopant = doped_pairs()[number % len(doped_pairs())]
    turn = number // len(doped_pairs()) + number
    energies = [float(ENERGIES_KEV[(turn + k) % len(ENERGIES_KEV)]) for k in range(2)]
    specimen = Specimen(host=host, dopant=dopant)
    try:
        series = draw_series((specimen, energies[0], energies[1]), RANGES, [seed, number])
    except InputError:  # its defocus may, once in millions, be more than kernels carry
        return []
    parts = [_read(number, image) for image in series]
    return [part for part in parts if part is not None]


def _read(number: int, image: SeriesFrame) -> _Part | None:
    """What a model would see of one frame, with the truth."""
    frame = image.frame
    torch.set_num_threads(1)  # the simulator's compiled loops have raised it
    try:
        reading = read_columns(frame.image)
    except InputError:
        return None
    match, _ = match_truth(frame, reading)
    keep = reading.whole.numpy() & (match >= 0)
    side = metal_side(frame, reading, match)[reading.lattice.grain.numpy()]
    is_metal = torch.from_numpy(reading.lattice.sublattice.numpy() == side)
    lattice, templates = reading.lattice, find_templates(frame.context)
    regular = reading.whole & ~(lattice.boundary | lattice.rim)
    at = lattice.positions / lattice.lattice_px
    aligned = align(reading.moments[keep], is_metal[keep], regular[keep], at[keep], templates)
    contrast = encode_contrast(aligned.moments, is_metal[keep])
    if not len(contrast) or not bool(contrast.isfinite().all()):
        return None
    scatter = find_scatter(contrast, regular[keep], at[keep], templates, aligned.is_quiet)
    sites = match[keep]
    head = (
        number,
        image.scan,
        context_number(frame.context),
        float(np.log10(frame.acquisition.dose_e_per_a2 or 1.0)),
        aligned.doubt,
    )
    return head, {
        "contrast": contrast.numpy().astype(np.float32),
        **{name: values.numpy() for name, values in vars(scatter).items()},
        "is_regular": regular[keep].numpy(),
        "label": frame.crystal.classes[sites],
        "column": image.column[sites].astype(np.int32),
    }


def save_observations(path: Path, observations: Observations, card: dict[str, object]) -> None:
    """Write observations as npz, and a card beside it, each at once or not at all; the card first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{f.name: getattr(observations, f.name) for f in fields(observations)})
    write_at_once(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    write_at_once(path, buffer.getvalue())


def load_observations(path: Path) -> Observations:
    """Read what `save_observations` wrote.

    Raises
    ------
    InputError
        If it is missing or is something else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Observations(**{f.name: arrays[f.name] for f in fields(Observations)})
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise InputError(
            f"expected observations of series in {path} ({error}); make them with `columnist derive fusion`"
        ) from error
