"""Moments to expect of each class under a context, for `models.templates`: read from simulated frames.

The shipped table was read by the code of its day (2026-11-25), and the shipped weights learnt from moments
that were aligned to it.  Frames are read otherwise since, blurred ones most: made again, the table differs,
and whoever puts another in its place has to train anew.
"""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from drivers.contract.context import ColumnClass, Context
from drivers.contract.errors import InputError
from drivers.contract.materials import find_host
from models.checkpoint import write_at_once
from models.contexts import context_name, reference_contexts
from models.reading import read_columns
from models.templates import SOURCES_ANGSTROM
from models.training.columns import label_columns
from models.training.pools import reading_pool
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

#: The middle of what data sets vary, and enough of every class to take a mean of.
_PIXELS, _LATTICE_PX, _DOSE_E_PER_A2 = 384, 12.0, 1e5
_DEFECTS = DefectConcentrations(0.10, 0.07, 0.05)

#: Seeds tried, should a frame not be readable.
_SEEDS = 20


def measure_templates(context: Context) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Moments (sources, 5, 6) of a context's classes, and their covariances (sources, 2, 6, 6)."""
    found = [_measure(context, sigma) for sigma in SOURCES_ANGSTROM]
    return np.array([mean for mean, _ in found]), np.array([scatter for _, scatter in found])


def _measure(context: Context, sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Moments (5, 6) of the classes in one frame of a context, and covariances (2, 6, 6) about them.

    Raises
    ------
    InputError
        If no such frame can be read.
    """
    a = find_host(context.specimen.host).lattice_constant_angstrom
    acquisition = Acquisition(
        pixels=_PIXELS,
        fov_nm=_PIXELS * a / _LATTICE_PX / 10,
        dose_e_per_a2=_DOSE_E_PER_A2,
        source_sigma_angstrom=sigma,
    )
    for seed in range(_SEEDS):
        frame = simulate_frame(context, acquisition, SpecimenPlan(concentrations=_DEFECTS), seed=seed)
        torch.set_num_threads(1)  # the simulator's compiled loops have raised it
        try:
            columns = label_columns(frame, read_columns(frame.image, with_edges=False))
        except InputError:
            continue
        if np.bincount(columns.label, minlength=5).min() > 0:
            return _statistics(columns.moments.astype(np.float64), columns.label)
    raise InputError(f"no frame of {context_name(context)} could be read, of {_SEEDS}")


def _statistics(
    moments: NDArray[np.float64], label: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of the classes, and covariances of the sublattices' columns about them."""
    mean = np.array([moments[label == k].mean(axis=0) for k in range(len(ColumnClass))])
    deviation = moments - mean[label]
    is_metal = label >= ColumnClass.METAL
    return mean, np.array([np.cov(deviation[is_metal == side].T) for side in (False, True)])


def derive_templates(path: Path, *, workers: int, on_done: Callable[[], None] = lambda: None) -> None:
    """Write the table of all reference contexts; `on_done` is called after each."""
    means, scatters = [], []
    with reading_pool(workers) as pool:
        for mean, scatter in pool.map(measure_templates, reference_contexts(), chunksize=8):
            means.append(mean)
            scatters.append(scatter)
            on_done()
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        moments=np.array(means, dtype=np.float16),
        scatter=np.mean(scatters, axis=(0, 1)).astype(np.float32),
    )
    write_at_once(path, buffer.getvalue())
    card = {
        "what": "Moments of the five classes of all contexts by source size, and scatter of the sublattices",
        "made_by": "columnist derive templates",
        "sources_angstrom": SOURCES_ANGSTROM,
        "pixels": _PIXELS,
        "lattice_px": _LATTICE_PX,
        "dose_e_per_a2": _DOSE_E_PER_A2,
        "vacancy1_vacancy2_dopant": astuple(_DEFECTS),
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    write_at_once(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
