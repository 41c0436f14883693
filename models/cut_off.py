"""What the range of a frame's values cuts off: counts that overflowed, the bright end, the dark end."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.errors import InputError
from drivers.contract.maps import MapFlag
from models.borders import recorded_part
from models.overflow import overflowed_part

#: Part of the pixels at the highest value: above the first the tops of columns are cut off in places, above
#: the second (a column's top is a fifth of its area) so many that intensities mean nothing.
_SATURATED_SOME, _SATURATED_MOST = 0.005, 0.1

#: Part of the pixels at the lowest value, beyond those of vacuum, above which the frame was clipped there.
_CLIPPED_SOME = 0.05

#: With fewer values than this (counts of a few electrons) many pixels share the highest by nature.
_FEW_VALUES = 16

#: With fewer than this many have the lowest by nature: none of a few electrons.
_MANY_VALUES = 64


@dataclass(frozen=True)
class CutOff:
    """Parts of a frame's pixels that say little, as the range of its values ends there.

    Parameters
    ----------
    overflowed : float
        See `models.overflow`.
    saturated, clipped : float
        With the highest and the lowest value.
    """

    overflowed: float = 0.0
    saturated: float = 0.0
    clipped: float = 0.0

    @classmethod
    def of(cls, recorded: NDArray[Any], mended: NDArray[Any]) -> "CutOff":
        """Of a frame as recorded, whose type tells of overflow, and after `models.mending`, (M, N) each.

        Raises
        ------
        InputError
            If so many counts overflowed, or so many pixels are saturated, that a map would mean nothing.
        """
        return cls(overflowed_part(recorded), saturated_part(mended), clipped_part(mended))

    def flags(self, masked: float) -> tuple[MapFlag, ...]:
        """What the reader of a map should know, where columns are not in this part of the frame."""
        flags = []
        if self.overflowed:
            flags.append(
                MapFlag(
                    kind="overflowed",
                    message=f"{100 * self.overflowed:.2g} % of the pixels, or more, lie far below those "
                    "around them, which are near the most that their type holds: counts have overflowed, "
                    "and the brightest columns look like defects; save the image in a wider type, or lower "
                    "gain or dwell time",
                )
            )
        if self.saturated > _SATURATED_SOME:
            flags.append(
                MapFlag(
                    kind="saturated",
                    message=f"{100 * self.saturated:.1f} % of the pixels have the highest value: the "
                    "brightest columns may be cut off",
                )
            )
        if self.clipped > masked + _CLIPPED_SOME:  # in vacuum many pixels hold nothing by nature
            flags.append(
                MapFlag(
                    kind="clipped",
                    message=f"{100 * self.clipped:.0f} % of the pixels have the lowest value: the dark end "
                    "was cut off, and faint columns with it; save the raw intensities",
                )
            )
        return tuple(flags)


def saturated_part(pixels: NDArray[np.generic]) -> float:
    """Part of the pixels that have the highest value.

    Raises
    ------
    InputError
        If these are too many.
    """
    highest = pixels.max()
    if not np.isfinite(highest) or highest == pixels.min():
        return 0.0  # of what is no image `models.frames` says what is wrong
    part = np.count_nonzero(pixels == highest) / pixels.size
    values = len(np.unique(pixels[::4, ::4])) if part > _SATURATED_SOME else _FEW_VALUES
    if part > _SATURATED_MOST:
        recorded = pixels[recorded_part(pixels)]
        if recorded.shape != pixels.shape:  # less a bar with a legend, or padding
            return saturated_part(recorded)
        raise InputError(
            f"expected intensities, found {100 * part:.0f} % of the pixels at the highest value, "
            f"{highest:g}: the detector is saturated or the image clipped; lower the gain or the "
            "contrast, and save the raw intensities"
        )
    return part if values >= _FEW_VALUES else 0.0


def clipped_part(pixels: NDArray[np.generic]) -> float:
    """Part of the pixels that have the lowest value, if it is not by nature that many have."""
    part = np.count_nonzero(pixels == pixels.min()) / pixels.size
    if part <= _CLIPPED_SOME:
        return 0.0
    return part if len(np.unique(pixels[::4, ::4])) >= _MANY_VALUES else 0.0
