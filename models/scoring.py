"""Scores of a defect map against given labels: columns found, sublattice, Cohen's kappa, F1 by class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drivers.contract.maps import CLASS_NAMES, DefectMap, Sublattice

#: What a label can mean: one of the five classes, a vacancy of either kind, or to be reported apart.
MEANINGS = (*CLASS_NAMES, "vacancy", "apart")

_ON_METAL = ("metal", "dopant")


@dataclass(frozen=True)
class Labels:
    """Labelled columns of one image; L columns.

    Parameters
    ----------
    points : ndarray of shape (L, 2)
        (row, column) [px].
    meaning : ndarray of shape (L,), str
        One of `MEANINGS` for each.
    """

    points: NDArray[np.float64]
    meaning: NDArray[np.str_]


@dataclass(frozen=True)
class Score:
    """How a map compares with labels.

    Parameters
    ----------
    labelled, scored : int
        Labelled columns, and those of them that are matched and not apart.
    recall, precision : float
        Part of the labelled columns that are found, and of the found ones that are labelled, where labels
        were made: inside the rectangle that they span, less the matching radius.
    recall_vacancy : float or None
        Part of the labelled vacancies that are found; None if there are none.
    missed, spurious : list of tuple of float
        (row, column) of labels without column, and of columns without label.
    sublattice_right : float or None
        Part of the matched columns on the labelled sublattice; None if none is matched.
    kappa : float
        Cohen's kappa of the classes.
    f1 : dict
        By class; None for a class that neither labels nor map hold.
    apart : dict
        What the map says of the columns to be reported apart, by class.
    wrong : list of dict
        Columns whose class differs: row, column, labelled, said, p.
    """

    labelled: int
    scored: int
    recall: float
    recall_vacancy: float | None
    precision: float
    missed: list[tuple[float, float]]
    spurious: list[tuple[float, float]]
    sublattice_right: float | None
    kappa: float
    f1: dict[str, float | None]
    apart: dict[str, int]
    wrong: list[dict[str, object]]


def score_map(defect_map: DefectMap, labels: Labels, *, radius_px: float) -> Score:
    """Compare a map with labels.

    Parameters
    ----------
    defect_map : DefectMap
    labels : Labels
        If any of them means a vacancy of either kind, the map's double vacancies count as single ones.
    radius_px : float
        A column and a label nearer than this to each other are the same, one label to a column.
    """
    columns = defect_map.columns
    positions = np.stack([columns["row_px"], columns["col_px"]], axis=1).astype(np.float64)
    found, nearest = matched(positions, labels.points, radius_px)
    low, high = labels.points.min(axis=0) + radius_px, labels.points.max(axis=0) - radius_px
    inner = positions[((positions >= low) & (positions <= high)).all(axis=1)]
    known = matched(labels.points, inner, radius_px)[0]
    is_vacancy = np.isin(labels.meaning, ("vac1", "vac2", "vacancy"))
    is_apart = labels.meaning == "apart"

    scored = found & ~is_apart
    said = np.array(CLASS_NAMES)[columns["cls"][nearest]]
    truth = labels.meaning.copy()
    if (truth == "vacancy").any():
        said = np.where(said == "vac2", "vac1", said)
        truth = np.where(is_vacancy, "vac1", truth)
    on_metal = columns["sublattice"][nearest] == Sublattice.METAL
    right_side = on_metal == np.isin(truth, _ON_METAL)
    return Score(
        labelled=len(labels.points),
        scored=int(scored.sum()),
        recall=float(found.mean()),
        recall_vacancy=float(found[is_vacancy].mean()) if is_vacancy.any() else None,
        precision=float(known.mean()) if len(known) else 0.0,
        missed=_pairs(labels.points[~found]),
        spurious=_pairs(inner[~known]),
        sublattice_right=float(right_side[scored].mean()) if scored.any() else None,
        kappa=cohen_kappa(said[scored], truth[scored]),
        f1={name: f1(said[scored] == name, truth[scored] == name) for name in CLASS_NAMES},
        apart={name: int((said[is_apart & found] == name).sum()) for name in CLASS_NAMES},
        wrong=[
            _wrong(labels.points[k], str(truth[k]), str(said[k]), columns["p"][nearest[k]])
            for k in np.flatnonzero(scored & (said != truth))
        ],
    )


def _wrong(
    point: NDArray[np.float64], labelled: str, said: str, probability: NDArray[np.float32]
) -> dict[str, object]:
    """A column whose class differs from that of its label at a point (row, column) [px]."""
    return {
        "row_px": float(point[0]),
        "col_px": float(point[1]),
        "labelled": labelled,
        "said": said,
        "p": [round(float(p), 4) for p in probability],
    }


def matched(
    those: NDArray[np.float64], points: NDArray[np.float64], radius_px: float
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Find, one to one, which of those is at each point.

    Parameters
    ----------
    those : ndarray of shape (K, 2)
    points : ndarray of shape (L, 2)
    radius_px : float

    Returns
    -------
    is_found : ndarray of shape (L,)
        Whether the nearest of those is within the radius, and no other point is nearer to it.
    nearest : ndarray of shape (L,)
        Which that is.
    """
    if len(points) == 0:
        return np.ones(0, dtype=bool), np.zeros(0, dtype=np.intp)
    distance, nearest = cKDTree(those).query(points)
    order = np.lexsort((distance, nearest))
    is_first = np.ones(len(points), dtype=bool)
    is_first[order[1:]] = nearest[order[1:]] != nearest[order[:-1]]
    return is_first & (distance < radius_px), nearest


def cohen_kappa(said: NDArray[np.str_], truth: NDArray[np.str_]) -> float:
    """Agreement beyond chance, 1 if perfect; nan if there is nothing to score, or one class alone."""
    if len(said) == 0:
        return float("nan")
    _, numbers = np.unique(np.concatenate([said, truth]), return_inverse=True)
    first, second = numbers[: len(said)], numbers[len(said) :]
    table = np.zeros((numbers.max() + 1,) * 2)
    np.add.at(table, (first, second), 1 / len(said))
    chance = float(table.sum(0) @ table.sum(1))
    return (float(np.trace(table)) - chance) / (1 - chance) if chance < 1 else float("nan")


def f1(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float | None:
    """Harmonic mean of precision and recall; None where the class does not occur."""
    total = int(said.sum() + truth.sum())
    return float(2 * (said & truth).sum() / total) if total else None


def _pairs(points: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(round(float(row), 2), round(float(column), 2)) for row, column in points]
