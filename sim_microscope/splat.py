"""Inner loops of field rendering, compiled by Numba: spreading columns and adding pair terms."""

import numba
import numpy as np
from numpy.typing import NDArray

from sim_microscope.crystal import STATES

#: Width of the Kaiser-Bessel window [pixels].
WINDOW = 8

#: Shape of the window, π w (1 - ν) for frequencies up to ν = 0.45 cycles a pixel
#: (Beatty et al., 2005, 10.1109/TMI.2005.848376); the error is then below 1e-3 of a column's peak.
BETA = np.pi * WINDOW * (1.0 - 0.45)

#: Work is split into this many parts whatever the machine, so that sums do not depend on its threads.
_PARTS = 4

#: A pair belongs to a shell if its distance is the shell's to within this fraction.
_TOLERANCE = 0.12

#: Pair terms are cut off at this distance from the pair's middle [Å], where they have fallen to 2 %.
SUPPORT_ANGSTROM = 3.6

#: Pair terms are turned to this many directions and placed at offsets so far apart [Å], against a term
#: that changes over an ångström and is itself some percent of the image.
_DIRECTIONS, _OFFSET_ANGSTROM = 720, 0.0375

_LAST_METAL = STATES.index("dopant")
_EMPTY = STATES.index("empty")


def window_spectrum(points: int, count: int) -> NDArray[np.float64]:
    """Fourier transform of the window along one axis of `points` pixels, at its first `count` frequencies."""
    frequency = np.fft.fftfreq(points)[:count] if count == points else np.arange(count) / points
    argument = np.sqrt((BETA**2 - (np.pi * WINDOW * frequency) ** 2).astype(complex))
    return np.asarray((WINDOW * np.sinh(argument) / argument / np.i0(BETA)).real)


@numba.njit(cache=True)
def _window(distance: float) -> float:
    """Kaiser-Bessel window at a distance in pixels, by the series of the Bessel function I0."""
    inside = 1.0 - (2.0 * distance / WINDOW) ** 2
    if inside <= 0.0:
        return 0.0
    quarter = 0.25 * BETA * BETA * inside
    term, total, k = 1.0, 1.0, 1
    while term > 1e-9 * total:
        term *= quarter / (k * k)
        total += term
        k += 1
    return total


@numba.njit(cache=True)
def _spread(points: NDArray[np.float64], image: NDArray[np.float32], norm: float) -> None:
    """Add the window of every point to an image."""
    row_weights, column_weights = np.empty(WINDOW), np.empty(WINDOW)
    for n in range(points.shape[0]):
        first_row = int(np.ceil(points[n, 0] - WINDOW / 2))
        first_column = int(np.ceil(points[n, 1] - WINDOW / 2))
        for k in range(WINDOW):
            row_weights[k] = _window(first_row + k - points[n, 0]) * norm
            column_weights[k] = _window(first_column + k - points[n, 1]) * norm
        for i in range(WINDOW):
            for j in range(WINDOW):
                image[first_row + i, first_column + j] += row_weights[i] * column_weights[j]


def spread(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Spread points onto a grid with the Kaiser-Bessel window.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
        Positions along (row, column) [pixels], at least `WINDOW` / 2 inside the grid.
    shape : tuple of int
        Grid.

    Returns
    -------
    ndarray of shape `shape`, float32
    """
    image = np.zeros(shape, np.float32)
    _spread(points, image, 1.0 / float(np.i0(BETA)))
    return image


@numba.njit(cache=True)
def _bins(
    points: NDArray[np.float64], size: float, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Linked lists of the points in square bins: the first of every bin, and the next after every point."""
    heads = np.full((int(shape[0] / size) + 3, int(shape[1] / size) + 3), -1, np.int64)
    following = np.full(points.shape[0], -1, np.int64)
    for n in range(points.shape[0]):
        i, j = int(points[n, 0] / size) + 1, int(points[n, 1] / size) + 1
        following[n] = heads[i, j]
        heads[i, j] = n
    return heads, following


@numba.njit(cache=True)
def _find_pairs(
    points: NDArray[np.float64],
    states: NDArray[np.uint8],
    kinds: NDArray[np.int64],
    shells: NDArray[np.float64],
    heads: NDArray[np.int64],
    following: NDArray[np.int64],
    size: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Middles [pixels], kinds and directions [rad] of all pairs of neighbours."""
    # A perfect crystal has 6 pairs a column; grain boundaries have more.
    middles = np.empty((points.shape[0] * 9, 2))
    kinds_found = np.empty(points.shape[0] * 9, np.int64)
    angles = np.empty(points.shape[0] * 9)
    count = 0
    for n in range(points.shape[0]):
        if states[n] == _EMPTY:
            continue
        metal = states[n] <= _LAST_METAL
        i0, j0 = int(points[n, 0] / size) + 1, int(points[n, 1] / size) + 1
        for i in range(i0 - 1, i0 + 2):
            for j in range(j0 - 1, j0 + 2):
                m = heads[i, j]
                while m >= 0:
                    other = states[m] <= _LAST_METAL
                    # Metal and chalcogen are taken from the metal, equals from the lower index.
                    if (metal and not other) or (metal == other and n < m):
                        dr, dc = points[m, 0] - points[n, 0], points[m, 1] - points[n, 1]
                        distance = np.hypot(dr, dc)
                        shell = 1 if metal == other else 0 if distance < shells[1] else 2
                        if abs(distance - shells[shell]) < _TOLERANCE * shells[shell]:
                            kind = kinds[shell, states[n], states[m]]
                            if kind < 0:
                                kind, dr, dc = kinds[shell, states[m], states[n]], -dr, -dc
                            if kind >= 0 and count < middles.shape[0]:
                                middles[count] = 0.5 * (points[n] + points[m])
                                kinds_found[count] = kind
                                angles[count] = np.arctan2(dr, dc)
                                count += 1
                    m = following[m]
    return middles[:count], kinds_found[:count], angles[:count]


@numba.njit(cache=True, fastmath=True)
def look_up(term: NDArray[np.float32], across: float, along: float) -> float:
    """Pair term at fractional indices, linearly interpolated; zero outside."""
    i, j = int(across), int(along)
    if along < 0 or i + 1 >= term.shape[0] or j + 1 >= term.shape[1]:
        return 0.0
    x, y = along - j, across - i
    low = term[i, j] * (1 - x) + term[i, j + 1] * x
    high = term[i + 1, j] * (1 - x) + term[i + 1, j + 1] * x
    return float(low * (1 - y) + high * y)


@numba.njit(cache=True, parallel=True, fastmath=True)
def _turn_terms(
    terms: NDArray[np.float32], wanted: NDArray[np.int64], support: float, scale: float, offsets: int
) -> NDArray[np.float32]:
    """Patches of the wanted (kind, direction) at every sub-pixel offset, on the image's grid."""
    half = int(np.ceil(support)) + 1
    width = 2 * half + 1
    patches = np.zeros((wanted.shape[0], offsets, offsets, width, width), np.float32)
    center = (terms.shape[2] - 1) / 2
    for w in numba.prange(wanted.shape[0]):
        term = terms[wanted[w, 0]]
        angle = wanted[w, 1] * 2 * np.pi / _DIRECTIONS
        sine, cosine = np.sin(angle) * scale, np.cos(angle) * scale
        for a in range(offsets):
            for b in range(offsets):
                for r in range(width):
                    dr = r - half - (a + 0.5) / offsets + 0.5
                    for c in range(width):
                        dc = c - half - (b + 0.5) / offsets + 0.5
                        along = dr * sine + dc * cosine + center
                        across = abs(dr * cosine - dc * sine)
                        if dr * dr + dc * dc > support * support:
                            continue
                        patches[w, a, b, r, c] = look_up(term, across, along)
    return patches


@numba.njit(cache=True, parallel=True)
def _add_patches(
    images: NDArray[np.float32],
    middles: NDArray[np.float64],
    which: NDArray[np.int64],
    patches: NDArray[np.float32],
) -> None:
    """Add the patch of every pair; part p takes its share of the pairs."""
    parts, width = images.shape[0], patches.shape[3]
    half, offsets = width // 2, patches.shape[1]
    for part in numba.prange(parts):
        for n in range(part * middles.shape[0] // parts, (part + 1) * middles.shape[0] // parts):
            row, column = int(np.floor(middles[n, 0] + 0.5)), int(np.floor(middles[n, 1] + 0.5))
            if min(row, column) < half or row + half >= images.shape[1] or column + half >= images.shape[2]:
                continue
            a = min(int((middles[n, 0] - row + 0.5) * offsets), offsets - 1)
            b = min(int((middles[n, 1] - column + 0.5) * offsets), offsets - 1)
            for r in range(width):
                target = images[part, row - half + r, column - half : column - half + width]
                source = patches[which[n], a, b, r]
                for c in range(width):
                    target[c] += source[c]


def add_pairs(
    shape: tuple[int, int],
    points: NDArray[np.float64],
    states: NDArray[np.uint8],
    terms: NDArray[np.float32],
    kinds: NDArray[np.int64],
    shells_angstrom: tuple[float, ...],
    *,
    step_angstrom: float,
    term_step_angstrom: float,
) -> NDArray[np.float32]:
    """Sum of the pair terms of all neighbours.

    Parameters
    ----------
    shape : tuple of int
        Grid; a pair whose term does not lie whole inside it is left out.
    points : ndarray of shape (n, 2)
        Columns along (row, column) [pixels].
    states : ndarray of shape (n,), uint8
        Index into `STATES`.
    terms : ndarray of shape (kinds, across, along), float32
        Pair terms.
    kinds : ndarray of shape (shells, states, states), int
        Index into `terms`, or -1.
    shells_angstrom : tuple of float
        Distances of the shells [Å].
    step_angstrom, term_step_angstrom : float
        Pixel of the image and of the terms [Å].

    Returns
    -------
    ndarray of shape `shape`, float32
    """
    middles, found, angles = neighbours(
        shape, points, states, kinds, shells_angstrom, step_angstrom=step_angstrom
    )
    directions = np.round(angles / (2 * np.pi) * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    used, which = np.unique(found * _DIRECTIONS + directions, return_inverse=True)
    wanted = np.stack([used // _DIRECTIONS, used % _DIRECTIONS], axis=1)
    # As many sub-pixel offsets as keep them _OFFSET_ANGSTROM apart: patches grow as pixels shrink, and
    # their number falls.
    offsets = max(1, min(16, round(step_angstrom / _OFFSET_ANGSTROM)))
    scale = step_angstrom / term_step_angstrom
    patches = _turn_terms(terms, wanted, SUPPORT_ANGSTROM / step_angstrom, scale, offsets)
    images = np.zeros((_PARTS, *shape), np.float32)
    _add_patches(images, middles, which, patches)
    return np.asarray(images.sum(axis=0))


def neighbours(
    shape: tuple[int, int],
    points: NDArray[np.float64],
    states: NDArray[np.uint8],
    kinds: NDArray[np.int64],
    shells_angstrom: tuple[float, ...],
    *,
    step_angstrom: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """All pairs of neighbours that add a term; parameters as `add_pairs`.

    Returns
    -------
    middles : ndarray of shape (pairs, 2)
        Middles along (row, column) [pixels].
    kinds : ndarray of shape (pairs,), int
        Index of the term.
    angles : ndarray of shape (pairs,)
        Direction from the first column to the second, from the column axis towards the row axis [rad].
    """
    shells = np.array(shells_angstrom) / step_angstrom
    size = float(shells.max()) * (1 + _TOLERANCE)
    heads, following = _bins(points, size, shape)
    middles, found, angles = _find_pairs(points, states, kinds, shells, heads, following, size)
    return middles, found, angles


def shift_rows(image: NDArray[np.float32], shifts_px: NDArray[np.float64], pad: int) -> NDArray[np.float32]:
    """Sample every row of an image at positions shifted along it, by cubic convolution.

    Keys (1981), 10.1109/TASSP.1981.1163711.

    Parameters
    ----------
    image : ndarray of shape (rows, columns + 2 pad)
        Image with `pad` further columns on either side.
    shifts_px : ndarray of shape (rows,)
        Shift of the sampling positions, at most `pad` - 2 in size [pixels].
    pad : int
        At least 3.

    Returns
    -------
    ndarray of shape (rows, columns), float32
    """
    result = np.empty((image.shape[0], image.shape[1] - 2 * pad), np.float32)
    _shift_rows(image, shifts_px, pad, result)
    return result


@numba.njit(cache=True)
def _shift_rows(
    image: NDArray[np.float32], shifts_px: NDArray[np.float64], pad: int, result: NDArray[np.float32]
) -> None:
    """Fill the result of `shift_rows`."""
    for row in range(image.shape[0]):
        whole = int(np.floor(shifts_px[row]))
        t = shifts_px[row] - whole
        before = np.float32(((-0.5 * t + 1.0) * t - 0.5) * t)
        at = np.float32((1.5 * t - 2.5) * t * t + 1.0)
        after = np.float32(((-1.5 * t + 2.0) * t + 0.5) * t)
        beyond = np.float32((0.5 * t - 0.5) * t * t)
        for column in range(result.shape[1]):
            k = pad + whole + column
            result[row, column] = (
                before * image[row, k - 1]
                + at * image[row, k]
                + after * image[row, k + 1]
                + beyond * image[row, k + 2]
            )
