"""What was read and classified, as the records of a map: its columns and their number, its grains."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivers.contract.context import ColumnClass
from drivers.contract.maps import COLUMN_DTYPE, ClassCounts, ColumnFlag, Concentration, Grain, Sublattice
from models.classify import Classification
from models.concentrations import concentrations
from models.lattice import Lattice
from models.map_flags import FOREIGN


def column_records(result: Classification, pixel_size_angstrom: float) -> NDArray[np.void]:
    """One record a column."""
    lattice = result.reading.lattice
    chosen = result.chosen
    columns = np.zeros(len(result.positions), dtype=COLUMN_DTYPE)
    positions = result.positions.numpy()
    columns["row_px"], columns["col_px"] = positions.T
    columns["y_angstrom"], columns["x_angstrom"] = positions.T * pixel_size_angstrom
    is_metal = result.decision.is_metal(lattice)[chosen].numpy()
    columns["sublattice"] = np.where(is_metal, Sublattice.METAL, Sublattice.CHALCOGEN)
    columns["cls"] = result.posterior.label.numpy()
    columns["p"] = result.posterior.probability.numpy()
    columns["entropy_nats"] = result.posterior.entropy_nats.numpy()
    columns["foreign"] = result.foreignness.numpy()
    columns["grain"] = lattice.grain[chosen].numpy()
    flags = {
        ColumnFlag.UNDECIDED: ~result.is_decided.numpy(),
        ColumnFlag.BOUNDARY: lattice.boundary[chosen].numpy(),
        ColumnFlag.FOREIGN: columns["foreign"] > FOREIGN,
        ColumnFlag.RIM: lattice.rim[chosen].numpy(),
        ColumnFlag.EDGE: ~result.is_whole.numpy(),
        ColumnFlag.PREDICTED: ~lattice.measured[chosen].numpy(),
    }
    for flag, applies in flags.items():
        columns["flags"] |= np.where(applies, np.uint8(flag), np.uint8(0))
    return columns


def count_classes(columns: NDArray[np.void]) -> ClassCounts:
    """How many columns there are of each class."""
    x2, vac1, vac2, metal, dopant = np.bincount(columns["cls"], minlength=len(ColumnClass)).tolist()
    return ClassCounts(x2=x2, vac1=vac1, vac2=vac2, metal=metal, dopant=dopant)


def sound_concentrations(
    columns: NDArray[np.void], prior: Tensor, *, is_doped: bool
) -> tuple[Concentration, ...]:
    """Concentrations over the columns that can be trusted, whose probabilities rest on a prior (5,)."""
    doubtful = ColumnFlag.BOUNDARY | ColumnFlag.FOREIGN | ColumnFlag.EDGE | ColumnFlag.RIM
    sound = columns[(columns["flags"] & int(doubtful)) == 0]
    return concentrations(
        sound["p"].astype(np.float64),
        prior.double().numpy(),
        sound["sublattice"] == Sublattice.METAL,
        is_doped=is_doped,
    )


def grain_records(result: Classification) -> tuple[Grain, ...]:
    """Summary of every grain."""
    lattice, decision = result.reading.lattice, result.decision
    sizes = torch.bincount(lattice.grain, minlength=len(lattice.vectors)).tolist()
    found = []
    for number, size in enumerate(sizes):
        metal = int(decision.metal[number])
        sign = 1.0 if metal == 1 else -1.0
        ratio = float(decision.ratio[number])
        (a, b), (c, d) = lattice.vectors[number].tolist()
        found.append(
            Grain(
                columns=size,
                vectors_px=((a, b), (c, d)),
                is_decided=bool(decision.is_decided[number]),
                margin_nats=float(decision.margin_nats[number]),
                brightness_nats=sign * float(decision.brightness_nats[number]),
                defect_nats=sign * float(decision.defect_nats[number]),
                metal_over_x2=None if math.isnan(ratio) or ratio <= 0 else ratio**sign,
            )
        )
    return tuple(found)


def masked_fraction(lattice: Lattice, shape: tuple[int, int]) -> float:
    """Part of a frame of such a shape that no site stands for: a site stands for half a cell."""
    area = math.sqrt(3) / 4 * lattice.lattice_px**2
    return min(1.0, max(0.0, 1 - len(lattice.positions) * area / math.prod(shape)))
