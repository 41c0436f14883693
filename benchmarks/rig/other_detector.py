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

#: Disagreements fewer than this are not averaged, nor is a line laid through fewer agreed columns.
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
    pairs = [
        (one, other)
        for one in images
        for other in images
        if other.detector != one.detector and _are_alike(one, other)
    ]
    depths = {image.name: _depths(image, analyser) for image, _ in pairs}  # whichever is first is second, too
    return {one.name: _witnessed(depths[one.name], depths[other.name]) for one, other in pairs}


def _are_alike(image: LabelledImage, other: LabelledImage) -> bool:
    return image.group == other.group and np.array_equal(image.labels.points, other.labels.points)


def _depths(image: LabelledImage, analyser: Analyser) -> Depths | None:
    """Depths of an image's columns; None if map and labels agree on too few."""
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
    agreed = known & ~called & ~labelled, known & called & labelled
    if min(one.sum() for one in agreed) < _LEAST:
        return None
    whole, missing = (np.median(contrast[one]) for one in agreed)
    return Depths(known, called, labelled, (whole - contrast) / (whole - missing))


def _witnessed(own: Depths | None, other: Depths | None) -> dict[str, Any]:
    """Means over each kind of disagreement that there is enough of."""
    if own is None or other is None:
        return {}
    known = own.known & other.known
    kinds = {"called_only": own.called & ~own.labelled, "labelled_only": ~own.called & own.labelled}
    agreed = known & ~own.called & ~own.labelled, known & own.called & own.labelled
    found: dict[str, Any] = {}
    for name, kind in kinds.items():
        chosen = known & kind
        if min(one.sum() for one in (chosen, *agreed)) < _LEAST:
            continue
        seen = other.depth[chosen]
        as_x2, as_vacancy = (
            np.polyval(np.polyfit(own.depth[one], other.depth[one], 1), own.depth[chosen]).mean()
            for one in agreed
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
