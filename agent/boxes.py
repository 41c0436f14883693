"""Boxes of the specimen that can be scanned, and where they hold most."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

#: (lowest row, lowest column, highest row, highest column) in the stage's frame [Å].
Box = tuple[float, float, float, float]

#: Columns this near to the edge of a scan [Å] are seen in part: nothing is promised of them.
RIM_ANGSTROM = 3.0

#: Less gain than this [nats] is not worth a box.
_LEAST_NATS = 1e-5


def is_inside(position: NDArray[np.floating], box: Box) -> NDArray[np.bool_]:
    """Whether positions (C, 2) lie in a box."""
    return np.asarray(((position >= box[:2]) & (position < box[2:])).all(axis=1))


def inner(box: Box) -> Box:
    """The part of a scan in which columns are seen with their neighbours."""
    low_row, low_column, high_row, high_column = box
    rim = RIM_ANGSTROM
    return (low_row + rim, low_column + rim, high_row - rim, high_column - rim)


def propose_boxes(
    position: NDArray[np.floating],
    gain: NDArray[np.floating],
    field_box: Box,
    edge_angstrom: float,
    most: int,
) -> list[Box]:
    """Square boxes of one size that hold the most expected gain, best first, none over another's middle.

    Parameters
    ----------
    position : ndarray of shape (C, 2)
    gain : ndarray of shape (C,)
        Expected of each column if it is scanned.
    field_box : Box
        What can be scanned.
    edge_angstrom : float
        Edge of a box; at most that of the field.
    most : int
        Boxes wanted.

    Returns
    -------
    list of Box
        Fewer if fewer hold any gain.
    """
    low, high = np.array(field_box[:2]), np.array(field_box[2:])
    edge = min(edge_angstrom, float((high - low).min()))
    tile = edge / 8
    count = np.maximum(np.ceil((high - low) / tile).astype(int), 8)
    inside = is_inside(position, field_box)
    bins = [np.linspace(low[k], high[k], count[k] + 1) for k in range(2)]
    heat = np.histogram2d(position[inside, 0], position[inside, 1], bins=bins, weights=gain[inside])[0]
    summed = uniform_filter(heat, 8, mode="constant", origin=-4) * 64  # of the box that begins at a tile
    summed = summed[: count[0] - 7, : count[1] - 7]
    boxes: list[Box] = []
    while len(boxes) < most and summed.size and summed.max() > _LEAST_NATS:
        place = np.unravel_index(int(summed.argmax()), summed.shape)
        corner = np.minimum(low + np.array(place) * (high - low) / count, high - edge)
        boxes.append((float(corner[0]), float(corner[1]), float(corner[0] + edge), float(corner[1] + edge)))
        near = [slice(max(0, int(p) - 7), int(p) + 8) for p in place]
        summed[near[0], near[1]] = 0.0
    return boxes
