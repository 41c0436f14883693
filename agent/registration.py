"""Which cell of the crystal is which: one map's columns found among those seen before.

A lattice repeats itself, so shape alone never tells one cell from the next.  Two things do: the defects,
and where the field should be by stage, time and drift.  Every shift by whole cells is weighed at once.
If two columns are the same, what two frames say of it is explained by one class, drawn once from the
specimen's shares; if not, by two, drawn apart.  The logarithm of the ratio, summed over the columns that a
shift lays onto each other, is the evidence of the defects; a Gaussian of the distance from where the field
should be is that of the stage.  If no shift stands out, the answer is that it cannot be told.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.special import logsumexp

from agent.sites import Sites
from drivers.contract.context import ColumnClass

#: A shift is taken if its odds against all others together reach this, a hundred to one.
LEAST_MARGIN_NATS = math.log(100)

#: Part of the columns about which a frame may say anything at all: wrong, foreign, or changed since.
_CONFUSED = 0.02

#: What the stage says counts as wrong in one case of so many: the shift is then anywhere in reach.
_STAGE_WRONG = 1e-3

#: Lattices turned further against each other than this are not the same grain.
_MOST_TURN_DEG = 12.0

#: Edges of the bins that columns are sorted into by log ratios of likelihoods (a defect over the host).
_METAL_EDGES = np.array([-5.0, -2.5, 0.0, 2.5, 5.0])
_CHALCOGEN_EDGES = np.array([-4.0, -1.0, 1.5, 4.0])

_METAL = [ColumnClass.METAL, ColumnClass.DOPANT]
_CHALCOGEN = [ColumnClass.X2, ColumnClass.VAC1, ColumnClass.VAC2]


@dataclass(frozen=True)
class Placed:
    """Columns of one grain with what is known of each.

    Parameters
    ----------
    sites : Sites
        Positions in Å of the stage's frame.
    log_likelihood : ndarray of shape (n, 5)
        Of the classes, up to a constant a column; all equal where nothing is known.
    """

    sites: Sites
    log_likelihood: NDArray[np.floating]


@dataclass(frozen=True)
class Expectation:
    """Where the specimen should have gone, against the stage's frame, since the reference.

    Parameters
    ----------
    drift_angstrom : ndarray of shape (2,)
        Along (row, column).
    sigma_angstrom : float
        Standard deviation along each axis, of where a scan shows the specimen to be.
    """

    drift_angstrom: NDArray[np.float64]
    sigma_angstrom: float


@dataclass(frozen=True)
class Registration:
    """How a map's cells are those of the reference; cell + shift is the reference's cell.

    Parameters
    ----------
    shift : tuple of int
        The most probable.
    margin_nats : float
        Log odds of it against every other shift and against no overlap at all.
    defects_nats : float
        What the defects alone say for it, over columns that have nothing to do with each other.
    runner_up : tuple of int
        The next most probable.
    shared : int
        Columns in both.
    drift_angstrom : ndarray of shape (2,)
        How far the specimen went, by that shift.
    """

    shift: tuple[int, int]
    margin_nats: float
    defects_nats: float
    runner_up: tuple[int, int]
    shared: int
    drift_angstrom: NDArray[np.float64]

    @property
    def is_decided(self) -> bool:
        """Whether the margin reaches `LEAST_MARGIN_NATS`."""
        return self.margin_nats >= LEAST_MARGIN_NATS

    @cached_property
    def doubt(self) -> str:
        """Why it cannot be told, in words; empty if it can."""
        if self.is_decided:
            return ""
        apart = np.subtract(self.runner_up, self.shift).tolist()
        odds = math.exp(min(self.margin_nats, 20.0))
        return (
            f"which cell is which cannot be told: a shift by {apart} cells more is nearly as likely (odds "
            f"{odds:.2g} to 1, {math.exp(LEAST_MARGIN_NATS):.0f} to 1 are needed); {self.shared} columns are "
            f"shared and their defects say {self.defects_nats:.1f} nats; scan a larger field, or again sooner"
        )


def turn_between_deg(reference: Sites, other: Sites) -> float:
    """Angle of the other's a1 from the reference's, -180 to 180."""
    first, second = (np.arctan2(s.basis[:, 0], s.basis[:, 1]) for s in (reference, other))
    return float(np.rad2deg(np.angle(np.exp(1j * (second - first)).mean())))


def register(
    reference: Placed, other: Placed, shares: NDArray[np.float64], expectation: Expectation
) -> Registration | None:
    """Find the shift that lays a map's columns onto the reference's.

    Parameters
    ----------
    reference, other : Placed
        Counted with the same choice of a1.
    shares : ndarray of shape (5,)
        Shares of the classes in the specimen.
    expectation : Expectation

    Returns
    -------
    Registration or None
        None if the lattices are turned against each other: not the same grain.
    """
    if abs(turn_between_deg(reference.sites, other.sites)) > _MOST_TURN_DEG:
        return None
    low = [np.min(p.sites.cell, axis=0) for p in (reference, other)]
    spans = [
        np.max(p.sites.cell, axis=0) - start + 1 for p, start in zip((reference, other), low, strict=True)
    ]
    shape = tuple(next_fast_len(int(n), real=True) for n in spans[0] + spans[1] - 1)
    evidence, overlap = _weigh_shifts(reference, other, shares, (low[0], low[1]), shape)
    # Entry (m, n) of a circular correlation is the shift by m, n cells, negative ones at the end.
    axes = [
        np.arange(n) - np.where(np.arange(n) >= first, n, 0) for n, first in zip(shape, spans[0], strict=True)
    ]
    shifts = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) + low[0] - low[1]
    drift = _drift(reference.sites, other.sites, shifts)
    distance = ((drift - expectation.drift_angstrom) ** 2).sum(axis=-1) / expectation.sigma_angstrom**2
    cell_area = abs(float(np.linalg.det(reference.sites.basis)))
    peak = math.log(cell_area / (2 * math.pi * expectation.sigma_angstrom**2))
    prior = np.logaddexp(
        math.log1p(-_STAGE_WRONG) + peak - distance / 2, math.log(_STAGE_WRONG / shifts[..., 0].size)
    )
    touching = overlap > 0.5
    total = np.where(touching, evidence + prior, -np.inf)
    # What no shift with an overlap explains: the stage says that the field lies elsewhere.
    elsewhere = math.log(max(1.0 - float(np.exp(prior[touching]).sum()), 1e-9))
    best = np.unravel_index(int(total.argmax()), shape)
    others = total.copy()
    others[best] = -np.inf
    second = np.unravel_index(int(others.argmax()), shape)
    return Registration(
        shift=(int(shifts[best][0]), int(shifts[best][1])),
        margin_nats=float(total[best] - np.logaddexp(logsumexp(others), elsewhere)),
        defects_nats=float(evidence[best]),
        runner_up=(int(shifts[second][0]), int(shifts[second][1])),
        shared=round(float(overlap[best])),
        drift_angstrom=drift[best],
    )


def _drift(reference: Sites, other: Sites, shifts: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far the specimen went under each shift, at the middle of the map."""
    middle = other.cell.mean(axis=0)
    return np.asarray(other.expected(middle) - reference.expected(middle + shifts))


def agreement_nats(
    known: NDArray[np.float64],
    said: NDArray[np.float64],
    is_metal: NDArray[np.bool_],
    shares: NDArray[np.float64],
) -> float:
    """Log odds that n columns, each with two log likelihoods (n, 5), are the same and not drawn apart."""
    weight = _shares_by_column(is_metal, shares)
    first, second = (posterior_ratios(logs, is_metal, shares) for logs in (known, said))
    return float(np.log((first * weight * second).sum(axis=1)).sum())


def stage_is_right_nats() -> float:
    """Log odds that the stage stands where it says."""
    return math.log((1 - _STAGE_WRONG) / _STAGE_WRONG)


def posterior_ratios(
    log_likelihood: NDArray[np.floating], is_metal: NDArray[np.bool_], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Posterior over prior of each class, (n, 5), within the column's sublattice; zero for the other's."""
    weight = _shares_by_column(is_metal, shares)
    with np.errstate(divide="ignore"):
        logs = log_likelihood + np.log(weight)
    logs = logs - logsumexp(logs, axis=1, keepdims=True)
    ratio = np.divide(np.exp(logs), weight, out=np.zeros_like(weight), where=weight > 0)
    return np.asarray(_CONFUSED + (1 - _CONFUSED) * ratio) * (weight > 0)


def _shares_by_column(is_metal: NDArray[np.bool_], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of the classes given the sublattice, one row a column."""
    rows = np.zeros((2, len(ColumnClass)))
    for row, classes in ((1, _METAL), (0, _CHALCOGEN)):
        part = np.maximum(shares[classes], 1e-6)
        rows[row, classes] = part / part.sum()
    return np.asarray(rows[is_metal.astype(np.int64)])


def _weigh_shifts(
    reference: Placed,
    other: Placed,
    shares: NDArray[np.float64],
    low: tuple[NDArray[np.int64], NDArray[np.int64]],
    shape: tuple[int, ...],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Evidence of the defects for every shift, and how many columns it lays onto each other.

    Columns are sorted into few bins by their likelihoods; the evidence of a pair of bins times the number of
    such pairs under every shift, one correlation of their masks, is the sum over all columns.
    """
    spectrum = np.zeros((shape[0], shape[1] // 2 + 1), np.complex128)
    both = np.zeros_like(spectrum)
    for metal in (True, False):
        weight = _shares_by_column(np.array([metal]), shares)[0]
        first, first_mean = _binned(reference, metal, shares, low[0], shape)
        second, second_mean = _binned(other, metal, shares, low[1], shape)
        if not len(first) or not len(second):
            continue
        pairs = np.log((first_mean * weight) @ second_mean.T)
        spectrum += np.einsum("kl,kmn,lmn->mn", pairs, first, second.conj(), optimize=True)
        both += first.sum(axis=0) * second.sum(axis=0).conj()
    return irfft2(spectrum, s=shape), irfft2(both, s=shape)


def _binned(
    placed: Placed,
    metal: bool,
    shares: NDArray[np.float64],
    low: NDArray[np.int64],
    shape: tuple[int, ...],
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Spectra of the masks of the bins in use (K, ...), and the mean ratios of each bin (K, 5)."""
    chosen = placed.sites.is_metal == metal
    logs = np.asarray(placed.log_likelihood[chosen], np.float64)
    cell = placed.sites.cell[chosen] - low
    if metal:
        number = np.digitize(logs[:, ColumnClass.DOPANT] - logs[:, ColumnClass.METAL], _METAL_EDGES)
    else:
        one = np.digitize(logs[:, ColumnClass.VAC1] - logs[:, ColumnClass.X2], _CHALCOGEN_EDGES)
        two = np.digitize(logs[:, ColumnClass.VAC2] - logs[:, ColumnClass.VAC1], _CHALCOGEN_EDGES)
        number = one * (len(_CHALCOGEN_EDGES) + 1) + two
    used, number = np.unique(number, return_inverse=True)
    ratios = posterior_ratios(logs, np.full(len(logs), metal), shares)
    count = np.bincount(number, minlength=len(used))
    means = np.stack([np.bincount(number, ratios[:, k], len(used)) / count for k in range(5)], axis=1)
    masks = np.zeros((len(used), *shape))
    masks[number, cell[:, 0], cell[:, 1]] = 1.0
    return rfft2(masks, axes=(1, 2)), means
