"""Simulated frames read as the agent reads them, with the truth beside every column."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from drivers.contract.context import ColumnClass, Context
from drivers.contract.errors import InputError
from models.alignment import align
from models.encoding import encode_contrast
from models.reading import Reading
from models.scatter import Scatter, find_scatter
from models.sublattice import is_brighter
from models.templates import find_templates
from sim_microscope.crystal import STATES
from sim_microscope.motifs import all_motifs
from sim_microscope.simulate import Frame

#: A site is a column of the truth within this part of the lattice constant; neighbours are 0.58 apart.
_MATCH = 0.25

#: A reading that puts fewer of its sites than this part on their true sublattice is wrong as a whole.
_LEAST_AGREEMENT = 0.95

_CLASS_OF_STATE = {
    "X2": ColumnClass.X2,
    "X1top": ColumnClass.VAC1,
    "empty": ColumnClass.VAC2,
    "metal": ColumnClass.METAL,
    "dopant": ColumnClass.DOPANT,
}


class MisreadError(InputError):
    """A lattice was found, but not the crystal's."""


@dataclass(frozen=True)
class LabelledColumns:
    """Whole columns of a frame that the truth knows; n columns.

    Parameters
    ----------
    moments : ndarray of shape (n, 6), float32
        As read.
    is_regular : ndarray of shape (n,), bool
        Off boundaries and rims.
    is_metal : ndarray of shape (n,), bool
        Whether the column's sublattice, as indexed, is the metal's.  The side is the truth's: how often
        `models.sublattice` decides otherwise is measured by `columnist derive sublattice`.
    is_bright : ndarray of shape (n,), bool
        Whether the column's sublattice is the brighter in its frame: all that is known without a context.
    positions : ndarray of shape (n, 2), float32
        (row, column) as read [px].
    lattice_px : float
        Lattice constant [px].
    label : ndarray of shape (n,), uint8
        `ColumnClass`.
    motif : ndarray of shape (n,), uint8
        Place in `sim_microscope.motifs.all_motifs`.
    missed, spurious : int
        Columns of the truth that no site matches, and sites that match none, away from the edges.
    """

    moments: NDArray[np.float32]
    is_regular: NDArray[np.bool_]
    is_metal: NDArray[np.bool_]
    is_bright: NDArray[np.bool_]
    positions: NDArray[np.float32]
    lattice_px: float
    label: NDArray[np.uint8]
    motif: NDArray[np.uint8]
    missed: int
    spurious: int


def match_truth(frame: Frame, reading: Reading) -> tuple[NDArray[np.int64], int]:
    """Column of the truth for each site, -1 for none; and how many of its inner columns none matches."""
    positions, truth = reading.lattice.positions.numpy(), frame.pixel_positions
    reach = _MATCH * reading.lattice.lattice_px
    distance, nearest = cKDTree(truth).query(positions)
    match = np.where(distance < reach, nearest, -1)
    margin = 1.5 * reading.lattice.lattice_px
    inner = ((truth > margin) & (truth < frame.image.shape[0] - 1 - margin)).all(axis=1)
    missed = int((cKDTree(positions).query(truth[inner])[0] >= reach).sum())
    return match, missed


def metal_side(frame: Frame, reading: Reading, match: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sublattice of each grain that is the metal's in truth, by majority, shape (G,)."""
    known = match >= 0
    metal = frame.crystal.is_metal_site[match] == (reading.lattice.sublattice.numpy() == 1)
    grain = reading.lattice.grain.numpy()
    count = len(reading.lattice.vectors)
    agree = np.bincount(grain[known], weights=np.where(metal[known], 1.0, -1.0), minlength=count)
    return (agree > 0).astype(np.int64)


def label_columns(frame: Frame, reading: Reading) -> LabelledColumns:
    """Whole columns of a reading with their truth.

    Raises
    ------
    MisreadError
        If the reading mixes the sublattices up, or finds none of the columns: nothing can be learnt from
        such a frame.
    """
    match, missed = match_truth(frame, reading)
    lattice, whole = reading.lattice, reading.whole.numpy()
    side, grain = lattice.sublattice.numpy(), lattice.grain.numpy()
    is_metal = side == metal_side(frame, reading, match)[grain]
    is_bright = is_brighter(reading.contrast, lattice).numpy()
    keep = whole & (match >= 0)
    sites = match[keep]
    right = is_metal[keep] == frame.crystal.is_metal_site[sites]
    if not len(right) or right.mean() < _LEAST_AGREEMENT:
        raise MisreadError("expected sites of the truth's sublattices, found them mixed up")
    return LabelledColumns(
        moments=reading.moments.numpy()[keep],
        is_regular=~(lattice.boundary | lattice.rim).numpy()[keep],
        is_metal=is_metal[keep],
        is_bright=is_bright[keep],
        positions=lattice.positions.numpy()[keep],
        lattice_px=lattice.lattice_px,
        label=frame.crystal.classes[sites],
        motif=motif_numbers(frame)[sites],
        missed=missed,
        spurious=int((whole & (match < 0)).sum()),
    )


def read_as_classified(columns: LabelledColumns, context: Context) -> tuple[Tensor, Scatter]:
    """Contrast vectors (n, 8) as `models.classify` has them, and the frame's scatter."""
    moments, is_metal = torch.from_numpy(columns.moments), torch.from_numpy(columns.is_metal)
    is_regular, templates = torch.from_numpy(columns.is_regular), find_templates(context)
    at = torch.from_numpy(columns.positions) / columns.lattice_px
    aligned = align(moments, is_metal, is_regular, at, templates)
    contrast = encode_contrast(aligned.moments, is_metal)
    return contrast, find_scatter(contrast, is_regular, at, templates, aligned.is_quiet)


def motif_numbers(frame: Frame) -> NDArray[np.uint8]:
    """Motif of every column of a frame's truth; nothing for columns without three neighbours."""
    positions = frame.crystal.positions
    classes = frame.crystal.classes.astype(np.int64)
    around = cKDTree(positions).query(positions, k=4)[1][:, 1:]
    step = positions[around] - positions[:, None]
    order = np.argsort(np.arctan2(-step[..., 0], step[..., 1]), axis=1)
    ring = classes[np.take_along_axis(around, order, axis=1)]
    return np.asarray(_motif_table()[classes, ring[:, 0], ring[:, 1], ring[:, 2]])


@cache
def _motif_table() -> NDArray[np.uint8]:
    """Motif number by class of the column and of its three neighbours, counter-clockwise; 255 for none."""
    table = np.full((5, 5, 5, 5), 255, np.uint8)
    assert set(_CLASS_OF_STATE) <= set(STATES)
    for number, motif in enumerate(all_motifs()):
        center = _CLASS_OF_STATE[motif.center]
        a, b, c = (_CLASS_OF_STATE[state] for state in motif.neighbours)
        for ring in ((a, b, c), (b, c, a), (c, a, b)):
            table[(center, *ring)] = number
    return table
