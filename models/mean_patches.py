"""Mean surroundings of the columns of each class of a map."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from drivers.contract.maps import CLASS_NAMES, ColumnFlag, DefectMap
from models.frames import standardise
from models.mending import mend_pixels
from models.normalise import normalise
from models.patches import cut_patches, disc_map

#: Columns of a class that are averaged, at most: the surest.
_MOST = 200

#: Samples along the edge of a patch.
_SAMPLES = 40


def mean_patches(
    array: ArrayLike, defect_map: DefectMap
) -> tuple[dict[str, NDArray[np.float32]], dict[str, int]]:
    """Average the normalised frame around the columns of each class.

    Parameters
    ----------
    array : array_like of shape (M, N)
        The frame that the map is of.
    defect_map : DefectMap

    Returns
    -------
    patches : dict
        By name of the class, of those that whole columns off boundaries hold, shape (40, 40), sqrt(3)
        lattice constants wide.
    counts : dict
        How many columns were averaged, at most 200 of a class, the surest.
    """
    image = normalise(standardise(mend_pixels(np.asarray(array))[0]), defect_map.header.scale.lattice_px)
    disc = disc_map(torch.tensor(defect_map.header.grains[0].vectors_px))
    doubtful = ColumnFlag.EDGE | ColumnFlag.BOUNDARY | ColumnFlag.FOREIGN | ColumnFlag.UNDECIDED
    sound = defect_map.columns[(defect_map.columns["flags"] & int(doubtful)) == 0]
    patches, counts = {}, {}
    for number, name in enumerate(CLASS_NAMES):
        own = sound[sound["cls"] == number]
        own = own[np.argsort(own["entropy_nats"], kind="stable")][:_MOST]
        if len(own):
            positions = torch.from_numpy(np.stack([own["row_px"], own["col_px"]], axis=1))
            patches[name] = cut_patches(image, positions, disc, _SAMPLES).mean(0).numpy()
            counts[name] = len(own)
    return patches, counts
