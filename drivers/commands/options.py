"""Kinds of values that options of several commands take."""

import argparse
import math

#: The longest wait that can be asked for [s]: a day.
_LONGEST_S = 86400.0


def seconds(text: str) -> float:
    """Read a wait of up to a day [s], for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 to {_LONGEST_S:.0f}, found {text!r}")
    return value
