"""Pictures of a map that a paper could print: the overlay beside the entropy, and the mean patches."""

import io
import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import ColumnClass
from drivers.contract.maps import CLASS_NAMES, ColumnFlag, DefectMap
from drivers.contract.materials import find_host

#: Marks of defects: colour (Okabe and Ito's palette, told apart by the colour-blind too), shape.
MARKS = {
    ColumnClass.VAC1: ("#56B4E9", "o", "single vacancy"),
    ColumnClass.VAC2: ("#E69F00", "s", "double vacancy"),
    ColumnClass.DOPANT: ("#D55E00", "D", "dopant"),
}
_BOUNDARY, _FOREIGN = "#F0E442", "#CC79A7"

#: Dots an inch, and the longest edge of one panel [inch].
_DPI, _PANEL_INCH = 200, 5.6

#: The least width of a panel that title, legend and scale bar fit into, and what its frame is tall at most.
_LEAST_INCH, _TALLEST_INCH = 3.2, 9.0


def overlay_png(defect_map: DefectMap, image: NDArray[np.generic], title: str = "") -> bytes:
    """Frame with its defects marked and a scale bar, and a map of the entropy beside it.

    The context stands above, after the title.
    """
    from matplotlib.figure import Figure

    rows, columns = image.shape
    width, height = _panel(rows, columns)
    figure = Figure(
        figsize=(2 * max(width, _LEAST_INCH) + 1.3, height + 0.95), dpi=_DPI, layout="constrained"
    )
    left, right = figure.subplots(1, 2)
    low, high = np.nanpercentile(image.astype(np.float64), [0.3, 99.7])
    left.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    right.set_facecolor("black")
    right.set_aspect("equal")
    for axes in (left, right):
        axes.set_xlim(-0.5, columns - 0.5)
        axes.set_ylim(rows - 0.5, -0.5)
        axes.set_xticks([])
        axes.set_yticks([])
    _mark_defects(left, defect_map, width / columns)
    _scale_bar(left, defect_map.header.scale.pixel_size_angstrom, image.shape)
    _entropy(figure, right, defect_map, width / columns)
    context = defect_map.header.settled.context.in_words()
    figure.suptitle(f"{title}: {context}" if title else context, fontsize=9, parse_math=False)
    return figure_png(figure)


def _panel(rows: int, columns: int) -> tuple[float, float]:
    """Width and height of a frame's picture [inch]; a strip is made larger, to be seen."""
    edge = _PANEL_INCH / max(rows, columns)
    edge = max(edge, min(_LEAST_INCH / columns, _TALLEST_INCH / rows))
    return edge * columns, edge * rows


def _mark_defects(axes: Any, defect_map: DefectMap, inch_per_px: float) -> None:
    """Mark each defect by a ring around its column, with a legend that counts them."""
    columns = defect_map.columns
    spacing_pt = defect_map.header.scale.lattice_px / math.sqrt(3) * inch_per_px * 72
    size = min(max((1.0 * spacing_pt) ** 2, 12.0), 600.0)
    boundary, foreign = defect_map.is_flagged(ColumnFlag.BOUNDARY), defect_map.is_flagged(ColumnFlag.FOREIGN)
    undecided = defect_map.is_flagged(ColumnFlag.UNDECIDED)
    for kind, (colour, shape, name) in MARKS.items():
        is_kind = columns["cls"] == kind
        chosen, left_out = columns[is_kind & ~foreign], int((is_kind & foreign).sum())
        if kind is ColumnClass.DOPANT:
            dopant = defect_map.header.settled.context.specimen.dopant
            if dopant is None:
                continue
            name = f"{dopant} dopant"
        style: dict[str, Any] = {"facecolors": "none", "edgecolors": colour, "linewidths": 0.9}
        count = f"{len(chosen)} + {left_out} foreign" if left_out else f"{len(chosen)}"
        axes.scatter(
            chosen["col_px"], chosen["row_px"], s=size, marker=shape, label=f"{name} ({count})", **style
        )
    for mask, colour, name in ((boundary, _BOUNDARY, "grain boundary"), (foreign, _FOREIGN, "foreign")):
        if mask.any():
            some = columns[mask]
            axes.scatter(
                some["col_px"],
                some["row_px"],
                s=size / 6,
                marker="x",
                c=colour,
                linewidths=0.7,
                label=f"{name} ({len(some)})",
            )
    if undecided.any():
        axes.text(
            0.5,
            0.97,
            "sublattice not decided: classes weigh both",
            color="white",
            fontsize=8,
            ha="center",
            va="top",
            transform=axes.transAxes,
            bbox={"facecolor": "black", "alpha": 0.7},
        )
    is_wide = inch_per_px * (axes.get_xlim()[1] - axes.get_xlim()[0]) > _LEAST_INCH
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncols=3 if is_wide else 1,
        fontsize=7,
        frameon=False,
        markerscale=0.8,
    )


def _scale_bar(axes: Any, pixel_size_angstrom: float, shape: tuple[int, ...]) -> None:
    """Bar of a round length, about a fifth of the frame's width."""
    from matplotlib.patches import Rectangle

    wish_nm = shape[1] * pixel_size_angstrom / 10 / 5
    power = 10 ** math.floor(math.log10(wish_nm))
    length_nm = max(step for step in (1, 2, 5) if step * power <= wish_nm * 1.0001) * power
    length = length_nm * 10 / pixel_size_angstrom
    margin, thick = 0.035 * shape[1], max(1.5, 0.011 * shape[0])
    top = shape[0] - margin - thick
    corner, width, height = (margin * 0.5, top - 0.062 * shape[0]), length + margin, margin + 0.075 * shape[0]
    axes.add_patch(Rectangle(corner, width, height, facecolor="black", alpha=0.65, linewidth=0))
    axes.add_patch(Rectangle((margin, top), length, thick, facecolor="white", linewidth=0))
    axes.text(
        margin + length / 2,
        top - 0.008 * shape[0],
        f"{length_nm:g} nm",
        color="white",
        fontsize=9,
        ha="center",
        va="bottom",
    )


def _entropy(figure: Any, axes: Any, defect_map: DefectMap, inch_per_px: float) -> None:
    """Every column in the colour of its entropy; where there is none, no lattice is claimed."""
    columns = defect_map.columns
    spacing_pt = defect_map.header.scale.lattice_px / math.sqrt(3) * inch_per_px * 72
    order = np.argsort(columns["entropy_nats"], kind="stable")
    shown = axes.scatter(
        columns["col_px"][order],
        columns["row_px"][order],
        c=columns["entropy_nats"][order],
        s=(0.72 * spacing_pt) ** 2,
        marker="o",
        linewidths=0,
        cmap="viridis",
        vmin=0,
        vmax=math.log(2),
    )
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02, extend="max")
    bar.set_label("entropy of the class [nats]", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def patches_png(patches: dict[str, NDArray[np.float32]], counts: dict[str, int], host: str) -> bytes:
    """Mean normalised surroundings of the columns of each class, side by side on one grey scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 * len(CLASS_NAMES), 2.0), dpi=_DPI, layout="constrained")
    known = list(patches.values())
    low = min((float(patch.min()) for patch in known), default=0.0)
    high = max((float(patch.max()) for patch in known), default=1.0)
    edge = math.sqrt(3) * find_host(host).lattice_constant_angstrom / 2
    for axes, name in zip(figure.subplots(1, len(CLASS_NAMES)), CLASS_NAMES, strict=True):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"{name} ({counts.get(name, 0)})", fontsize=8)
        if name in patches:
            extent = (-edge, edge, edge, -edge)
            axes.imshow(patches[name], cmap="gray", vmin=low, vmax=high, extent=extent)
        else:
            axes.text(0.5, 0.5, "none", ha="center", va="center", fontsize=8, transform=axes.transAxes)
    return figure_png(figure)


def figure_png(figure: Any) -> bytes:
    """A figure as a PNG file that does not name who made it when."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A file's name may be in letters that the font lacks: boxes in the title harm nobody.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        figure.savefig(content, format="png", metadata={"Software": "columnist"})
    return content.getvalue()
