"""A figure laid out in inches, whose pixels are whole dots, as a PNG file."""

import io
import math
import warnings
from typing import Any

#: Dots an inch.
DPI = 200


class Sheet:
    """A blank figure; places are inches from its lower left corner, brought to whole dots.

    Parameters
    ----------
    width, height : float
        Size [inch].
    """

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.width, self.height = whole_dots(width), whole_dots(height)
        self.figure = Figure(figsize=(self.width, self.height), dpi=DPI)

    def axes(self, left: float, bottom: float, width: float, height: float) -> Any:
        """Axes without ticks in a thin frame."""
        corner = self.at(whole_dots(left), whole_dots(bottom))
        axes = self.figure.add_axes((*corner, *self.at(whole_dots(width), whole_dots(height))))
        axes.set_zorder(4)  # what overhangs the frame lies above texts and bars
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_linewidth(0.5)
        return axes

    def at(self, left: float, bottom: float) -> tuple[float, float]:
        """A place as matplotlib counts it, in parts of the figure."""
        return left / self.width, bottom / self.height

    def write(self, left: float, bottom: float, text: str, size: float, **style: Any) -> None:
        """Write a text as it is, whatever dollar signs are in it."""
        self.figure.text(*self.at(left, bottom), text, fontsize=size, parse_math=False, **style)

    def bar(self, left: float, bottom: float, length: float, label: str) -> None:
        """Draw a scale bar, with its label to the right of it."""
        from matplotlib.patches import Rectangle

        width, height = self.at(length, 0.04)
        bar = Rectangle(self.at(left, bottom), width, height, facecolor="black", linewidth=0)
        self.figure.add_artist(bar)
        self.write(left + length + 0.06, bottom + 0.02, label, 8, va="center_baseline")

    def png(self) -> bytes:
        """The figure as a PNG file."""
        return figure_png(self.figure)


def whole_dots(inch: float) -> float:
    """The length [inch] of the nearest number of whole dots, one at least."""
    return max(1, round(inch * DPI)) / DPI


def round_length(wish: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not beyond a wish."""
    power = 10.0 ** math.floor(math.log10(wish))
    return max(step for step in (1, 2, 5) if step * power <= wish * 1.0001) * power


def figure_png(figure: Any) -> bytes:
    """A figure as a PNG file that does not name who made it when."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A file's name may be in letters that the font lacks: boxes in the title harm nobody.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        figure.savefig(content, format="png", metadata={"Software": "columnist"})
    return content.getvalue()
