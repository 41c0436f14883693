"""From an array to columns and their moments: the geometry of a frame, before any context enters."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from models.columns import filter_columns, find_maxima
from models.edges import edge_moments
from models.frames import standardise
from models.lattice import Lattice, fit_lattice
from models.levels import level
from models.normalise import normalise
from models.patches import disc_map, is_whole
from models.scale import lattice_constant_px, lattice_vectors
from models.threads import threads_for
from models.zernike import zernike_moments


@dataclass(frozen=True)
class Reading:
    """The columns of a frame, as far as the frame alone tells; S sites.

    Parameters
    ----------
    lattice : Lattice
        Every site of every grain.
    image : Tensor of shape (M, N)
        Frame less local mean, over local deviation (`models.normalise`).
    disc : Tensor of shape (2, 2)
        Map from the unit disc around a column to pixels.
    whole : Tensor of shape (S,)
        Whether the disc lies inside the frame.
    covered : Tensor of shape (S,)
        Whether enough of it does for `models.edges` to fill in the rest; the moments of other columns mean
        nothing.
    moments : Tensor of shape (S, 6)
        Zernike moments, m = 0, n = 0, 2, ..., 10, of the levelled frame (`models.levels`).
    """

    lattice: Lattice
    image: Tensor
    disc: Tensor
    whole: Tensor
    covered: Tensor
    moments: Tensor


def read_columns(
    array: ArrayLike,
    device: torch.device | str = "cpu",
    *,
    with_edges: bool = True,
    lattice: Lattice | None = None,
) -> Reading:
    """Find all columns of a frame and describe each.

    Parameters
    ----------
    array : array_like of shape (M, N)
        Intensities of one frame, any gain and offset.
    device : torch.device or str
        Where to work.  The graph of `models.indexing` (one node for every 1.5 lattice constants square) is
        always unwrapped on the CPU.
    with_edges : bool
        Whether columns whose disc leaves the frame are described too; if not, `covered` is `whole`.
    lattice : Lattice, optional
        As another detector has shown it in the same pass of the beam; if not given, it is found.

    Raises
    ------
    InputError
        If the array is not a frame, or shows no hexagonal lattice.
    """
    with threads_for(np.size(array)):
        return _read(standardise(array, device), lattice, with_edges=with_edges)


def _read(frame: Tensor, lattice: Lattice | None, *, with_edges: bool) -> Reading:
    """`read_columns` of a standardised frame."""
    spectrum = torch.fft.rfft2(frame)
    if lattice is None:
        vectors = lattice_vectors(frame)
        estimate = lattice_constant_px(vectors)
        filtered = filter_columns(frame, estimate, spectrum)
        lattice = fit_lattice(frame, filtered, find_maxima(filtered, estimate), vectors)
    disc = disc_map(lattice.vectors[0])
    whole = is_whole(lattice.positions, disc, (frame.shape[0], frame.shape[1]))
    levelled = level(frame, lattice, whole, spectrum)
    of_levelled = torch.fft.rfft2(levelled)
    moments = zernike_moments(levelled, lattice.positions, disc, of_levelled)
    covered = whole.clone()
    if with_edges and not bool(whole.all()):
        moments[~whole], covered[~whole] = edge_moments(
            levelled, lattice.positions[~whole], disc, of_levelled
        )
    image = normalise(frame, lattice.lattice_px, spectrum)
    return Reading(lattice, image, disc, whole, covered, moments)
