"""Columns found again by where they stand: for scans too small to be counted, and for what counting left out.

Columns of one sublattice stand some 3 Å apart.  While the stage stands still and the drift is watched, the
next scan is foreseen to a fraction of that, and the nearest column of the same sublattice is the same one.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import trim_mean

from agent.register import Register
from agent.registration import LEAST_MARGIN_NATS, Expectation, agreement_nats, stage_is_right_nats

#: Columns of one sublattice are the same if nearer than this part of their distance; the first time, before
#: what all have gone together is known, if nearer than the second.
REACH, _REACH_AT_FIRST = 0.3, 0.45

#: Standard deviation of where a faint scan shows a column, along each axis [Å].
POSITION_ANGSTROM = 0.5

#: Part of a scan's columns that must be found again.
_LEAST_FOUND = 0.8

#: A scan of more than this part of the columns known is counted instead: it shows new ones.
_PART = 0.5


@dataclass(frozen=True)
class Guided:
    """Columns found again by position.

    Parameters
    ----------
    row : ndarray of shape (S,)
        Place in the register of each of the scan's columns; -1 where none stands there.
    shown_angstrom : ndarray of shape (2,)
        How far the specimen has gone, by this scan alone.
    """

    row: NDArray[np.int64]
    shown_angstrom: NDArray[np.float64]


def guide(
    register_: Register,
    known: NDArray[np.float64],
    positions: NDArray[np.float64],
    is_metal: NDArray[np.bool_],
    said: NDArray[np.float64],
    shares: NDArray[np.float64],
    expectation: Expectation,
) -> Guided | None:
    """Find the columns of a small scan where they are expected.

    Parameters
    ----------
    register_ : Register
    known : ndarray of shape (C, 5)
        Log likelihoods of its columns.
    positions, is_metal, said : ndarray of shape (S, 2), (S,), (S, 5)
        Of the scan's columns: in the stage's frame [Å], the sublattice, log likelihoods.
    shares : ndarray of shape (5,)
    expectation : Expectation

    Returns
    -------
    Guided or None
        None where a shift by one cell could not be told from none, where what is seen contradicts what is
        known, or where the scan shows too much that is new.
    """
    if len(positions) > _PART * len(register_) or len(positions) == 0:
        return None
    pitch = pitch_angstrom(register_)
    drift = expectation.drift_angstrom
    for nearness in (_REACH_AT_FIRST, REACH):
        row = match(register_, positions - drift, is_metal, nearness * pitch)
        found = row >= 0
        if found.mean() < _LEAST_FOUND:
            return None
        off_by = trim_mean(
            positions[found] - register_.position_angstrom[row[found]] - expectation.drift_angstrom,
            0.2,
            axis=0,
        )
        error = POSITION_ANGSTROM**2 / found.sum()
        trust = expectation.sigma_angstrom**2 / (expectation.sigma_angstrom**2 + error)
        drift = expectation.drift_angstrom + trust * off_by
    off = float(np.linalg.norm(drift - expectation.drift_angstrom))
    further = ((pitch - off) ** 2 - off**2) / (2 * expectation.sigma_angstrom**2) - math.log(6.0)
    margin = min(further, stage_is_right_nats())
    margin += agreement_nats(known[row[found]], said[found], is_metal[found], shares)
    return Guided(row, expectation.drift_angstrom + off_by) if margin >= LEAST_MARGIN_NATS else None


def match(
    register_: Register,
    positions: NDArray[np.float64],
    is_metal: NDArray[np.bool_],
    reach_angstrom: float,
) -> NDArray[np.int64]:
    """Register's column of the same sublattice at each position (S, 2), within reach; -1 for none.

    Of several that one column is the nearest to, the nearest is it.
    """
    row = np.full(len(positions), -1, np.int64)
    for metal in (False, True):
        mine, theirs = np.flatnonzero(is_metal == metal), np.flatnonzero(register_.is_metal == metal)
        if not len(mine) or not len(theirs):
            continue
        distance, nearest = cKDTree(register_.position_angstrom[theirs]).query(
            positions[mine], distance_upper_bound=reach_angstrom
        )
        order = mine[np.argsort(distance, kind="stable")]
        place = np.append(theirs, -1)[nearest][np.argsort(distance, kind="stable")]
        _, first = np.unique(place, return_index=True)
        first = first[place[first] >= 0]
        row[order[first]] = place[first]
    return row


def pitch_angstrom(register_: Register) -> float:
    """Distance of neighbours of one sublattice."""
    spots = register_.position_angstrom[register_.is_metal]
    if len(spots) < 2:
        return float("inf")
    return float(np.median(cKDTree(spots).query(spots[:500], k=2)[0][:, 1]))
