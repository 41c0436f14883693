"""Boxes of the specimen that can be scanned, and where they hold most."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.contract.header import Window

#: (lowest row, lowest column, highest row, highest column) in the stage's frame [Å].
Box = tuple[float, float, float, float]

#: Columns this near to the edge of a scan [Å] are seen in part: nothing is promised of them.
RIM_ANGSTROM = 3.0

#: Less gain than this [nats] is not worth a box.
_LEAST_NATS = 1e-5

#: Boxes are looked for on tiles of about this edge [Å], in these numbers of tiles along either edge.
_TILE_ANGSTROM, _SIZES = 2.0, (1, 2, 3, 5, 8, 13, 21, 34)


@dataclass(frozen=True)
class Field:
    """What the instrument scans as a whole.

    Parameters
    ----------
    box : Box
    shape : tuple of int
        Rows and columns of its grid.
    """

    box: Box
    shape: tuple[int, int]

    def window_of(self, box: Box) -> Window:
        """A box in pixels of the grid."""
        edges = []
        for axis in range(2):
            size = self.box[axis + 2] - self.box[axis]
            low = (box[axis] - self.box[axis]) / size * self.shape[axis]
            high = (box[axis + 2] - self.box[axis]) / size * self.shape[axis]
            edges.append((max(0, math.floor(low)), min(self.shape[axis], math.ceil(high))))
        (row, last_row), (col, last_col) = edges
        return Window(row_px=row, col_px=col, rows_px=last_row - row, cols_px=last_col - col)

    def box_of(self, window: Window) -> Box:
        """What a window covers."""
        pixel = [(self.box[axis + 2] - self.box[axis]) / self.shape[axis] for axis in range(2)]
        low = (self.box[0] + window.row_px * pixel[0], self.box[1] + window.col_px * pixel[1])
        return (*low, low[0] + window.rows_px * pixel[0], low[1] + window.cols_px * pixel[1])


def is_inside(position: NDArray[np.floating], box: Box) -> NDArray[np.bool_]:
    """Whether positions (C, 2) lie in a box."""
    return np.asarray(((position >= box[:2]) & (position < box[2:])).all(axis=1))


def inner(box: Box) -> Box:
    """The part of a scan in which columns are seen with their neighbours."""
    low_row, low_column, high_row, high_column = box
    rim = RIM_ANGSTROM
    return (low_row + rim, low_column + rim, high_row - rim, high_column - rim)


def densest_boxes(
    position: NDArray[np.floating],
    gain: NDArray[np.floating],
    field_box: Box,
    most: int,
    *,
    margin_angstrom: float,
    least_edge_angstrom: float,
    free_area: float = 0.0,
) -> list[Box]:
    """Boxes of any shape that bring most gain for their area, best first, none over another.

    Parameters
    ----------
    position : ndarray of shape (C, 2)
    gain : ndarray of shape (C,)
        Expected of each column if it is scanned.
    field_box : Box
        What can be scanned.
    most : int
        Boxes wanted.
    margin_angstrom : float
        What has to be scanned around the columns that are meant.
    least_edge_angstrom : float
        No box is narrower.
    free_area : float
        Area [Å²] that any scan costs beside its own.

    Returns
    -------
    list of Box
        With their margins, inside the field; fewer if fewer hold any gain.
    """
    low = np.array(field_box[:2]) + margin_angstrom
    high = np.array(field_box[2:]) - margin_angstrom
    if (high - low < least_edge_angstrom).any():
        return []
    count = np.maximum(((high - low) / _TILE_ANGSTROM).astype(int), 2)
    bins = [np.linspace(low[k], high[k], count[k] + 1) for k in range(2)]
    tile = (high - low) / count
    inside = is_inside(position, (low[0], low[1], high[0], high[1])) & (gain > _LEAST_NATS)
    heat = np.histogram2d(position[inside, 0], position[inside, 1], bins=bins, weights=gain[inside])[0]
    boxes: list[Box] = []
    while len(boxes) < most and heat.max(initial=0.0) > _LEAST_NATS:
        row, col, rows, cols = _densest(heat, tile, 2 * margin_angstrom, free_area)
        heat[row : row + rows, col : col + cols] = 0.0
        chosen = (low[0] + row * tile[0], low[1] + col * tile[1])
        meant = (*chosen, chosen[0] + rows * tile[0], chosen[1] + cols * tile[1])
        held = position[inside & is_inside(position, meant)]
        boxes.append(_around(held, field_box, margin_angstrom, least_edge_angstrom))
    return boxes


def _densest(
    heat: NDArray[np.float64], tile: NDArray[np.float64], border: float, free_area: float
) -> tuple[int, int, int, int]:
    """Row, column and size (in tiles) of the box of most heat for its area, its border included."""
    summed = np.pad(heat.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    best, found = -1.0, (0, 0, 1, 1)
    for rows in (size for size in _SIZES if size <= heat.shape[0]):
        strip = summed[rows:] - summed[:-rows]
        for cols in (size for size in _SIZES if size <= heat.shape[1]):
            held = strip[:, cols:] - strip[:, :-cols]
            place = int(held.argmax())
            area = (rows * tile[0] + border) * (cols * tile[1] + border) + free_area
            if held.flat[place] / area > best:
                best = float(held.flat[place] / area)
                row, col = np.unravel_index(place, held.shape)
                found = (int(row), int(col), rows, cols)
    return found


def _around(held: NDArray[np.floating], field_box: Box, margin: float, least_edge: float) -> Box:
    """A box with a margin around positions (n, 2), of a least edge, inside the field."""
    edges = []
    for axis in range(2):
        low, high = float(held[:, axis].min()) - margin, float(held[:, axis].max()) + margin
        short = max(least_edge - (high - low), 0.0) / 2
        low, high = low - short, high + short
        over = max(field_box[axis] - low, 0.0) - max(high - field_box[axis + 2], 0.0)
        edges.append((max(low + over, field_box[axis]), min(high + over, field_box[axis + 2])))
    return (edges[0][0], edges[1][0], edges[0][1], edges[1][1])
