"""Words and figures for people, the same in pictures, reports and tables; pure."""

import math
from datetime import datetime

from drivers.contract.maps import Concentration


def class_words(dopant: str | None) -> dict[str, str]:
    """What each class is called, by its name in tables; a dopant only if there may be one."""
    words = {"x2": "X2", "vac1": "single vacancy", "vac2": "double vacancy", "metal": "metal"}
    return words | {"dopant": f"{dopant} dopant"} if dopant else words


def share_words(concentration: Concentration) -> tuple[str, str]:
    """A concentration and its interval in percent, to two significant digits of the interval's width.

    Where the interval reaches 0 the concentration is told as below its upper end; without sites, not at all.
    """
    if not concentration.sites:
        return "-", "-"
    value, low, high = (100 * share for share in (concentration.value, concentration.low, concentration.high))
    width = high - low
    digits = max(0, 1 - math.floor(math.log10(width))) if width > 0 else 0
    end = f"{_rounded(high, digits)} %"
    return (
        f"< {end}" if low == 0 < high else f"{_rounded(value, digits)} %",
        f"{_rounded(low, digits)} to {end}",
    )


def _rounded(percent: float, digits: int) -> str:
    """A number to so many digits behind the point, or to as many as its first that is not 0 takes."""
    if percent == 0:
        return "0"
    return f"{percent:.{max(digits, -math.floor(math.log10(percent))) if percent < 1 else digits}f}"


def time_words(moment: datetime) -> str:
    """A time to the minute, with the name of its zone."""
    return f"{moment:%Y-%m-%d %H:%M %Z}"
