"""How deep the columns of a sublattice lie: whole ones, their tail, and defects at given depths.

Depths are in parts of the first expected defect's, from the whole column; all densities are normal, and found
on bins of depth, since a frame has thousands of columns.
"""

import math

import numpy as np
from numpy.typing import NDArray

#: Columns of a sublattice count as this many independent ones at most: the model of their scatter is not
#: exact.
_MOST_EFFECTIVE = 200.0

#: Some whole columns scatter this many times as far as most: real frames have heavy tails.
TAIL_WIDTH = 2.5

#: Width of a bin of depth, and the outermost bins; 0 is the whole column, 1 the expected defect.
BIN, _LOWEST, _HIGHEST = 0.04, -1.5, 3.5
_BINS = np.arange(_LOWEST, _HIGHEST, BIN)

#: Share of the tail and of each defect to start from, and rounds of expectation maximisation for each depth.
_START_RARE, _SHARE_ROUNDS = 0.05, 10

#: Density of the columns that may be of no class: one in a hundred, anywhere.
STRAY = np.float32(0.01 / (_HIGHEST - _LOWEST))


def _density(
    depth: NDArray[np.float64],
    scale: NDArray[np.float64] | float,
    spread: float,
    defects: tuple[float, ...],
) -> NDArray[np.float32]:
    """Densities (..., K, n) at depths (n,) of the whole column, its tail, and the defects, scaled by (...).

    Parameters
    ----------
    depth : ndarray of shape (n,)
        0 for the whole column, 1 for the first expected defect.
    scale : ndarray or float
        Depth of the frame's defects over the expected one.
    spread : float
        Standard deviation of a class.
    defects : tuple of float
        Expected depths of the defects.

    Returns
    -------
    ndarray
        float32, as exponentials take four times as long in float64.
    """
    centres = np.asarray(scale)[..., None] * np.array([0.0, 0.0, *defects])
    narrowness = 1 / (spread * np.array([1.0, TAIL_WIDTH, *[1.0] * len(defects)])[:, None])
    distance = depth.astype(np.float32) - centres[..., None].astype(np.float32)
    return normal_density(distance, narrowness.astype(np.float32))


def normal_density(distance: NDArray[np.float32], narrowness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normal densities at distances from the mean, which are written over; narrowness is 1 over deviation."""
    distance *= narrowness
    distance *= distance
    distance *= np.float32(-0.5)
    np.exp(distance, out=distance)
    distance *= narrowness
    distance *= np.float32(1 / math.sqrt(2 * math.pi))
    return distance


def fit_shares(
    depth: NDArray[np.float64], spread: float, defects: tuple[float, ...], log_depths: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Shares (D, K) of the densities that fit a sublattice best, for depths (D,); log likelihoods (D,)."""
    number = np.clip(np.rint((depth - _LOWEST) / BIN), 0, len(_BINS) - 1).astype(np.int64)
    counts = np.bincount(number, minlength=len(_BINS)).astype(np.float64)
    bins, counts = _BINS[counts > 0], counts[counts > 0]
    density = _density(bins, np.exp(log_depths), spread, defects)  # (D, K, B)
    share = np.full(density.shape[:2], _START_RARE, np.float32)
    share[:, 0] = 1 - _START_RARE * (1 + len(defects))
    part = (counts / max(len(depth), 1)).astype(np.float32)
    for _ in range(_SHARE_ROUNDS):
        total = np.matmul(share[:, None], density)[:, 0] + STRAY
        # Not matmul: where a float32 matrix of five columns meets a vector, OpenBLAS 0.3.31 with AVX-512
        # multiplies what lay on the stack, too.  The product is right; NumPy may warn of an invalid value.
        share *= np.vecdot(density, (part / total)[:, None])
    total = (np.matmul(share[:, None], density)[:, 0] + STRAY).astype(np.float64)
    return share, np.log(total) @ counts * min(1.0, _MOST_EFFECTIVE / max(len(depth), 1))


def kinds_of(
    depth: NDArray[np.float64],
    share: NDArray[np.float32],
    scale: float,
    spread: float,
    defects: tuple[float, ...],
) -> NDArray[np.float64]:
    """Probability (K, n) that each column is of each kind of `_density`; what is left is for strays."""
    joint = _density(depth, scale, spread, defects) * share[:, None]
    return np.asarray(joint / (joint.sum(0) + STRAY), np.float64)
