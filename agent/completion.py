"""Columns that no scan has shown yet, though all around them are known: a faint frame leaves holes.

They are put into the register unseen, where their neighbours let them be expected, so that a look at them is
weighed like any other.  Holes in the specimen stay unseen, and looks at them are soon worth nothing.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from agent.boxes import Box, is_inside
from agent.register import Register, rows_of

#: Of the nine nearest columns so many must be known; along a straight edge of the specimen four are at most.
_LEAST_KNOWN = 5

#: Nearer to the edge of what was seen nothing is expected [Å].
_RIM_ANGSTROM = 1.0

#: Holes are closed from their rims, so many columns deep.
_ROUNDS = 4

#: Nothing is expected nearer to a known column than this part of the distance of two of one sublattice.
_APART = 0.35

#: Cells of the six neighbours on the own sublattice, and of the three on the other, by sublattice (chalcogen,
#: metal); the chalcogen of a cell stands at + (a1 + a2) / 3 (`agent.sites`).
_OWN = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1))
_OTHER = (((0, 0), (1, 0), (0, 1)), ((0, 0), (-1, 0), (0, -1)))


def completed(register_: Register, box: Box) -> Register:
    """Register with the columns, well within a box, that its largest grain lets expect and that it lacks."""
    if not len(register_):
        return register_
    box = (box[0] + _RIM_ANGSTROM, box[1] + _RIM_ANGSTROM, box[2] - _RIM_ANGSTROM, box[3] - _RIM_ANGSTROM)
    grain = int(np.bincount(register_.grain).argmax())
    member = np.flatnonzero(register_.grain == grain)
    place = np.stack([*register_.cell[member].T, register_.is_metal[member].astype(np.int64)])
    low = place.min(axis=1) - (1, 1, 0)
    shape = tuple((place.max(axis=1) - low + (2, 2, 1))[:2]) + (2,)
    at = tuple(place - np.array([low[0], low[1], 0])[:, None])
    known, spot = np.zeros(shape, bool), np.zeros((*shape, 2))
    known[at], spot[at] = True, register_.position_angstrom[member]
    basis = _basis(register_, member)
    found = known.copy()
    for _ in range(_ROUNDS):
        count, mean = _expected(found, spot, basis)
        more = ~found & (count >= _LEAST_KNOWN) & is_inside(mean.reshape(-1, 2), box).reshape(shape)
        if not more.any():
            break
        found, spot = found | more, np.where(more[..., None], mean, spot)
    row, col, metal = np.nonzero(found & ~known)
    spots = spot[row, col, metal]
    pitch = float(np.linalg.norm(basis[0]))
    if not len(spots):
        return register_
    distance, nearest = cKDTree(register_.position_angstrom).query(spots)
    free = distance > _APART * pitch
    cell = np.stack([row + low[0], col + low[1]], axis=1)[free]
    register_, rows = rows_of(register_, grain, cell, metal[free] == 1)
    position, lever = register_.position_angstrom.copy(), register_.lever_s.copy()
    position[rows], lever[rows] = spots[free], lever[nearest[free]]
    return replace(register_, position_angstrom=position, lever_s=lever)


def _basis(register_: Register, member: NDArray[np.int64]) -> NDArray[np.float64]:
    """a1 and a2 of a grain, rows, by the mean lattice."""
    part = register_.cell[member] + np.where(register_.is_metal[member], 0.0, 1 / 3)[:, None]
    design = np.concatenate([np.ones((len(member), 1)), part], axis=1)
    return np.asarray(np.linalg.lstsq(design, register_.position_angstrom[member], rcond=None)[0][1:])


def _expected(
    found: NDArray[np.bool_], spot: NDArray[np.float64], basis: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many neighbours of each site are found, and where they let expect it."""
    count, total = np.zeros(found.shape, np.int64), np.zeros(spot.shape)
    for metal in (0, 1):
        for steps, theirs in ((_OWN, metal), (_OTHER[metal], 1 - metal)):
            for step in steps:
                # From the neighbour to the site: cells back, and a third of one between sublattices.
                way = (-np.array(step) + (theirs - metal) / 3) @ basis
                there = np.roll(found[..., theirs], (-step[0], -step[1]), axis=(0, 1))
                place = np.roll(spot[..., theirs, :], (-step[0], -step[1]), axis=(0, 1))
                count[..., metal] += there
                total[..., metal, :] += np.where(there[..., None], place + way, 0.0)
    return count, total / np.maximum(count, 1)[..., None]
