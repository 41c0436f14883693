"""Frames that other software has denoised: how that is told, and undone before columns are measured.

A detector's noise is white.  A denoiser by principal components of patches (`models.patch_filter`) leaves
little of it between the lattice's spots, in a pattern that gives away the size of the patches and the number
of components; and it draws rare columns towards common ones, since they are not among its components.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, percentile_filter
from torch import Tensor

from models.frames import frequencies, middle_of, windowed
from models.lattice import Lattice
from models.levels import heights
from models.patch_filter import PatchFilter, learn_filter
from models.patches import disc_map, is_whole

#: A frame is looked into if a twentieth of its frequencies hold less than this part of the median power
#: (white noise 0.074; recorded frames 0.037 to 0.071; denoised ones 0.005 at most) ...
_COLOURED = 0.02

#: ... and the logarithm of power scatters by more than this about its mean at a radius (white noise and
#: blurred frames 1.3, denoised ones 2.0 to 3.7).
_PATTERNED = 1.7

#: Edges of patches that are tried [px], and components that are told apart.
_EDGES, _MOST_COMPONENTS = (8, 48), 64

#: Rounds that components are found in.
_ITERATIONS = 6

#: A filter is believed from this correlation of the logarithms of expected and found noise on ...
_BELIEVED = 0.75

#: ... if for patches of other edges what is left unexplained is more by this factor ...
_SHARP = 1.12

#: ... or by this one, where the correlation also stands out by so many standard deviations from a parabola
#: through that of edges up to so many pixels away, as in a part of a denoised frame, or a resized one.
#: Most frames that were blurred or resized by themselves are explained best by an edge at the end of the
#: range, which is not believed, or by many alike; the others are left as they are by `_ENOUGH`.
_BLUNT, _STANDS_OUT, _NEARBY = 1.025, 3.0, 7

#: Middle of the frame that is looked at first, and that the filter is told from [px]; frequencies that are
#: compared for each edge.
_GLANCE, _MIDDLE, _GRID = 256, 512, 256

#: Lowest frequency that is compared [cycles/px]: below are drift and contamination.
_LOWEST = 0.08

#: Every so many frequencies are looked at first; rings of one cycle a pixel that power is averaged over.
_SKIPPED, _RINGS = 3, 128

#: Noise is smoothed over this many frequencies, one standard deviation.
_SMOOTH = 1.0

#: Frequencies that tell columns apart, in parts of the lattice's own, and misfits that count no more.
_BAND, _FARTHEST = (0.5, 2.5), 3.0

#: A filter that keeps this part and more of most frequencies between those is not undone: read as they came,
#: such frames have an F1 within 0.02 of that before (23 simulated frames); an inexact inverse may cost more.
_ENOUGH, _NEAR = 0.5, (0.5, 1.8)

#: The components hold the lattice itself, so undoing the filter leaves the mean height of columns: it rises
#: by 0 to 3 %.  Where values were changed after denoising (gamma, a contrast curve) that is not so, and what
#: is undone is nothing that was: if it changes by more than this part, the frame is read as it came.
_SAME_HEIGHT = 0.12

#: A filter is taken to keep this part of every frequency at least, and more where misfits are counted.
_LEAST, _LEAST_INSIDE = 1e-7, 1e-4


def is_patterned(frame: Tensor) -> bool:
    """Whether the noise of a standardised frame (M, N) is weak at some frequencies, not by radius alone."""
    if min(frame.shape) < 2 * _EDGES[1]:
        return False
    frame = middle_of(frame, _GLANCE)
    rows, columns = frame.shape
    low = math.ceil(_LOWEST * rows)
    power = torch.view_as_real(torch.fft.rfft2(windowed(frame))[low : rows - low]).square().sum(-1)
    some = power.flatten()[::_SKIPPED]
    weak, median = (some.kthvalue(1 + int(part * len(some))).values for part in (0.05, 0.5))
    if weak >= _COLOURED * median:
        return False
    radius = torch.hypot(*frequencies((rows, columns), frame.device))[low : rows - low]
    logs, ring = (power + 1e-20).log().flatten(), (radius * _RINGS).long().flatten()
    mean = torch.bincount(ring, logs) / torch.bincount(ring).clamp(min=1)
    return bool((logs - mean[ring]).std() > _PATTERNED)


def find_filter(frame: Tensor, lattice_px: float) -> PatchFilter | None:
    """Find out whether a frame was denoised by principal components of its patches; takes seconds.

    None also if the filter has kept so much that it does no harm.

    Parameters
    ----------
    frame : Tensor of shape (M, N)
        Standardised, with patterned noise.
    lattice_px : float
        Lattice constant [px].
    """
    frame = frame.cpu()
    middle = middle_of(frame, _MIDDLE)
    noise, covariance = _noise(middle), _covariance(middle)
    edges = range(_EDGES[0], _EDGES[1] + 1)
    likeness = np.array([_likeness(noise, covariance, edge) for edge in edges])
    if not is_sharp(likeness):
        return None
    best = edges[int(likeness.argmax())]
    learnt = learn_filter(frame, best, _MOST_COMPONENTS)
    found = learnt.first(_number_of_components(noise, learnt, lattice_px))
    return found if _part_kept(found, lattice_px) < _ENOUGH else None


def leaves_heights(frame: Tensor, before: Tensor, lattice: Lattice) -> bool:
    """Whether columns of both sublattices are as high in a frame (M, N) as in that before it was denoised.

    Where they are not, the filter that was undone is not what made the frame.
    """
    shape = (frame.shape[0], frame.shape[1])
    whole = is_whole(lattice.positions, disc_map(lattice.vectors[0]), shape)
    each = [heights(image, lattice, whole)[1] for image in (frame, before)]
    sides = [whole & (lattice.sublattice == side) for side in (0, 1)]
    now, then = (torch.stack([height[side].mean() for side in sides]) for height in each)
    return bool(((then - now).abs() < _SAME_HEIGHT * now).all())


def is_sharp(likeness: NDArray[np.float64]) -> bool:
    """Whether one edge of patches explains the noise well, and better than others.

    Parameters
    ----------
    likeness : ndarray of shape (E,)
        Correlation with the noise, of all edges in turn.
    """
    best = int(likeness.argmax())
    if likeness[best] < _BELIEVED or best in (0, len(likeness) - 1):
        return False
    next_best = np.delete(likeness, best).max()
    factor = (1 - next_best) / (1 - likeness[best])
    if factor >= _SHARP:
        return True
    nearby = np.arange(max(0, best - _NEARBY), min(len(likeness), best + _NEARBY + 1))
    nearby = nearby[nearby != best]
    parabola = np.polynomial.Polynomial.fit(nearby, likeness[nearby], 2)
    spread = np.sqrt(np.square(likeness[nearby] - parabola(nearby)).sum() / (len(nearby) - 3))
    return bool(factor >= _BLUNT and likeness[best] - parabola(best) >= _STANDS_OUT * spread)


def _noise(frame: Tensor) -> NDArray[np.float64]:
    """Logarithm of the power between the lattice's spots, by frequency (M, N) as of `fft2`."""
    power = torch.fft.fft2(windowed(frame.double())).abs().square()
    logs = (power + 1e-300).log().numpy()
    return np.asarray(gaussian_filter(percentile_filter(logs, 35, size=5, mode="wrap"), _SMOOTH, mode="wrap"))


def _covariance(frame: Tensor) -> NDArray[np.float64]:
    """Covariance of pixels by their distance, up to the largest patch's edge along either axis."""
    rows, columns = frame.shape
    spectrum = torch.fft.rfft2((frame - frame.mean()).double(), s=(2 * rows, 2 * columns))
    whole = torch.fft.irfft2(spectrum.abs().square(), s=(2 * rows, 2 * columns))
    lags = torch.arange(-_EDGES[1], _EDGES[1] + 1)
    pairs = torch.outer(rows - lags.abs(), columns - lags.abs())
    return np.asarray((whole[lags][:, lags] / pairs).numpy())


def _likeness(noise: NDArray[np.float64], covariance: NDArray[np.float64], edge: int) -> float:
    """How well the best number of components explains the noise, for one size of patches."""
    components = _strongest(covariance, edge)
    grid = (_GRID, _GRID)
    rows, columns = (
        torch.arange(size) * pixels // _GRID
        for size, pixels in zip((_GRID, _GRID // 2 + 1), noise.shape, strict=True)
    )
    chosen = torch.hypot(*frequencies(grid, "cpu")) > _LOWEST
    found = torch.from_numpy(noise)[rows][:, columns][chosen]
    power = torch.view_as_real(torch.fft.rfft2(components, s=grid)).square().sum(-1)
    kept = power.flatten(1)[:, chosen.flatten()].cumsum(0).div_(edge**2)
    expected = kept.add_(_LEAST).log_().mul_(2)
    expected, found = expected - expected.mean(1, keepdim=True), (found - found.mean()).float()
    return float((expected @ found / (expected.norm(dim=1) * found.norm())).max())


def _strongest(covariance: NDArray[np.float64], edge: int) -> Tensor:
    """Principal components (K, E, E) of patches of a frame with this covariance, float32.

    By subspace iteration: a full decomposition takes ten times as long and changes no likeness by 1e-5.
    """
    zero, step = len(covariance) // 2, np.arange(edge)
    windows = np.lib.stride_tricks.sliding_window_view(covariance.astype(np.float32), (edge, edge))
    between = windows[zero - step[:, None], zero - step].reshape(edge**2, edge**2)
    matrix, most = torch.from_numpy(between), min(_MOST_COMPONENTS, edge**2 - 1)
    vectors = torch.randn(edge**2, min(2 * most, edge**2), generator=torch.Generator().manual_seed(0))
    for _ in range(_ITERATIONS):
        vectors = torch.linalg.qr(matrix @ vectors)[0]
    _, turn = torch.linalg.eigh(vectors.T @ matrix @ vectors)
    components: Tensor = (vectors @ turn).flip(1)[:, :most].T
    return components.reshape(most, edge, edge)


def _part_kept(found: PatchFilter, lattice_px: float) -> float:
    """Part that a filter keeps of most frequencies that tell columns apart."""
    radius = torch.hypot(*frequencies((_GRID, _GRID), "cpu")) * lattice_px
    kept = found.part_kept((_GRID, _GRID))
    return float(kept[(radius > _NEAR[0]) & (radius < _NEAR[1])].median())


def _number_of_components(noise: NDArray[np.float64], learnt: PatchFilter, lattice_px: float) -> int:
    """How many components explain the noise best, at all frequencies and at those that tell columns apart.

    The first is a correlation, the second a misfit; their product is least for the right number within two in
    nine simulated frames of ten, more often than either.
    """
    shape = (noise.shape[0], noise.shape[1])
    radius = torch.hypot(*frequencies(shape, "cpu", half=False)).numpy()
    above, inside = radius > _LOWEST, (radius * lattice_px > _BAND[0]) & (radius * lattice_px < _BAND[1])
    found = noise[above] - noise[above].mean()
    kept, misfits = np.zeros(shape), []
    for component in learnt.components:
        kept += torch.fft.fft2(component, s=shape).abs().square().numpy() / learnt.edge**2
        expected = 2 * np.log(kept[above] + _LEAST)
        expected -= expected.mean()
        unexplained = 1 - expected @ found / np.sqrt((expected @ expected) * (found @ found))
        smooth = gaussian_filter(2 * np.log(kept + _LEAST_INSIDE), _SMOOTH, mode="wrap")
        misfit = (noise - smooth)[inside]
        misfits.append(unexplained * np.clip(misfit - np.median(misfit), -_FARTHEST, _FARTHEST).std())
    return int(np.argmin(misfits)) + 1
