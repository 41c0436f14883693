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


def count(text: str) -> int:
    """Type of an option that is a number of things, at least one."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return value
