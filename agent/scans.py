"""Scans as evidence: what each detector said of the columns that one pass of the beam went over."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drivers.contract.context import Context
from models.fusion import ON_METAL
from models.nearest import nearest_energy_kev

#: Two detectors' columns of one scan are the same if nearer than this part of the distance of neighbours.
_SAME = 0.3


@dataclass(frozen=True)
class Source:
    """One detector at one beam energy; near a reference energy, at that, for so it was read."""

    detector: str
    energy_kev: float

    @classmethod
    def of(cls, context: Context) -> "Source":
        """Name the source of what is read under a context."""
        return cls(context.detector.name, nearest_energy_kev(context.energy_kev))


@dataclass(frozen=True)
class Layer:
    """What one detector says of the columns of a scan; S columns.

    Parameters
    ----------
    context : Context
    dose_e_per_a2 : float
        That made it.
    log_likelihood : ndarray of shape (S, 5)
        Calibrated (`models.fusion.calibrate`); -inf for the other sublattice's classes.
    is_usable : ndarray of shape (S,)
        Columns that it may speak of: not foreign, and of a grain whose sublattices are decided.
    """

    context: Context
    dose_e_per_a2: float
    log_likelihood: NDArray[np.float64]
    is_usable: NDArray[np.bool_]

    @property
    def source(self) -> Source:
        """Detector and energy."""
        return Source.of(self.context)


@dataclass(frozen=True)
class Scan:
    """One pass of the beam, read: S columns, one layer a detector.

    Parameters
    ----------
    positions_angstrom : ndarray of shape (S, 2)
        (row, column) in the stage's frame: where the stage would have to go to centre the column.
    is_metal, grain : ndarray of shape (S,)
    layers : tuple of Layer
    taken_s : float
        End of the scan, on any one clock.
    stage_angstrom : tuple of float or None
        Where the stage said that it was, (row, column); None where it said nothing.
    lead_s : ndarray of shape (S,) or None
        How long before the middle of the scan the beam went over each; None where that is not known.
    duration_s : float
        Of the scan; 0 where it is not known.
    """

    positions_angstrom: NDArray[np.float64]
    is_metal: NDArray[np.bool_]
    grain: NDArray[np.int64]
    layers: tuple[Layer, ...]
    taken_s: float
    stage_angstrom: tuple[float, float] | None = None
    lead_s: NDArray[np.float64] | None = None
    duration_s: float = 0.0

    @property
    def middle_s(self) -> float:
        """When the beam was half-way."""
        return self.taken_s - self.duration_s / 2

    @property
    def levers_s(self) -> NDArray[np.float64]:
        """`lead_s`; zeros where it is not known."""
        return np.zeros(len(self.grain)) if self.lead_s is None else self.lead_s


def join_layers(first: Scan, second: Scan) -> Scan:
    """Make one scan of two detectors' maps of one pass of the beam.

    The columns are the first's; where the second has none, it says nothing.  A map without columns is none.
    """
    if not len(first.grain) or not len(second.grain):
        return first if len(first.grain) else second
    tree = cKDTree(first.positions_angstrom)
    pitch = float(np.median(tree.query(first.positions_angstrom, k=2)[0][:, 1]))
    distance, nearest = cKDTree(second.positions_angstrom).query(first.positions_angstrom)
    same = (distance < _SAME * pitch) & (second.is_metal[nearest] == first.is_metal)
    layers = tuple(
        Layer(
            layer.context,
            layer.dose_e_per_a2,
            np.where(same[:, None], layer.log_likelihood[nearest], silence(first.is_metal)),
            layer.is_usable[nearest] & same,
        )
        for layer in second.layers
    )
    return replace(first, layers=first.layers + layers)


def muted(scan: Scan) -> Scan:
    """Scan that shows where its columns are and says nothing of what they are."""
    layers = (replace(one, is_usable=np.zeros_like(one.is_usable)) for one in scan.layers)
    return replace(scan, layers=tuple(layers))


def silence(is_metal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Log likelihoods that say nothing, (S, 5)."""
    return np.where(is_metal[:, None] == ON_METAL, 0.0, -np.inf)


def join_scans(maps: Sequence[Scan]) -> Scan:
    """One scan of all detectors' maps of one pass of the beam, in order.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not maps:
        raise ValueError("expected at least one map of a scan, found none")
    joined = maps[0]
    for further in maps[1:]:
        joined = join_layers(joined, further)
    return joined
