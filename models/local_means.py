"""Means over a frame's columns nearby, by Gaussian windows on squares of one lattice constant."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.normalise import gaussian_matrix

#: Standard deviations of the Gaussian windows that a centre and a spread are taken over, in lattice
#: constants, and columns of the whole frame that are added to those of either window.
_CENTRE_REACH, _SPREAD_REACH, _FROM_FRAME = 2.0, 3.0, 15.0


@dataclass(frozen=True)
class Window:
    """What local means over a frame's columns are taken with.

    Parameters
    ----------
    along_rows, along_columns : ndarray of shape (R, R), (C, C)
        What makes a Gaussian sum of the squares, from either side; float32.
    added : float
        Weight of the sublattice's usual value, see `_FROM_FRAME`.
    """

    along_rows: NDArray[np.float32]
    along_columns: NDArray[np.float32]
    added: float

    @classmethod
    def of(cls, shape: tuple[int, int], reach: float) -> "Window":
        """Gaussian window over squares, of a standard deviation in lattice constants."""
        rows, columns = (gaussian_matrix(edge, reach).astype(np.float32) for edge in shape)
        return cls(rows, columns, _FROM_FRAME / (4 * np.pi * reach**2))

    def mean(
        self,
        square: NDArray[np.int64],
        weight: NDArray[np.float64],
        weighed: NDArray[np.float64],
        usual: float,
    ) -> NDArray[np.float64]:
        """Means in all squares, (R C,), of weights and weighed values (n,) of columns in some of them."""
        shape = len(self.along_rows), len(self.along_columns)
        sums = np.empty((2, math.prod(shape)), np.float32)
        for k, values in enumerate((weight, weighed)):
            sums[k] = np.bincount(square, values, math.prod(shape))
        counted, total = self.along_rows @ sums.reshape(2, *shape) @ self.along_columns
        mean = (total + self.added * usual) / (counted + self.added)
        return np.asarray(mean.ravel(), np.float64)


def windows_over(at: NDArray[np.float64]) -> tuple[NDArray[np.int64], tuple[Window, Window]]:
    """Squares of one lattice constant over a frame, and the windows that centres and spreads are taken over.

    Parameters
    ----------
    at : ndarray of shape (2, S)
        Positions of columns in lattice constants.

    Returns
    -------
    square : ndarray of shape (S,)
        Number of the square that each lies in, row by row.
    windows : tuple of Window
    """
    row, column = (at - at.min(axis=1, initial=np.inf)[:, None]).astype(np.int64)
    rows, columns = (int(places.max(initial=0)) + 1 for places in (row, column))
    windows = Window.of((rows, columns), _CENTRE_REACH), Window.of((rows, columns), _SPREAD_REACH)
    return row * columns + column, windows
