"""Whether other software has taken out what lies between the lattice's spots in a frame's spectrum.

A vacancy or a dopant is one column unlike its neighbours, so what tells it lies between the spots.  Masks
around spots (Bragg filters), average background subtraction and Wiener filters take that out with the noise:
every column becomes the mean of its sublattice, and no defect is left to be seen.
"""

import math

import torch
from torch import Tensor

from models.frames import frequencies, middle_of, windowed
from models.scale import lattice_constant_px

#: Middle of a frame that is looked at [px].
_MIDDLE = 384

#: Frequencies that are looked at, in parts of the lattice's first spots', and how far they lie from any spot.
_BAND, _FROM_SPOTS = (0.35, 2.1), 0.2

#: Every so many frequencies are looked at, and they tell anything if so many lie between spots.
_SKIPPED, _FEWEST = 11, 100

#: Rings for one frequency of the first spots, in each of which the mean logarithm is taken.
_RINGS = 20

#: How far below the median the weakest twentieth of the power lies, less what is usual at its radius [nats],
#: for which frequencies are missing.  Whatever is noise or diffuse comes to 2.6: 2.4 to 2.8 in recorded and
#: in simulated frames, of one grain or two, at any dose, blurred, resized, median-filtered or of 16 values;
#: 3.2 to 17 where filters have emptied what is between the spots.
_EMPTY = 3.1


def is_masked(frame: Tensor, vectors: Tensor) -> bool:
    """Whether frequencies between the lattice's spots are missing.

    Parameters
    ----------
    frame : Tensor of shape (M, N)
        Standardised.
    vectors : Tensor of shape (2, 2)
        Mean lattice, rows a1 and a2 [px], 60 degrees apart.

    Returns
    -------
    bool
        False also if the frame is too small to tell.
    """
    middle = windowed(middle_of(frame, _MIDDLE))
    lattice = vectors.to(middle)
    first = 2 / math.sqrt(3) / lattice_constant_px(vectors)  # cycles/px
    rows, columns = frequencies((middle.shape[0], middle.shape[1]), middle.device)
    some = torch.arange(0, rows.numel() * columns.numel(), _SKIPPED, device=middle.device)
    row, column = some // columns.numel(), some % columns.numel()
    place = torch.stack([rows[row, 0], columns[0, column]], dim=1)
    radius = torch.linalg.vector_norm(place, dim=1) / first
    between = (radius > _BAND[0]) & (radius < _BAND[1]) & (_from_spots(place, lattice) > _FROM_SPOTS * first)
    if int(between.sum()) < _FEWEST:
        return False
    power = torch.view_as_real(torch.fft.rfft2(middle).flatten()[some[between]]).square().sum(-1)
    logs, ring = (power + 1e-30).log(), (radius[between] * _RINGS).long()
    usual = torch.bincount(ring, logs) / torch.bincount(ring).clamp(min=1)
    ordered = (logs - usual[ring]).sort().values
    return float(ordered[len(ordered) // 2] - ordered[len(ordered) // 20]) > _EMPTY


def _from_spots(place: Tensor, vectors: Tensor) -> Tensor:
    """Distance (K,) of frequencies (K, 2) [cycles/px] from the nearest spot of a lattice."""
    spots = torch.linalg.inv(vectors).T
    index = place @ vectors.T  # how often it goes into either lattice vector
    aside = index - index.floor()
    steps = torch.cartesian_prod(*[torch.arange(-1.0, 1.0, device=place.device)] * 2)
    apart: Tensor = torch.linalg.vector_norm((aside + steps[:, None]) @ spots, dim=2).amin(0)
    return apart
