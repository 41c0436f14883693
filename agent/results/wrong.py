"""A picture of the sites where a map and given labels disagree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.results.sheet import figure_png

#: Patches below the frame, and half the edge of one in lattice constants.
_PATCHES, _HALF = 10, 1.7

#: Colours of the rings: called a defect, labelled whole; called whole, labelled a defect; anything else.
_EXTRA, _OVERLOOKED, _OTHER = "#D55E00", "#56B4E9", "#F0E442"

_WHOLE = ("x2", "metal")


def wrong_sites_png(
    image: NDArray[np.generic], wrong: Sequence[dict[str, Any]], lattice_px: float, title: str
) -> bytes:
    """Frame with every wrong site ringed, and ten of them enlarged, from the surest to the least sure.

    Parameters
    ----------
    image : ndarray of shape (M, N)
    wrong : sequence of dict
        From `models.scoring.Score.wrong`.
    lattice_px : float
        Lattice constant [px].
    title : str
    """
    from matplotlib.figure import Figure

    pixels = image.astype(np.float64)
    low, high = np.nanpercentile(pixels, [0.3, 99.7])
    grey = {"cmap": "gray", "vmin": low, "vmax": high, "interpolation": "nearest"}
    figure = Figure(figsize=(8.0, 11.2), dpi=110, layout="constrained")
    grid = figure.add_gridspec(3, _PATCHES // 2, height_ratios=(5.0, 1.2, 1.2))
    frame = figure.add_subplot(grid[0, :])
    frame.imshow(pixels, **grey)
    for colour, told, sites in _kinds(wrong):
        rows, columns = ([site[key] for site in sites] for key in ("row_px", "col_px"))
        label = f"{told} ({len(sites)})"
        frame.scatter(columns, rows, s=36, facecolors="none", edgecolors=colour, linewidths=1.0, label=label)
    if wrong:
        frame.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, fontsize=8, frameon=False)
    frame.set_title(title, fontsize=10, parse_math=False)
    frame.set_axis_off()
    ranked = sorted(wrong, key=lambda site: -max(site["p"]))
    places = np.unique(np.linspace(0, len(ranked) - 1, min(_PATCHES, len(ranked))).astype(int))
    half = _HALF * lattice_px
    for number, site in enumerate(ranked[place] for place in places):
        axes = figure.add_subplot(grid[1 + number // (_PATCHES // 2), number % (_PATCHES // 2)])
        axes.imshow(pixels, **grey)
        axes.set_xlim(site["col_px"] - half, site["col_px"] + half)
        axes.set_ylim(site["row_px"] + half, site["row_px"] - half)
        ring = 0.35 * lattice_px
        axes.add_patch(_circle((site["col_px"], site["row_px"]), ring))
        axes.set_title(f"label {site['labelled']}\nsaid {site['said']} {max(site['p']):.2f}", fontsize=7)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure_png(figure)


def _kinds(wrong: Sequence[dict[str, Any]]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Wrong sites by how they are wrong, with colour and words; kinds without sites are left out."""
    kinds = []
    for colour, told, said_whole, labelled_whole in (
        (_EXTRA, "called a defect, labelled whole", False, True),
        (_OVERLOOKED, "called whole, labelled a defect", True, False),
    ):
        sites = [s for s in wrong if _is_whole(s["said"]) == said_whole]
        kinds.append((colour, told, [s for s in sites if _is_whole(s["labelled"]) == labelled_whole]))
    others = [s for s in wrong if _is_whole(s["said"]) == _is_whole(s["labelled"])]
    kinds.append((_OTHER, "another class", others))
    return [kind for kind in kinds if kind[2]]


def _is_whole(name: str) -> bool:
    return name in _WHOLE


def _circle(at: tuple[float, float], radius: float) -> Any:
    from matplotlib.patches import Circle

    return Circle(at, radius, fill=False, edgecolor=_OVERLOOKED, linewidth=1.2)
