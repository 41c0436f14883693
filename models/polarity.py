"""Whether columns are brighter than what lies between them, as in every annular dark-field image.

Inverted, a honeycomb is one again: its hexagons shine where the darker sublattice was, and a map of it looks
like any other.  What differs is the detail.  Columns and hexagon centres together form a triangular lattice.
Bright columns are spots on its sites, inverted ones are holes there; all that is coarser cancels in the
difference of the means over these sites and over the middles between them.
"""

import math

import torch
from torch import Tensor

from drivers.contract.errors import InputError
from models.lattice import Lattice, hexagon_beside
from models.patches import kernel_taps

#: Sites that are looked at, and standard errors by which holes are told from spots.
_SITES, _ERRORS = 1000, 5.0


def check_polarity(coefficients: Tensor, lattice: Lattice, whole: Tensor) -> None:
    """Raise `InputError` if columns are holes.

    Parameters
    ----------
    coefficients : Tensor of shape (M, N)
        The frame after `models.levels.column_filter`.
    lattice : Lattice
        Of the frame.
    whole : Tensor of shape (S,)
        Sites away from the edges.
    """
    sites = (whole & ~lattice.boundary & ~lattice.rim).nonzero()[:, 0]
    looked_at = lattice.kept(sites[:: math.ceil(len(sites) / _SITES) or 1])
    to_hexagon = hexagon_beside(looked_at) - looked_at.positions
    vectors = looked_at.vectors.to(to_hexagon)
    to_other = (2 * looked_at.sublattice[:, None] - 1) * (vectors.sum(1) / 3)[looked_at.grain]
    # Maxima are spots of noise, too: columns are looked for where the lattice has them.
    steps = torch.stack([torch.zeros_like(to_other), to_hexagon, to_other])
    corners = looked_at.positions + steps
    middles = (corners + corners.roll(1, 0)) / 2
    points = torch.cat([corners, middles])  # (6, n, 2)
    values = kernel_taps((coefficients.shape[0], coefficients.shape[1]), points.flatten(0, 1)).sum(
        coefficients
    )
    spots = values.reshape(2, 3, -1).mean(1)
    above = (spots[0] - spots[1]).double()
    if len(above) > 1 and float(above.mean()) < -_ERRORS * float(above.std()) / math.sqrt(len(above)):
        raise InputError(
            "expected columns brighter than what is between them, found holes on the sites of the lattice: "
            "the image is inverted, or a bright-field one, or far from focus; give its negative, or an "
            "annular dark-field image in focus"
        )
