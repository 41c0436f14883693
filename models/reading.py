"""From an array to columns and their moments: the geometry of a frame, before any context enters."""

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from models.borders import Part, blank_areas, distance_from, recorded_part
from models.columns import Maxima, filter_columns, find_maxima
from models.denoised import find_filter, is_patterned, leaves_heights
from models.edges import EdgePoints
from models.frames import as_array, filter_frame, standardise
from models.grain_contrasts import GrainContrasts, grain_contrasts
from models.honeycomb import fit_lattice
from models.jumps import Jumps, find_jumps
from models.lattice import Lattice, on_no_lattice
from models.levels import above_empty, column_filter, empty_level, level
from models.masked import is_masked
from models.patch_filter import PatchFilter
from models.patches import disc_map, is_whole, kernel_taps
from models.polarity import check_polarity
from models.scale import lattice_constant_px, lattice_vectors
from models.threads import Helper, threads_for
from models.zernike import table_entry, zernike_moments


def _no_maxima() -> Maxima:
    return Maxima(torch.zeros(0, 2), torch.zeros(0))


@dataclass(frozen=True)
class Reading:
    """The columns of a frame, as far as the frame alone tells; S sites, all tensors on the CPU.

    Parameters
    ----------
    lattice : Lattice
        Every site of every grain.
    disc : Tensor of shape (2, 2)
        Map from the unit disc around a column to pixels.
    whole : Tensor of shape (S,)
        Whether the disc lies inside the frame.
    covered : Tensor of shape (S,)
        Whether enough of it does for `models.edges` to fill in the rest; the moments of other columns mean
        nothing.
    moments : Tensor of shape (S, 6)
        Zernike moments, m = 0, n = 0, 2, ..., 10, of the levelled frame (`models.levels`).
    contrast : Tensor of shape (S,)
        Brightness in the levelled frame, slightly blurred.
    part : tuple of slice
        Rows and columns of the frame that were read (`models.borders`).
    blank : float
        Part of these that holds one value throughout: no site lies there, and no column beside is whole.
    patch_filter : PatchFilter, optional
        What other software has denoised the frame with, if it has.  Moments and contrast are those of the
        frame before (`models.denoised`).
    masked : bool
        Whether other software has taken out what lies between the lattice's spots (`models.masked`), or
        has denoised the frame and changed its values then, which cannot be undone (`models.denoised`).
    maxima : Maxima
        What the lattice was fitted to; none if it was known.
    jumps : Jumps
        Of brightness between grains, and of contrast between lines.
    """

    lattice: Lattice
    disc: Tensor
    whole: Tensor
    covered: Tensor
    moments: Tensor
    contrast: Tensor
    part: Part
    blank: float = 0.0
    patch_filter: PatchFilter | None = None
    masked: bool = False
    maxima: Maxima = field(default_factory=_no_maxima)
    jumps: Jumps = field(default_factory=Jumps)

    @cached_property
    def unread(self) -> Tensor:
        """Places of spots as bright as columns that lie on no lattice, (K, 2) [px]."""
        return on_no_lattice(self.lattice, self.maxima)

    @cached_property
    def grains(self) -> list[GrainContrasts]:
        """Contrasts by grain, for who weighs contexts and decides which sublattice is the metal."""
        return grain_contrasts(self.contrast, self.lattice)


def read_columns(
    array: ArrayLike,
    device: torch.device | str = "cpu",
    *,
    with_edges: bool = True,
    with_borders: bool = False,
    lattice: Lattice | None = None,
    helper: Helper | None = None,
) -> Reading:
    """Find all columns of a frame and describe each.

    Parameters
    ----------
    array : array_like of shape (M, N)
        Intensities of one frame, any gain and offset.
    device : torch.device or str
        Where to work.  The graph of `models.unwrapping` (one node for every 1.5 lattice constants square) is
        always unwrapped on the CPU.
    with_edges : bool
        Whether columns whose disc leaves the frame are described too; if not, `covered` is `whole`.
    with_borders : bool
        Whether lines at the edges that hold nothing new are read, too.
    lattice : Lattice, optional
        As another detector has shown it in the same pass of the beam; if not given, it is found.
    helper : Helper, optional
        Of who has threads for this frame already.

    Raises
    ------
    InputError
        If the array is not a frame, or shows no hexagonal lattice of bright columns.
    """
    if helper is None:
        with threads_for(np.size(array), device) as helper:
            return read_columns(
                array,
                device,
                with_edges=with_edges,
                with_borders=with_borders,
                lattice=lattice,
                helper=helper,
            )
    pixels = as_array(array)
    part = recorded_part(pixels)
    if with_borders or pixels[part].shape == pixels.shape:
        return _read(pixels, device, lattice, helper, with_edges=with_edges)
    pixels, origin = pixels[part], (part[0].start, part[1].start)
    known = None if lattice is None else lattice.moved(-origin[0], -origin[1]).inside(pixels.shape)
    found = _read(pixels, device, known, helper, with_edges=with_edges)
    maxima = replace(found.maxima, positions=found.maxima.positions + torch.tensor(origin))
    lattice, jumps = found.lattice.moved(*origin), found.jumps.moved(*origin)
    return replace(found, lattice=lattice, part=part, maxima=maxima, jumps=jumps)


def _read(
    pixels: NDArray[Any],
    device: torch.device | str,
    known: Lattice | None,
    helper: Helper,
    *,
    with_edges: bool,
) -> Reading:
    """`read_columns` of the recorded part of a frame."""
    frame = standardise(pixels, device)
    transformed = helper.start(lambda: torch.fft.rfft2(frame))
    patterned = helper.start(lambda: is_patterned(frame))
    vectors = lattice_vectors(frame) if known is None else known.vectors[0]
    estimate, spectrum = lattice_constant_px(vectors), transformed()
    blur = column_filter((frame.shape[0], frame.shape[1]), estimate, frame.device)
    if known is None:
        filtered = filter_columns(frame, estimate, spectrum)
        maxima = find_maxima(filtered, estimate)
        fit = partial(fit_lattice, frame, filtered, maxima, vectors)
    else:
        maxima, fit = _no_maxima(), partial(known.to, frame.device)
    # While the lattice is fitted, the helper has the time.
    blurred = helper.start(lambda: filter_frame(frame, blur, spectrum))
    masked = helper.start(lambda: is_masked(frame, vectors))
    areas = helper.start(lambda: blank_areas(pixels, estimate))
    lattice, maxima = fit(), maxima.to("cpu")
    blank = areas()
    if blank is not None:
        lattice = lattice.kept(distance_from(blank, lattice.positions) > 0)
    describe = partial(_describe, lattice=lattice, blank=blank, helper=helper, with_edges=with_edges)
    patch_filter = find_filter(frame, lattice.lattice_px) if patterned() else None
    is_changed = False
    if patch_filter is not None:
        undone = patch_filter.undo(frame.cpu())
        is_changed = not leaves_heights(frame, undone.to(frame.device), lattice)
        if not is_changed:
            before = standardise(undone, frame.device)
            found = describe(before, filter_frame(before, blur))
            return replace(found, patch_filter=patch_filter, maxima=maxima)
    return replace(describe(frame, blurred()), masked=is_changed or masked(), maxima=maxima)


def _describe(
    frame: Tensor,
    coefficients: Tensor,
    lattice: Lattice,
    blank: NDArray[np.bool_] | None,
    helper: Helper,
    *,
    with_edges: bool,
) -> Reading:
    """What is read of the columns of a frame and of the same after `models.levels.column_filter`."""
    shape = (frame.shape[0], frame.shape[1])
    taps = helper.start(lambda: kernel_taps(shape, lattice.positions))
    disc = disc_map(lattice.vectors[0])
    entry = helper.start(lambda: table_entry(shape, disc, frame.device))
    whole = is_whole(lattice.positions, disc, shape)
    covered = whole.clone()
    cut = (~whole).nonzero()[:, 0]
    at_edges = None
    if with_edges and len(cut):
        at_edges = helper.start(lambda: EdgePoints.around(lattice.positions[cut], disc, shape))
    if blank is not None:
        whole &= distance_from(blank, lattice.positions) > torch.linalg.vector_norm(disc, dim=0).max()
    checked = helper.start(lambda: check_polarity(coefficients, lattice, whole))
    empty = empty_level(coefficients, lattice, whole)
    above = above_empty(taps().sum(coefficients), empty, lattice)
    levelled, contrast = level(frame, empty, above, lattice, whole)
    spectrum = torch.fft.rfft2(levelled)
    read = None if at_edges is None else helper.start(lambda: at_edges().moments(levelled, entry(), spectrum))
    moments = zernike_moments(levelled, taps(), entry(), spectrum, helper)
    jumps = find_jumps(frame, empty, levelled, above, lattice, whole)
    if read is not None:
        moments[cut], covered[cut] = read()
    checked()
    whole, covered, moments, contrast = (values.cpu() for values in (whole, covered, moments, contrast))
    read_part = (slice(0, shape[0]), slice(0, shape[1]))
    blank_part = 0.0 if blank is None else float(blank.mean())
    return Reading(
        lattice.to("cpu"),
        disc.cpu(),
        whole,
        covered,
        moments,
        contrast,
        part=read_part,
        blank=blank_part,
        jumps=jumps,
    )
