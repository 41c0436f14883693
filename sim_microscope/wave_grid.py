"""The periodic cell that waves are sampled on, and planes of atoms as it sees them."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft2, ifft2, next_fast_len
from scipy.interpolate import CubicSpline
from scipy.sparse import csr_matrix

from drivers.contract.errors import InputError
from sim_microscope.scattering import FREQUENCIES, scattering_amplitude, wavelength_angstrom

#: Subdivisions per axis of a pixel that the aperture's edge crosses.
_EDGE_SUBPIXELS = 16


@dataclass(frozen=True)
class Plane:
    """Atoms of one height.

    Parameters
    ----------
    symbols : tuple of str
        Elements.
    positions : ndarray of shape (n, 2)
        Positions along (row, column) [Å].
    height_angstrom : float
        Height along the beam [Å]; the beam enters at negative heights and is in focus at 0.
    """

    symbols: tuple[str, ...]
    positions: NDArray[np.float64]
    height_angstrom: float


@dataclass(frozen=True)
class WaveGrid:
    """A periodic cell on which waves of one energy are sampled.

    Parameters
    ----------
    extent : tuple of float
        Cell along (row, column) [Å].
    gpts : tuple of int
        Samples along (row, column).
    energy_kev : float
        Beam energy [keV].
    """

    extent: tuple[float, float]
    gpts: tuple[int, int]
    energy_kev: float

    @classmethod
    def for_angle(cls, extent: tuple[float, float], energy_kev: float, max_angle_mrad: float) -> "WaveGrid":
        """Return the coarsest FFT-friendly grid that carries an angle [mrad].

        abTEM keeps two thirds of the band and softens the last 3 % of that.  Sides are multiples of 8:
        FFTs of odd ones take twice as long.
        """
        cutoff = max_angle_mrad * 1e-3 / wavelength_angstrom(energy_kev) / 0.965
        rows, columns = (8 * next_fast_len(int(np.ceil(3.0 * cutoff * length / 8))) for length in extent)
        return cls(extent, (rows, columns), energy_kev)

    @property
    def wavelength(self) -> float:
        """Wavelength [Å]."""
        return wavelength_angstrom(self.energy_kev)

    @cached_property
    def frequencies(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Spatial frequencies along (row, column) [1/Å], in FFT order."""
        rows, columns = (
            np.asarray(np.fft.fftfreq(n, d / n), np.float64)
            for n, d in zip(self.gpts, self.extent, strict=True)
        )
        return rows, columns

    @cached_property
    def radial_frequency(self) -> NDArray[np.float64]:
        """Spatial frequency of every pixel [1/Å], in FFT order."""
        rows, columns = self.frequencies
        return np.asarray(np.hypot(rows[:, None], columns[None]))

    @property
    def cutoff(self) -> float:
        """Largest frequency that multislice carries without aliasing [1/Å]."""
        return min(n / d for n, d in zip(self.gpts, self.extent, strict=True)) / 3.0

    def shift(self, position: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Phase ramp that moves a function from the origin to a position (row, column) [Å]."""
        rows, columns = self.frequencies
        along_rows, along_columns = (
            np.exp(-2j * np.pi * k * x) for k, x in zip((rows, columns), position, strict=True)
        )
        return np.asarray(along_rows[:, None] * along_columns)

    def aperture(self, semiangle_mrad: float) -> NDArray[np.float64]:
        """Probe-forming aperture, normalised so that an infinite cell's intensity is 1.

        Edge pixels hold the fraction of their area inside the aperture, and the norm is the true area
        of the disc, not the sum over pixels: the wave near the probe's axis is then that of an infinite
        cell (to 0.05 % in a 20 Å cell), while the summed intensity falls a little short of 1.
        """
        radius = semiangle_mrad * 1e-3 / self.wavelength
        weight = (self.radial_frequency < radius).astype(np.float64)
        steps = [1.0 / length for length in self.extent]
        rows, columns = self.frequencies
        near = np.abs(self.radial_frequency - radius) < np.hypot(steps[0], steps[1])
        offsets = (np.arange(_EDGE_SUBPIXELS) + 0.5) / _EDGE_SUBPIXELS - 0.5
        for i, j in np.argwhere(near):
            inside = np.hypot(rows[i] + offsets[:, None] * steps[0], columns[j] + offsets * steps[1]) < radius
            weight[i, j] = inside.mean()
        return np.asarray(weight / np.sqrt(np.pi * radius**2 * self.extent[0] * self.extent[1]))

    def ring_weights(self, edges_mrad: NDArray[np.float64]) -> csr_matrix:
        """Fraction of every pixel inside every detector ring, of shape (pixels, rings)."""
        angle = self.radial_frequency.ravel() * self.wavelength * 1e3
        width = self.wavelength * 1e3 / np.sqrt(self.extent[0] * self.extent[1])
        below = np.clip((edges_mrad[None] - angle[:, None]) / width + 0.5, 0.0, 1.0)
        below[:, edges_mrad == 0.0] = 0.0
        return csr_matrix(np.diff(below, axis=1))


def plane_transmission(grid: WaveGrid, plane: Plane) -> NDArray[np.complex64]:
    """Transmission function of a plane of atoms, band-limited to the grid's cutoff.

    Parameters
    ----------
    grid : WaveGrid
        Cell; atoms outside it enter at their periodic images.
    plane : Plane
        Atoms.  They may lie anywhere in a pixel.

    Returns
    -------
    ndarray of shape (rows, columns)
        Complex transmission.

    Raises
    ------
    InputError
        If the grid carries angles beyond those of the scattering amplitudes.
    """
    if grid.cutoff > FREQUENCIES[-1]:
        raise InputError(
            f"a grid up to {grid.cutoff:.1f} /Å at {grid.energy_kev:g} keV: atoms are known up to "
            f"{FREQUENCIES[-1]:g} /Å; take a smaller outer angle or a lower energy"
        )
    band = grid.radial_frequency < grid.cutoff
    total = None
    for symbol, position in zip(plane.symbols, plane.positions, strict=True):
        atom = 1.0 + ifft2(_amplitude_on(grid, symbol) * grid.shift(position))
        total = atom if total is None else ifft2(fft2(total * atom) * band)
    whole = np.ones(grid.gpts, np.complex64) if total is None else total
    return np.asarray(whole, dtype=np.complex64)


@lru_cache(maxsize=4)
def _amplitude_on(grid: WaveGrid, symbol: str) -> NDArray[np.complex128]:
    """Fourier coefficients of an atom's transmission function less one, on a grid."""
    frequency = np.minimum(grid.radial_frequency, FREQUENCIES[-1])
    amplitude = CubicSpline(FREQUENCIES, scattering_amplitude(symbol, grid.energy_kev))(frequency)
    per_area = grid.gpts[0] * grid.gpts[1] / (grid.extent[0] * grid.extent[1])
    return np.asarray(amplitude * (grid.radial_frequency < grid.cutoff) * per_area)
