"""Expected contrasts under a context, from column kernels: lone defects in a perfect crystal."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from drivers.contract.context import Context
from models.checkpoint import write_at_once
from models.contexts import context_name, reference_contexts
from models.contrasts import FIELDS
from models.levels import BLUR_SCALE
from sim_microscope.crystal import STATES, Crystal, States, build_periodic
from sim_microscope.field import FieldKernels, Raster, render
from sim_microscope.simulate import load_kernels

#: Source of the expected image [Å]: the middle of the range that data sets draw from.
SOURCE_SIGMA_ANGSTROM = 0.55

#: Orthogonal cells of the crystal: defects lie 15 Å apart or more.
_CELLS = (10, 17)

_STEP_ANGSTROM = 0.2

#: Columns looked at: whether on the metal sublattice, what it becomes, place as fractions of the crystal.
_PLACES: tuple[tuple[bool, States, tuple[float, float]], ...] = (
    (False, "X2", (0.5, 0.5)),
    (True, "metal", (0.5, 0.5)),
    (False, "X1top", (0.25, 0.25)),
    (False, "empty", (0.25, 0.75)),
    (True, "dopant", (0.75, 0.25)),
)


def expected_row(context: Context, kernels: FieldKernels | None = None) -> list[float]:
    """Contrasts of a context in the order of `models.contrasts.FIELDS`, to four digits.

    A contrast is the image, blurred as in `models.levels`, at the column, less its mean at the centres of the
    three hexagons that meet there.
    """
    kernels = kernels or load_kernels(context)
    crystal, period = build_periodic(context.specimen, _CELLS)
    states, sites = crystal.states.copy(), []
    for on_metal, state, place in _PLACES:
        candidates = np.flatnonzero(crystal.is_metal_site == on_metal)
        offset = crystal.positions[candidates] - np.multiply(period, place)
        sites.append(candidates[np.linalg.norm(offset, axis=1).argmin()])
        states[sites[-1]] = STATES.index(state)
    columns = _contrasts(replace(crystal, states=states), kernels, period)[sites]
    x2, metal, vacancy1, vacancy2, dopant = columns.tolist()
    row = (x2, metal / x2, vacancy1 / x2, vacancy2 / x2, dopant / metal)
    return [float(f"{value:.4g}") for value in row]


def _contrasts(crystal: Crystal, kernels: FieldKernels, period: tuple[float, float]) -> NDArray[np.float64]:
    """Contrast of every column; those within 12 Å of the crystal's edge mean nothing."""
    a = crystal.host.lattice_constant_angstrom
    sigma = float(np.hypot(SOURCE_SIGMA_ANGSTROM, BLUR_SCALE * a))
    shape = (int(period[0] / _STEP_ANGSTROM), int(period[1] / _STEP_ANGSTROM))
    image = render(crystal, kernels, Raster(shape, _STEP_ANGSTROM), source_sigma_angstrom=sigma)
    # Around a metal column of `build_periodic` these lead to the hexagon centres, their opposites to the
    # chalcogen columns; around a chalcogen column it is the other way round.
    angle = np.deg2rad([90.0, 210.0, 330.0])
    steps = a / np.sqrt(3) * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    sign = np.where(crystal.is_metal_site, 1, -1)
    centres = crystal.positions[:, None] + sign[:, None, None] * steps
    around = _sample(image, centres.reshape(-1, 2)).reshape(-1, 3).mean(axis=1)
    return np.asarray(_sample(image, crystal.positions) - around)


def _sample(image: NDArray[np.float32], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Image at positions [Å]."""
    return np.asarray(map_coordinates(image.astype(np.float64), (positions / _STEP_ANGSTROM).T, order=3))


def derive_table(path: Path, on_done: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Write the table of all reference contexts and return it; `on_done` is called after each."""
    rows = {}
    for context in reference_contexts():
        rows[context_name(context)] = expected_row(context)
        on_done()
    table = {
        "what": "Contrast of columns above the hexagon centres: X2 as a fraction of the beam, then ratios",
        "made_by": "columnist derive contrasts",
        "source_sigma_angstrom": SOURCE_SIGMA_ANGSTROM,
        "blur_over_lattice_constant": BLUR_SCALE,
        "fields": FIELDS,
        "contexts": rows,
    }
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    head = json.dumps({key: value for key, value in table.items() if key != "contexts"}, indent=1)
    write_at_once(path, f'{head[:-2]},\n "contexts": {{\n{lines}\n }}\n}}\n'.encode())
    return table
