"""Sites of a crystal counted: which unit cell each column of a map stands in.

A column's name within a grain is its cell (i, j) and its sublattice.  With a2 the vector 60 degrees on from
a1, from the column axis towards the row axis, and the metal of a cell at i a1 + j a2, the chalcogen stands at
+ (a1 + a2) / 3.  That leaves three choices of a1, a third of a turn apart, which look alike in a 1H layer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import cKDTree

#: Fewer metal columns than this are not counted.
LEAST_METALS = 12

#: A column this far [cells] from where the lattice expects it belongs to no cell.
_FIT = 0.25

#: Part of the neighbouring pairs that must agree with the count, or the count has slipped somewhere.
_LEAST_AGREEING = 0.98


@dataclass(frozen=True)
class Sites:
    """Counted columns of one grain; n columns.

    Parameters
    ----------
    member : ndarray of shape (n,)
        Place of each column in the arrays that were counted.
    cell : ndarray of shape (n, 2)
        Cell (i, j).
    is_metal : ndarray of shape (n,)
    basis : ndarray of shape (2, 2)
        a1 and a2, rows, (row, column), in the unit of the positions: the mean over the grain.
    origin : ndarray of shape (2,)
        Position of the metal of cell (0, 0), by the mean lattice.
    """

    member: NDArray[np.int64]
    cell: NDArray[np.int64]
    is_metal: NDArray[np.bool_]
    basis: NDArray[np.float64]
    origin: NDArray[np.float64]

    def expected(self, cell: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions of the metals of cells (..., 2) by the mean lattice."""
        return np.asarray(self.origin + cell @ self.basis)


def count_sites(
    positions: NDArray[np.floating], is_metal: NDArray[np.bool_], *, toward_deg: float = 0.0
) -> Sites | None:
    """Count the cells of one grain.

    Parameters
    ----------
    positions : ndarray of shape (m, 2)
        (row, column), any unit, affinely and otherwise smoothly distorted.
    is_metal : ndarray of shape (m,)
        Sublattice of each.
    toward_deg : float
        Of the three choices of a1 the one nearest to this direction (from the column axis towards the row
        axis) is taken.

    Returns
    -------
    Sites or None
        None if the metals do not form one lattice that can be counted without contradiction.
    """
    points = np.asarray(positions, np.float64)
    metals, others = np.flatnonzero(is_metal), np.flatnonzero(~is_metal)
    if len(metals) < LEAST_METALS:
        return None
    counted = _count_metals(points[metals])
    if counted is None:
        return None
    member, cell, basis = counted
    metals = metals[member]
    cell, basis = _orient(cell, basis, points[metals], points[others], toward_deg)
    origin, basis = _fit(cell, points[metals])
    tree = cKDTree(points[metals])
    chalcogens, cells = _count_chalcogens(tree, cell, basis, points[others])
    chalcogens = others[chalcogens]
    return _without_doubles(
        Sites(
            np.concatenate([metals, chalcogens]),
            np.concatenate([cell, cells]),
            np.repeat([True, False], [len(metals), len(chalcogens)]),
            basis,
            origin,
        ),
        points,
    )


_Counted = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def _count_metals(points: NDArray[np.float64]) -> _Counted | None:
    """Members of the largest connected part of a triangular lattice, their cells, and its basis."""
    count = min(7, len(points))
    distance, near = cKDTree(points).query(points, k=count)
    pitch = float(np.median(distance[:, 1:4]))
    first = np.repeat(np.arange(len(points)), count - 1)
    second, length = near[:, 1:].ravel(), distance[:, 1:].ravel()
    close = (length > 0.7 * pitch) & (length < 1.35 * pitch)
    first, second = first[close], second[close]
    if len(first) < LEAST_METALS:
        return None
    delta = points[second] - points[first]
    basis = _basis_of(delta, pitch)
    exact = delta @ np.linalg.inv(basis)
    step = np.rint(exact).astype(np.int64)
    good = (np.abs(exact - step).max(axis=1) < _FIT) & step.any(axis=1)
    first, second, step = first[good], second[good], step[good]
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(points),) * 2).tocsr()
    _, label = connected_components(graph, directed=False)
    largest = int(np.bincount(label).argmax())
    start = int(
        np.flatnonzero(label == largest)[np.argmin(np.abs(points[label == largest] - points.mean(0)).sum(1))]
    )
    order, parent = breadth_first_order(graph + graph.T, start, directed=False)
    cell = _along_tree(order, parent, first, second, step, len(points))
    inside = (label[first] == largest) & (label[second] == largest)
    agree = ((cell[second] - cell[first]) == step).all(axis=1)[inside]
    if len(order) < LEAST_METALS or agree.mean() < _LEAST_AGREEING:
        return None
    member = np.sort(order.astype(np.int64))
    return member, cell[member], basis


def _basis_of(delta: NDArray[np.float64], pitch: float) -> NDArray[np.float64]:
    """a1 and a2 of a triangular lattice from the differences of neighbours, whichever a1."""
    angle = np.arctan2(delta[:, 0], delta[:, 1])
    turn = np.angle(np.exp(6j * angle).mean()) / 6 + np.array([0.0, np.pi / 3])
    basis = pitch * np.stack([np.sin(turn), np.cos(turn)], axis=1)
    for _ in range(3):
        step = np.rint(delta @ np.linalg.inv(basis))
        near = (np.abs(step).max(axis=1) <= 1) & step.any(axis=1)
        near &= np.abs(delta @ np.linalg.inv(basis) - step).max(axis=1) < 2 * _FIT
        if near.sum() < LEAST_METALS:
            break
        basis = np.linalg.lstsq(step[near], delta[near], rcond=None)[0]
    return np.asarray(basis)


def _along_tree(
    order: NDArray[np.int32],
    parent: NDArray[np.int32],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    step: NDArray[np.int64],
    count: int,
) -> NDArray[np.int64]:
    """Add the steps from the start to every node of a tree, by doubling the stride."""
    key = np.concatenate([first * count + second, second * count + first])
    steps = np.concatenate([step, -step])
    sort = np.argsort(key, kind="stable")
    child = order[1:].astype(np.int64)
    above = np.arange(count)
    above[child] = parent[child]
    place = np.searchsorted(key[sort], above[child] * count + child)
    cell = np.zeros((count, 2), np.int64)
    cell[child] = steps[sort][place]
    while (above[above] != above).any():
        cell += cell[above]
        above = above[above]
    return cell


def _orient(
    cell: NDArray[np.int64],
    basis: NDArray[np.float64],
    metals: NDArray[np.float64],
    others: NDArray[np.float64],
    toward_deg: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose a1 so that the chalcogens stand at + (a1 + a2) / 3, and nearest to a direction."""
    if len(others):
        delta = others - metals[cKDTree(metals).query(others)[1]]
        part = delta @ np.linalg.inv(basis)
        # Both coordinates are 1/3 beyond a whole number where the chalcogens stand as they should, else 2/3.
        if np.cos(2 * np.pi * (part - 1 / 3)).sum() < np.cos(2 * np.pi * (part - 2 / 3)).sum():
            basis = np.array([basis[1], basis[1] - basis[0]])
            cell = np.stack([cell[:, 0] + cell[:, 1], -cell[:, 0]], axis=1)
    for _ in range(2):
        angle = np.rad2deg(np.arctan2(basis[0, 0], basis[0, 1])) - toward_deg
        if abs((angle + 180) % 360 - 180) <= 60:
            break
        basis = np.array([basis[1] - basis[0], -basis[0]])
        cell = np.stack([cell[:, 1], -cell[:, 0] - cell[:, 1]], axis=1)
    return cell, basis


def _fit(
    cell: NDArray[np.int64], points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Origin and basis of the mean lattice."""
    design = np.concatenate([np.ones((len(cell), 1)), cell], axis=1)
    solution = np.linalg.lstsq(design, points, rcond=None)[0]
    return solution[0], solution[1:]


def _count_chalcogens(
    tree: cKDTree, cell: NDArray[np.int64], basis: NDArray[np.float64], points: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which points stand at a chalcogen's site beside a counted metal, and in which cell."""
    if not len(points):
        return np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    distance, nearest = tree.query(points)
    part = (points - tree.data[nearest]) @ np.linalg.inv(basis) - 1 / 3
    step = np.rint(part).astype(np.int64)
    pitch = float(np.sqrt(abs(np.linalg.det(basis)) * 2 / np.sqrt(3)))
    good = (np.abs(part - step).max(axis=1) < _FIT) & (distance < pitch)
    return np.flatnonzero(good), (cell[nearest] + step)[good]


def _without_doubles(sites: Sites, points: NDArray[np.float64]) -> Sites:
    """Of two columns counted as one site keep that nearer to where the mean lattice expects it."""
    cell = sites.cell.astype(np.float64) + np.where(sites.is_metal, 0.0, 1 / 3)[:, None]
    miss = np.linalg.norm(points[sites.member] - sites.expected(cell), axis=1)
    order = np.lexsort([miss, sites.is_metal, sites.cell[:, 1], sites.cell[:, 0]])
    keys = np.column_stack([sites.cell, sites.is_metal])[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    keep = np.sort(order[fresh])
    return Sites(sites.member[keep], sites.cell[keep], sites.is_metal[keep], sites.basis, sites.origin)
