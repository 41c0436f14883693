"""Counts that overflowed: islands near 0 within columns near the most that the pixels' type holds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from drivers.contract.errors import InputError

#: What overflows comes near the most that its type holds: into this last part of the type's range.
_LAST = 1 / 16

#: A larger part of the pixels there with the very highest value is no slope but a cut: clipped or saturated,
#: or a few electrons' counts scaled to the range.
_CUT = 0.25

#: From one pixel to the next an overflow falls by more than this part of the range.
_FALL = 0.75

#: So many islands are no accident.  Of 103 images that did not overflow, recorded and simulated at 50 to 3e5
#: e/Å², stretched over 8 and 16 bits and clipped at 0 to 30 % at each end, none is taken for one that did;
#: where 1 % of the pixels of a recorded micrograph overflow there are 150 islands and more.
_LEAST_ISLANDS = 20

#: Part of the pixels in islands above which a map means nothing.
_MOST = 0.005


def overflowed_part(pixels: NDArray[Any]) -> float:
    """Part of the pixels (M, N) that lie in islands of overflowed counts; of 8 and 16 bits alone, else 0.

    An island is a patch in the lower half of the type's range, most of whose border falls off from pixels
    that are higher by nearly all of it.  Noise breaks islands up, so that the part is a lower bound.

    Raises
    ------
    InputError
        If these are too many to read the frame.
    """
    if pixels.dtype.kind not in "ui" or pixels.dtype.itemsize > 2:
        return 0.0
    limits = np.iinfo(pixels.dtype)
    span = int(limits.max) - int(limits.min) + 1
    highest = int(pixels.max())
    last = limits.max - _LAST * span
    if highest < last or (pixels == highest).sum() > _CUT * (pixels >= last).sum():
        return 0.0
    values = pixels.astype(np.int32) - limits.min
    low = values < span // 2
    island, count = label(low)
    border, falls = np.zeros((2, count + 1))
    for inner, outer in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
        for here, there in ((np.s_[inner, :], np.s_[outer, :]), (np.s_[:, inner], np.s_[:, outer])):
            on_border = low[here] & ~low[there]
            own = island[here][on_border]
            step = (values[there] - values[here])[on_border]
            border += np.bincount(own, minlength=count + 1)
            falls += np.bincount(own[step > _FALL * span], minlength=count + 1)
    is_overflowed = 2 * falls > border
    is_overflowed &= (
        np.bincount(island.ravel(), weights=values.ravel(), minlength=count + 1) > 0
    )  # dead pixels
    if is_overflowed.sum() < _LEAST_ISLANDS:
        return 0.0
    part = float(is_overflowed[island].mean())
    if part > _MOST:
        raise InputError(
            f"expected intensities, found {100 * part:.1f} % of the pixels near {limits.min} within columns "
            f"near {limits.max}, the most that {pixels.dtype} holds: counts have overflowed; save the image "
            "in a wider type, or lower gain or dwell time"
        )
    return part
