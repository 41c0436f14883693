"""What the detector that recorded the same scan says of the columns over which a map and its labels disagree.

Part of `columnist bench labels`, for images with the same labels.  The depth of a column is how much dimmer
it is than the columns that map and labels both call X2, in parts of what they both call a vacancy.  Noise of
two detectors of one scan is correlated, so a column that is X2 but deep in one is somewhat deep in the other
too: lines through the agreed columns say how deep it would be there as X2, and how deep as a vacancy.
Labels enter on both sides alike; nothing is fitted that a map is made with.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from agent.results.labelled import LabelledImage
from drivers.contract.context import ColumnClass
from drivers.contract.maps import ColumnFlag
from drivers.file_context import settle
from drivers.files import read_micrographs
from models.analysis import Analyser, analyse
from models.reading import read_columns

#: A column and a label nearer than this to each other are the same [px].
_RADIUS_PX = 2.5

#: Disagreements fewer than this are not averaged.
_LEAST = 5


@dataclass(frozen=True)
class Depths:
    """Labelled chalcogen columns of one detector's image; L labels.

    Parameters
    ----------
    known : ndarray of shape (L,)
        Labelled X2 or vacancy, on a column whose surroundings lie inside the image.
    called, labelled : ndarray of shape (L,)
        A vacancy in the map, and by the labels.
    depth : ndarray of shape (L,)
    """

    known: NDArray[np.bool_]
    called: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    depth: NDArray[np.float64]


def disagreements(images: list[LabelledImage], analyser: Analyser) -> dict[str, dict[str, Any]]:
    """For each image, by the other detector of its scan, the columns that map and labels disagree over."""
    report: dict[str, dict[str, Any]] = {}
    depths = {image.name: _depths(image, analyser) for image in images}
    for image in images:
        for other in images:
            if other.detector != image.detector and _are_alike(image, other):
                report[image.name] = _witnessed(depths[image.name], depths[other.name])
    return report


def _are_alike(image: LabelledImage, other: LabelledImage) -> bool:
    return image.group == other.group and np.array_equal(image.labels.points, other.labels.points)


def _depths(image: LabelledImage, analyser: Analyser) -> Depths:
    micrograph = read_micrographs(image.path).micrographs[0]
    columns = analyse(micrograph.image, settle(image.facts, micrograph.facts), analyser).columns
    reading = read_columns(micrograph.image)
    at = np.stack([columns["row_px"], columns["col_px"]], axis=1)
    distance, nearest = cKDTree(at).query(image.labels.points)
    site = cKDTree(reading.lattice.positions.numpy()).query(image.labels.points)[1]
    contrast = reading.contrast.double().numpy()[site]
    inside = (distance < _RADIUS_PX) & ((columns["flags"][nearest] & int(ColumnFlag.EDGE)) == 0)
    labelled = np.isin(image.labels.meaning, ("vac1", "vac2", "vacancy"))
    called = np.isin(columns["cls"][nearest], (ColumnClass.VAC1, ColumnClass.VAC2))
    known = inside & (labelled | (image.labels.meaning == "x2"))
    whole = np.median(contrast[known & ~called & ~labelled])
    missing = np.median(contrast[known & called & labelled])
    return Depths(known, called, labelled, (whole - contrast) / (whole - missing))


def _witnessed(own: Depths, other: Depths) -> dict[str, Any]:
    known = own.known & other.known
    kinds = {"called_only": own.called & ~own.labelled, "labelled_only": ~own.called & own.labelled}
    found: dict[str, Any] = {}
    for name, kind in kinds.items():
        chosen = known & kind
        if chosen.sum() < _LEAST:
            continue
        seen = other.depth[chosen]
        as_x2, as_vacancy = (
            np.polyval(np.polyfit(own.depth[agreed], other.depth[agreed], 1), own.depth[chosen]).mean()
            for agreed in (known & ~own.called & ~own.labelled, known & own.called & own.labelled)
        )
        found[name] = {
            "columns": int(chosen.sum()),
            "own_depth": float(own.depth[chosen].mean()),
            "other_depth": float(seen.mean()),
            "standard_error": float(seen.std(ddof=1) / np.sqrt(len(seen))),
            "other_depth_if_x2": float(as_x2),
            "other_depth_if_vacancy": float(as_vacancy),
        }
    return found
