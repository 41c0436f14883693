"""Pictures of a map that a paper could print: the overlay beside the entropy, and the mean patches."""

import math
import textwrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.results.sheet import DPI, Sheet, round_length
from agent.results.words import class_words
from drivers.contract.context import ColumnClass
from drivers.contract.maps import ColumnFlag, DefectMap, MapHeader
from drivers.contract.materials import find_host

#: Rings around defects: colour (Okabe and Ito's palette, told apart by the colour-blind too), and a shape
#: that tells them apart in grey.
_RINGS = {
    ColumnClass.VAC1: ("#56B4E9", "o"),
    ColumnClass.VAC2: ("#E69F00", "s"),
    ColumnClass.DOPANT: ("#D55E00", "D"),
}

#: Crosses on columns that carry a flag: colour, shape, and what the legend says.
_CROSSES = {
    ColumnFlag.BOUNDARY: ("#F0E442", "+", "grain boundary"),
    ColumnFlag.FOREIGN: ("#FF9ACD", "x", "foreign"),
}

#: A ring is wider than columns are apart by this [pt], so that its line hides no column, and this large at
#: most [pt²]; a cross takes this part of its area.
_RING_PT, _MOST_PT2, _CROSS_PART = 1.5, 600.0, 0.5

#: Colours of the entropy, from sure to in doubt: they darken all the way, so that grey print keeps their
#: order, and the lightest stands off the white of where no lattice is claimed.
_DOUBT = ("#C4C4C4", "#E39A58", "#C2476B", "#6B2A7A", "#170B3B")

#: The longest edge of a panel, about; the least width that a legend fits into; and what a strip is tall at
#: most [inch].
_PANEL_INCH, _LEAST_INCH, _TALLEST_INCH = 5.6, 3.2, 9.0

#: Around the panels [inch]: margin, between them, heading, scale bar, legend or colours.
_MARGIN, _GAP, _HEADING, _BAR, _LEGEND = 0.1, 0.2, 0.26, 0.26, 0.5

#: Edge of a mean patch, and what stands above it [inch].
_PATCH, _PATCH_TITLE = 1.4, 0.42


class _Panels:
    """Two panels of one shape side by side, each with its letter, a heading and a scale bar.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns [px].
    pixel_size_angstrom : float
        Edge of a pixel of the frame [Å].
    title : str
        Stands above both, on as many lines as it needs.
    headings : tuple of str
        Stand above each.
    """

    def __init__(
        self, shape: tuple[int, ...], pixel_size_angstrom: float, title: str, headings: tuple[str, str]
    ) -> None:
        rows, columns = shape
        self.inch_per_px = _inch_per_px(rows, columns)
        width, height = columns * self.inch_per_px, rows * self.inch_per_px
        self.slot = max(width, _LEAST_INCH)
        lines = textwrap.wrap(title, int(2 * self.slot / 0.07))
        bottom = _MARGIN + _LEGEND + _BAR
        top = bottom + height
        self.sheet = Sheet(2 * self.slot + 2 * _MARGIN + _GAP, top + _HEADING + 0.15 * len(lines) + _MARGIN)
        middle = (self.sheet.width / 2, self.sheet.height - 0.06)
        self.sheet.write(*middle, "\n".join(lines), 9, ha="center", va="top")
        nm = round_length(self.slot / self.inch_per_px * pixel_size_angstrom / 10 / 5)
        self.lefts = (_MARGIN, _MARGIN + self.slot + _GAP)
        self.axes = []
        for letter, heading, left in zip("ab", headings, self.lefts, strict=True):
            self.sheet.write(left, top + 0.08, f"({letter})", 9, weight="bold")
            self.sheet.write(left + 0.27, top + 0.08, heading, 8)
            left += (self.slot - width) / 2
            axes = self.sheet.axes(left, bottom, width, height)
            axes.set_xlim(-0.5, columns - 0.5)
            axes.set_ylim(rows - 0.5, -0.5)
            self.axes.append(axes)
            length = nm * 10 / pixel_size_angstrom * self.inch_per_px
            self.sheet.bar(left, bottom - 0.16, length, f"{nm:g} nm")


def overlay_png(defect_map: DefectMap, image: NDArray[np.generic], title: str = "") -> bytes:
    """Frame with its defects marked (a), and a map of the entropy (b), each above a scale bar.

    Bars and legends stand below the panels, where they hide nothing that is counted.  The context stands
    above, after the title.
    """
    context = defect_map.header.settled.context.in_words()
    is_undecided = defect_map.is_flagged(ColumnFlag.UNDECIDED).any()
    panels = _Panels(
        image.shape,
        defect_map.header.scale.pixel_size_angstrom,
        f"{title}: {context}" if title else context,
        (
            "sublattice not decided: classes weigh both" if is_undecided else "defects",
            "entropy; white where no lattice is claimed",
        ),
    )
    low, high = np.nanpercentile(image.astype(np.float64), [0.3, 99.7])
    # A pixel is a whole number of dots; where there are fewer dots than pixels, each is a mean of pixels.
    smooth = "nearest" if panels.inch_per_px * DPI > 0.99 else "auto"
    panels.axes[0].imshow(image, cmap="gray", vmin=low, vmax=high, interpolation=smooth, aspect="auto")
    spacing_pt = defect_map.header.scale.lattice_px / math.sqrt(3) * panels.inch_per_px * 72
    _mark_defects(panels, defect_map, spacing_pt)
    _draw_entropy(panels, defect_map, spacing_pt)
    return panels.sheet.png()


def _inch_per_px(rows: int, columns: int) -> float:
    """Edge of a pixel in print [inch], of whole dots if of any; strips are made larger, to be seen."""
    edge = _PANEL_INCH / max(rows, columns)
    dots = DPI * max(edge, min(_LEAST_INCH / columns, _TALLEST_INCH / rows))
    return (dots if dots < 0.75 else max(1, round(dots))) / DPI


def _mark_defects(panels: _Panels, defect_map: DefectMap, spacing_pt: float) -> None:
    """Ring each defect and cross each flagged column, whole at the edges too; the legend counts them."""
    from matplotlib.patheffects import withStroke

    axes, columns = panels.axes[0], defect_map.columns
    size = min((spacing_pt + _RING_PT) ** 2, _MOST_PT2)
    style: dict[str, Any] = {
        "linewidths": 0.9,
        "clip_on": False,
        "zorder": 3,
        "path_effects": [withStroke(linewidth=1.7, foreground="black", alpha=0.7)],
    }
    foreign = defect_map.is_flagged(ColumnFlag.FOREIGN)
    words = class_words(defect_map.header.settled.context.specimen.dopant)
    for kind, (colour, shape) in _RINGS.items():
        name = words.get(kind.name.lower())
        if name is None:
            continue
        is_kind = columns["cls"] == kind
        chosen, left_out = columns[is_kind & ~foreign], int((is_kind & foreign).sum())
        count = f"{len(chosen)} + {left_out} foreign" if left_out else f"{len(chosen)}"
        rings = {"facecolors": "none", "edgecolors": colour, "label": f"{name} ({count})"}
        axes.scatter(chosen["col_px"], chosen["row_px"], s=size, marker=shape, **rings, **style)
    for flag, (colour, shape, name) in _CROSSES.items():
        some = columns[defect_map.is_flagged(flag)]
        if len(some):
            crosses = {"c": colour, "label": f"{name} ({len(some)})"}
            axes.scatter(
                some["col_px"], some["row_px"], s=_CROSS_PART * size, marker=shape, **crosses, **style
            )
    axes.legend(
        loc="upper left",
        bbox_to_anchor=panels.sheet.at(panels.lefts[0], _MARGIN + _LEGEND),
        bbox_transform=panels.sheet.figure.transFigure,
        borderaxespad=0,
        borderpad=0,
        handletextpad=0.3,
        columnspacing=1.5,
        ncols=3 if panels.slot > 4.4 else 2,
        fontsize=7,
        frameon=False,
        markerscale=min(1.0, 8 / math.sqrt(size)),
    )


def _draw_entropy(panels: _Panels, defect_map: DefectMap, spacing_pt: float) -> None:
    """Draw every column in the colour of its entropy, the least sure above the others."""
    from matplotlib.colors import LinearSegmentedColormap

    columns = defect_map.columns[np.argsort(defect_map.columns["entropy_nats"], kind="stable")]
    shown = panels.axes[1].scatter(
        columns["col_px"],
        columns["row_px"],
        c=columns["entropy_nats"],
        s=(0.75 * spacing_pt) ** 2,
        marker="o",
        linewidths=0,
        cmap=LinearSegmentedColormap.from_list("doubt", _DOUBT),
        vmin=0,
        vmax=math.log(2),
    )
    width = min(panels.slot, 4.0)
    colours = panels.sheet.axes(panels.lefts[1] + panels.slot - width, _MARGIN + 0.36, width, 0.11)
    bar = panels.sheet.figure.colorbar(shown, cax=colours, orientation="horizontal", extend="max")
    bar.set_label("entropy of the class [nats]; 0.69: even odds of two", fontsize=7, labelpad=2)
    bar.ax.tick_params(labelsize=7, pad=2, length=2)


def patches_png(patches: dict[str, NDArray[np.float32]], counts: dict[str, int], header: MapHeader) -> bytes:
    """Mean normalised surroundings of the columns of each class, side by side on one grey scale.

    Parameters
    ----------
    patches, counts : dict
        From `models.mean_patches.mean_patches`.
    header : MapHeader
        Of the map: what its classes are called, and how many columns of each it has.
    """
    specimen = header.settled.context.specimen
    words = class_words(specimen.dopant)
    side = math.sqrt(3) * find_host(specimen.host).lattice_constant_angstrom
    sheet = Sheet(
        len(words) * (_PATCH + _MARGIN) + _MARGIN + 0.7, _PATCH + _BAR + _PATCH_TITLE + 0.5 * _MARGIN
    )
    low = min((float(patch.min()) for patch in patches.values()), default=0.0)
    high = max((float(patch.max()) for patch in patches.values()), default=1.0)
    bottom = _BAR + 0.5 * _MARGIN
    shown = None
    for number, (name, word) in enumerate(words.items()):
        left = _MARGIN + number * (_PATCH + _MARGIN)
        axes = sheet.axes(left, bottom, _PATCH, _PATCH)
        total = getattr(header.counts, name)
        told = f"mean of {counts[name]} of {total}" if name in patches else f"none of {total} averaged"
        sheet.write(left, bottom + _PATCH + 0.05, f"{word}:\n{told}" if total else f"{word}:\nnone", 8)
        if name in patches:
            sheet.bar(left, bottom - 0.14, 2 / side * _PATCH, "2 Å")
            shown = axes.imshow(patches[name], cmap="gray", vmin=low, vmax=high, aspect="auto")
    if shown is not None:
        left = _MARGIN + len(words) * (_PATCH + _MARGIN)
        bar = sheet.figure.colorbar(shown, cax=sheet.axes(left, bottom, 0.1, _PATCH))
        bar.set_label("intensity less local mean\n[local deviations]", fontsize=7)
        bar.ax.tick_params(labelsize=7, pad=2, length=2)
    return sheet.png()
