"""Windows read within the field that they are a part of.

A small or faint window shows too little to find a lattice in, to tell its sublattices apart, or to learn
shares from.  The last frame of its whole field, by the same detector, shows all of that: the window is laid
into it, the whole is read, and what stands in the window is its map.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import correlate

from drivers.contract.errors import InputError
from drivers.contract.header import Window
from drivers.contract.maps import ClassCounts, DefectMap, MapFlag

#: The field is moved by up to this part of a lattice constant, so that the lattice goes on into the window:
#: a shift by a whole cell would do as well.
_REACH = 0.6

#: Both are smoothed by this part of a lattice constant before they are compared.
_BLUR = 0.12

#: How far the field is expected to have gone on since it was last laid about a window, standard deviation, as
#: part of a lattice constant: at once, by each second, and at most.  Small windows alone may take one
#: sublattice for the other, 0.58 away.
_STILL, _DRIFT_PER_S, _MOST_DRIFT = 0.06, 0.15, 0.25

#: Columns nearer to the window's edge than this part of a lattice constant are the field's, not the window's.
_RIM = 0.35

#: With fewer columns than this a window is not read.
LEAST_COLUMNS = 2


#: Of its field this many lattice constants around a window are read with it.
_AROUND = 8.0

#: Flags that name rows and columns of the pixels that were read.
_OF_FIELD = ("unread", "padded", "uneven")

Shift = tuple[int, int]


def surroundings(place: Window, shape: tuple[int, int], lattice_px: float) -> Window:
    """The part of a field of some shape that a window is read with."""
    reach = int(np.ceil(_AROUND * lattice_px))
    row, col = max(0, place.row_px - reach), max(0, place.col_px - reach)
    end_row = min(shape[0], place.row_px + place.rows_px + reach)
    end_col = min(shape[1], place.col_px + place.cols_px + reach)
    return Window(row_px=row, col_px=col, rows_px=end_row - row, cols_px=end_col - col)


def lay_into(
    field: NDArray[np.floating],
    window: NDArray[np.generic],
    place: Window,
    lattice_px: float,
    shift: Shift | None = None,
    *,
    expected: Shift = (0, 0),
    elapsed_s: float = 10.0,
) -> tuple[NDArray[np.float32], Shift]:
    """Lay a window into a frame of its field, which is brightened and moved to match.

    Parameters
    ----------
    field : ndarray of shape (M, N)
        A frame of the whole field.
    window : ndarray of shape (m, n)
    place : Window
        Where in the field it lies.
    lattice_px : float
        Lattice constant.
    shift : tuple of int, optional
        How far (rows, columns) the field has to be moved, where another detector has told it.
    expected : tuple of int
        How far it had to be moved the last time.
    elapsed_s : float
        Since then.

    Returns
    -------
    laid : ndarray of shape (M, N)
        In the window's counts; inside the window, the window.
    shift : tuple of int
        How far the field was moved.
    """
    reach = int(np.ceil(_REACH * lattice_px))
    rows = slice(place.row_px, place.row_px + place.rows_px)
    cols = slice(place.col_px, place.col_px + place.cols_px)
    inside = np.asarray(window, np.float64)
    there = np.asarray(field, np.float64)
    there = there * (inside.mean() / max(float(there[rows, cols].mean()), 1e-12))
    padded = np.pad(there, reach, mode="symmetric")
    down, right = shift or _shift(padded, inside, place, lattice_px, expected, elapsed_s)
    height, width = there.shape
    laid = padded[reach - down : reach - down + height, reach - right : reach - right + width].copy()
    laid[rows, cols] = inside
    return laid.astype(np.float32), (down, right)


def _shift(
    padded: NDArray[np.float64],
    window: NDArray[np.float64],
    place: Window,
    lattice_px: float,
    expected: Shift,
    elapsed_s: float,
) -> Shift:
    """How far (rows, columns) what the padded field shows has gone until the window was scanned."""
    reach = int(np.ceil(_REACH * lattice_px))
    around = padded[
        place.row_px : place.row_px + place.rows_px + 2 * reach,
        place.col_px : place.col_px + place.cols_px + 2 * reach,
    ]
    sigma = _BLUR * lattice_px
    seen, known = gaussian_filter(window, sigma), gaussian_filter(around, sigma)
    seen, known = seen - seen.mean(), known - known.mean()
    covariance = correlate(known, seen, mode="valid", method="fft")
    every = np.ones_like(seen)
    total, squares = (correlate(part, every, mode="valid", method="fft") for part in (known, known**2))
    spread = np.maximum(squares - total**2 / seen.size, 1e-12) * (seen**2).sum()
    likeness = np.clip(covariance / np.sqrt(np.maximum(spread, 1e-12)), 0.0, 0.999)
    independent = seen.size / (4 * np.pi * sigma**2)
    nats = -0.5 * independent * np.log1p(-(likeness**2))
    moved = reach - np.arange(2 * reach + 1)
    unseen = lattice_px * min(np.hypot(_STILL, _DRIFT_PER_S * elapsed_s), _MOST_DRIFT)
    rows, cols = ((moved - way) / unseen for way in expected)
    nats -= (rows[:, None] ** 2 + cols**2) / 2
    row, col = np.unravel_index(int(nats.argmax()), nats.shape)
    return reach - int(row), reach - int(col)


def cut_out(whole: DefectMap, place: Window) -> DefectMap:
    """Map of a window from that of the field which it was laid into.

    Columns, what is counted of them, and where they lie are the window's; lattice, scale, prior, evidence,
    the masked part, and flags of what was read are those of all that was read.

    Raises
    ------
    InputError
        If too few columns stand in it.
    """
    scale, columns = whole.header.scale, whole.columns
    rim = _RIM * scale.lattice_px - 0.5
    row, col = columns["row_px"] - place.row_px, columns["col_px"] - place.col_px
    inside = (row >= rim) & (row <= place.rows_px - 1 - rim) & (col >= rim) & (col <= place.cols_px - 1 - rim)
    if inside.sum() < LEAST_COLUMNS:
        raise InputError(
            f"expected the field's lattice in the window, found {inside.sum()} columns of it; "
            "check that the specimen has not moved on, and that the dose suffices"
        )
    own = columns[inside].copy()
    own["row_px"], own["col_px"] = row[inside], col[inside]
    own["y_angstrom"] = own["row_px"] * scale.pixel_size_angstrom
    own["x_angstrom"] = own["col_px"] * scale.pixel_size_angstrom
    x2, vac1, vac2, metal, dopant = np.bincount(own["cls"], minlength=5).tolist()
    flag = MapFlag(kind="read_in_field", message="the window was read within the last frame of its field")
    header = whole.header.rebuilt(
        columns=len(own),
        grains=tuple(
            grain.rebuilt(columns=int((own["grain"] == number).sum()))
            for number, grain in enumerate(whole.header.grains)
        ),
        counts=ClassCounts(x2=x2, vac1=vac1, vac2=vac2, metal=metal, dopant=dopant),
        concentrations=(),
        mean_entropy_nats=float(own["entropy_nats"].mean(dtype=np.float64)),
        flags=(*map(_told_of_field, whole.header.flags), flag),
    )
    return DefectMap(header, own)


def _told_of_field(flag: MapFlag) -> MapFlag:
    """A flag, with a word on whose rows and columns of pixels it counts."""
    if flag.kind not in _OF_FIELD:
        return flag
    return flag.rebuilt(message=f"in the part of the field that was read around the window: {flag.message}")
