"""A frame and its columns as coloured half-block characters: two picture elements a character; pure."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from drivers.contract.context import ColumnClass
from drivers.contract.maps import ColumnFlag, DefectMap

#: Colours of the defects, as in the pictures that are written (Okabe and Ito's palette).
DEFECT_COLOURS = {
    ColumnClass.VAC1: (0x56, 0xB4, 0xE9),
    ColumnClass.VAC2: (0xE6, 0x9F, 0x00),
    ColumnClass.DOPANT: (0xD5, 0x5E, 0x00),
}
_FOREIGN_COLOUR = (0xCC, 0x79, 0xA7)

#: Shade over the grey of the frame where an ordinary column is: metal greenish, chalcogen reddish.
_METAL_SHADE, _X2_SHADE = (0.78, 1.0, 0.78), (1.0, 0.82, 0.82)

#: Brightness of the brightest grey, so that defects stand out.
_BRIGHTEST = 0.7

#: Steps of grey; few, so that styles repeat and are quick to write.
_STEPS = 24


@dataclass(frozen=True)
class Picture:
    """Colours of picture elements, shape (2 rows, columns, 3), of type uint8; two make a character."""

    colours: NDArray[np.uint8]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Write it, a line of characters for two rows of elements."""
        for upper, lower in zip(self.colours[::2], self.colours[1::2], strict=True):
            pairs = zip(map(tuple, upper.tolist()), map(tuple, lower.tolist()), strict=True)
            for (top, bottom), run in groupby(pairs):
                yield Segment("▀" * len(list(run)), _style(top, bottom))
            yield Segment.line()


def draw(pixels: NDArray[Any], defect_map: DefectMap | None, rows: int, columns: int) -> Picture:
    """Draw a frame into at most `rows` lines of `columns` characters, in its own proportions.

    Defects are coloured over all else, and the rarest over the others; foreign columns are pink.
    """
    height, width = fit(pixels.shape[0], pixels.shape[1], 2 * rows, columns)
    grey = _grey(pixels, height, width)
    colours = np.repeat(grey[:, :, None], 3, axis=2)
    if defect_map is not None:
        _paint(colours, defect_map, pixels.shape)
    return Picture((colours * 255).astype(np.uint8))


def fit(height: int, width: int, most_rows: int, most_columns: int) -> tuple[int, int]:
    """Return the largest even number of rows, and columns, of the proportions of height and width."""
    scale = min(most_rows / height, most_columns / width)
    rows = max(2, 2 * int(height * scale / 2))
    return rows, max(1, min(most_columns, round(rows * width / height)))


def _grey(pixels: NDArray[Any], rows: int, columns: int) -> NDArray[np.float64]:
    """Mean of the pixels of each element, stretched from black to white and rounded to few steps."""
    sums = pixels
    for axis, count in enumerate((rows, columns)):
        size = pixels.shape[axis]
        starts = np.arange(count) * size // count
        widths = np.maximum(np.diff([*starts, size]), 1)
        shape = (-1, 1) if axis == 0 else (1, -1)
        sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.float64) / widths.reshape(shape)
    low, high = np.percentile(sums, [1, 99.5])
    grey = ((sums - low) / max(high - low, 1e-12)).clip(0, 1)
    return np.asarray(_BRIGHTEST * np.round(grey * _STEPS) / _STEPS)


def _paint(colours: NDArray[np.float64], defect_map: DefectMap, shape: tuple[int, ...]) -> None:
    table = defect_map.columns
    rows = ((table["row_px"] + 0.5) * colours.shape[0] / shape[0]).astype(int).clip(0, colours.shape[0] - 1)
    cols = ((table["col_px"] + 0.5) * colours.shape[1] / shape[1]).astype(int).clip(0, colours.shape[1] - 1)
    has_room = colours.shape[0] * colours.shape[1] > 2 * len(table)  # else all would be shaded
    for kind, shade in ((ColumnClass.X2, _X2_SHADE), (ColumnClass.METAL, _METAL_SHADE)):
        chosen = (table["cls"] == kind) & has_room
        colours[rows[chosen], cols[chosen]] = colours[rows[chosen], cols[chosen], :1] * np.array(shade)
    foreign = defect_map.is_flagged(ColumnFlag.FOREIGN)
    colours[rows[foreign], cols[foreign]] = np.array(_FOREIGN_COLOUR) / 255
    for kind in (ColumnClass.VAC1, ColumnClass.DOPANT, ColumnClass.VAC2):
        chosen = (table["cls"] == kind) & ~foreign
        colours[rows[chosen], cols[chosen]] = np.array(DEFECT_COLOURS[kind]) / 255


@lru_cache(maxsize=8192)
def _style(top: tuple[int, ...], bottom: tuple[int, ...]) -> Style:
    return Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom))
