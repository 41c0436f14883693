"""Square windows where most is in doubt: what plainer policies than the agent's scan again."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from agent.boxes import Box, is_inside

#: Less gain than this [nats] is not worth a box.
_LEAST_NATS = 1e-5


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
