"""What two neighbouring columns add to the image beyond their sum: the interference of their waves.

The intensity behind two columns is |ψ0 + s1 + s2 + s12|², with s the wave that each scatters alone and
s12 what one scatters of the other's.  In an annular dark field the terms that the two columns' kernels
leave out are, to a tenth, the interference 2 Re(s1* s2).  It follows from the atoms' scattering
amplitudes by one integral over the aperture, and its thermal average is exact, because atoms that move
independently average each amplitude by its Debye-Waller factor.  So no multislice of pairs is needed;
`docs/decisions/0003-neighbours.md` holds the comparison.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import CONVERGENCE_MRAD
from sim_microscope.scattering import FREQUENCIES, wavelength_angstrom

#: Probe positions of a pair term [Å]: along the pair's axis from its middle, and away from the axis,
#: about which a pair term is symmetric.
ALONG_ANGSTROM = np.arange(-19, 20) * 0.25
ACROSS_ANGSTROM = np.arange(0, 14) * 0.25

#: Reciprocal cell of the integral [Å] and its largest angle [mrad]; interference beyond averages out.
_CELL_ANGSTROM = 16.0
_MAX_ANGLE_MRAD = 150.0


@dataclass(frozen=True)
class Scatterer:
    """The atoms of one column, as far as interference needs them.

    Parameters
    ----------
    amplitude : ndarray of shape (frequencies,)
        Scattering amplitude of one atom at `FREQUENCIES` [Å²].
    heights_angstrom : tuple of float
        Heights of the atoms along the beam [Å].
    displacement_angstrom : float
        Root-mean-square thermal displacement per axis [Å]; 0 at rest.
    """

    amplitude: NDArray[np.complex64]
    heights_angstrom: tuple[float, ...]
    displacement_angstrom: float


class PairIntegral:
    """Interference of the waves of two columns, for probes on the grid of a pair term.

    Parameters
    ----------
    energy_kev : float
        Beam energy [keV].
    edges_mrad : ndarray of shape (rings + 1,)
        Edges of the detector rings [mrad].
    """

    def __init__(self, energy_kev: float, edges_mrad: NDArray[np.float64]):
        self._wavelength = wavelength_angstrom(energy_kev)
        reach = _MAX_ANGLE_MRAD * 1e-3 / self._wavelength
        self._scattered = _disc(reach)
        aperture = CONVERGENCE_MRAD * 1e-3 / self._wavelength
        disc = _disc(aperture + 1.0 / _CELL_ANGSTROM)
        radius = np.hypot(disc[:, 0], disc[:, 1])
        weight = np.clip((aperture - radius) * _CELL_ANGSTROM + 0.5, 0.0, 1.0)
        self._incident = disc[weight > 0]
        # An integral over the aperture: the cell's area element, and the norm of an infinite cell.
        self._difference = np.hypot(
            self._scattered[:, None, 0] - self._incident[None, :, 0],
            self._scattered[:, None, 1] - self._incident[None, :, 1],
        ).astype(np.float32)
        self._weight = weight[weight > 0] / _CELL_ANGSTROM**2 / np.sqrt(np.pi * aperture**2)
        angle = np.hypot(*self._scattered.T) * self._wavelength * 1e3
        width = self._wavelength * 1e3 / _CELL_ANGSTROM
        below = np.clip((edges_mrad[None] - angle[:, None]) / width + 0.5, 0.0, 1.0)
        self._rings = (np.diff(below, axis=1) / _CELL_ANGSTROM**2).astype(np.float32)
        across, along = np.meshgrid(ACROSS_ANGSTROM, ALONG_ANGSTROM, indexing="ij")
        self._probes = np.stack([across.ravel(), along.ravel()], axis=1)

    def wave(self, column: Scatterer, offset_angstrom: float) -> NDArray[np.complex64]:
        """Mean wave scattered by a column at an offset along the pair's axis, (frequencies, probes)."""
        place = self._probes - np.array([0.0, offset_angstrom])
        arrival = np.exp(-2j * np.pi * (self._incident @ place.T)) * self._weight[:, None]
        matrix = self._matrix(column)
        chirp = 1j * np.pi * self._wavelength
        wave = np.zeros((len(self._scattered), len(place)), np.complex64)
        for height in column.heights_angstrom:
            before = np.exp(-chirp * height * np.sum(self._incident**2, axis=1))
            after = np.exp(chirp * height * np.sum(self._scattered**2, axis=1))
            scattered = matrix @ (before[:, None] * arrival).astype(np.complex64)
            wave += after[:, None].astype(np.complex64) * scattered
        departure = np.exp(-2j * np.pi * self._scattered[:, 1] * offset_angstrom)
        return np.asarray(wave * departure[:, None].astype(np.complex64))

    def _matrix(self, column: Scatterer) -> NDArray[np.complex64]:
        """Amplitude from every incident into every scattered frequency, thermally averaged."""
        damping = np.exp(-2 * (np.pi * column.displacement_angstrom * FREQUENCIES) ** 2)
        mean = (column.amplitude * damping).astype(np.complex64)
        position = self._difference / FREQUENCIES[1]
        low = np.minimum(position.astype(np.int32), FREQUENCIES.size - 2)
        fraction = position - low
        return np.asarray(mean[low] * (1 - fraction) + mean[low + 1] * fraction)

    def term(self, first: NDArray[np.complex64], second: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Pair term in every ring, of shape (rings, across, along), from two columns' waves."""
        product = 2.0 * (first.real * second.real + first.imag * second.imag)
        shape = (self._rings.shape[1], ACROSS_ANGSTROM.size, ALONG_ANGSTROM.size)
        return np.asarray((self._rings.T @ product).reshape(shape), dtype=np.float32)


def _disc(radius: float) -> NDArray[np.float64]:
    """Frequencies (row, column) of a square grid within a radius [1/Å], of shape (n, 2)."""
    count = int(np.ceil(radius * _CELL_ANGSTROM))
    axis = np.arange(-count, count + 1) / _CELL_ANGSTROM
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    inside = np.hypot(rows, columns) <= radius
    return np.stack([rows[inside], columns[inside]], axis=1)
