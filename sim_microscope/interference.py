"""What two neighbouring columns add to the image beyond their sum, to second order in scattering.

The intensity behind two columns is |ψ0 + s1 + s2 + s12|², with s the wave that each scatters alone and
s12 what one scatters of the other's.  To second order the two columns' kernels leave out the
interference 2 Re(s1* s2) and, inside the direct beam, 2 Re(ψ0* s12): there the neighbours' double
scattering is as large as their interference, and it takes from the beam what a sum of columns counts
twice.  Both follow from the atoms' scattering amplitudes, pair of atoms by pair of atoms, and their thermal
average is exact, because atoms that move independently average each amplitude by its Debye-Waller
factor.  So no multislice of pairs is needed; `docs/decisions/0003-neighbours.md` holds the comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft2, ifft2, next_fast_len

from drivers.contract.context import CONVERGENCE_MRAD
from sim_microscope.scattering import FREQUENCIES, scattering_amplitude, wavelength_angstrom

#: Probe positions of a pair term [Å]: along the pair's axis from its middle, and away from the axis,
#: about which a pair term is symmetric.
ALONG_ANGSTROM = np.arange(-15, 16) * 0.25
ACROSS_ANGSTROM = np.arange(0, 16) * 0.25

#: Reciprocal cell of the integral [Å] and its largest angle [mrad]; interference beyond averages out.
_CELL_ANGSTROM = 16.0
_MAX_ANGLE_MRAD = 150.0

#: Angles between the two events of double scattering: from where on they are tapered, and the largest
#: [mrad].  Of atoms this far apart higher angles cancel, but a sharp end would ring.
_TAPER_MRAD, _MAX_BETWEEN_MRAD = 50.0, 100.0

#: Everything that pair terms depend on besides the atoms.
RECIPE = (_CELL_ANGSTROM, _MAX_ANGLE_MRAD, _TAPER_MRAD, _MAX_BETWEEN_MRAD, *ALONG_ANGSTROM, *ACROSS_ANGSTROM)


@dataclass(frozen=True)
class Atom:
    """One atom, as far as interference needs it.

    Parameters
    ----------
    amplitude : ndarray of shape (frequencies,)
        Scattering amplitude at `FREQUENCIES`, thermally averaged [Å²].
    height_angstrom : float
        Height along the beam [Å].
    """

    amplitude: NDArray[np.complex64]
    height_angstrom: float


def averaged_atom(
    symbol: str, energy_kev: float, height_angstrom: float, displacement_angstrom: float
) -> Atom:
    """Atom that moves by a root-mean-square displacement per axis [Å]; 0 at rest."""
    damping = np.exp(-2 * (np.pi * displacement_angstrom * FREQUENCIES) ** 2)
    return Atom((scattering_amplitude(symbol, energy_kev) * damping).astype(np.complex64), height_angstrom)


class PairIntegral:
    """Second-order terms of pairs of atoms, for probes on the grid of a pair term.

    Parameters
    ----------
    energy_kev : float
        Beam energy [keV].
    edges_mrad : ndarray of shape (rings + 1,)
        Edges of the detector rings [mrad].
    """

    def __init__(self, energy_kev: float, edges_mrad: NDArray[np.float64]):
        self._wavelength = wavelength_angstrom(energy_kev)
        self._scattered = _disc(_MAX_ANGLE_MRAD * 1e-3 / self._wavelength)
        aperture = CONVERGENCE_MRAD * 1e-3 / self._wavelength
        disc = _disc(aperture + 1.0 / _CELL_ANGSTROM)
        radius = np.hypot(disc[:, 0], disc[:, 1])
        weight = np.clip((aperture - radius) * _CELL_ANGSTROM + 0.5, 0.0, 1.0)
        incident = disc[weight > 0]
        # An integral over the aperture: the cell's area element, and the norm of an infinite cell.
        self._norm = 1.0 / np.sqrt(np.pi * aperture**2)
        self._beam = incident, weight[weight > 0] / _CELL_ANGSTROM**2 * self._norm
        # Products of the beam and an atom's wave do not fold back into the angles that are kept.
        band = 2 * (_MAX_ANGLE_MRAD + CONVERGENCE_MRAD) * 1e-3 / self._wavelength
        self._points = 8 * next_fast_len(int(np.ceil(band * _CELL_ANGSTROM / 8)))
        self._rings = self._ring_weights(edges_mrad).astype(np.float32)
        # The part of every ring inside the direct beam, and the waves that come close to it.
        inside = self._ring_weights(np.minimum(edges_mrad, CONVERGENCE_MRAD))
        self._rim = [(ring, np.flatnonzero(w), w[w > 0]) for ring, w in enumerate(inside.T) if w.any()]
        angle = np.hypot(*self._scattered.T) * self._wavelength * 1e3
        self._near = np.flatnonzero(angle < _MAX_BETWEEN_MRAD)
        along_taper = (angle[self._near] - _TAPER_MRAD) / (_MAX_BETWEEN_MRAD - _TAPER_MRAD)
        self._taper = np.cos(np.pi / 2 * np.clip(along_taper, 0.0, 1.0)) ** 2
        across, along = np.meshgrid(ACROSS_ANGSTROM, ALONG_ANGSTROM, indexing="ij")
        self._probes = np.stack([across.ravel(), along.ravel()], axis=1)

    def _ring_weights(self, edges_mrad: NDArray[np.float64]) -> NDArray[np.float64]:
        """Area of every scattered frequency's cell inside every ring [1/Å²], (frequencies, rings)."""
        angle = np.hypot(*self._scattered.T) * self._wavelength * 1e3
        width = self._wavelength * 1e3 / _CELL_ANGSTROM
        below = np.clip((edges_mrad[None] - angle[:, None]) / width + 0.5, 0.0, 1.0)
        return np.asarray(np.diff(below, axis=1) / _CELL_ANGSTROM**2)

    def wave(self, atom: Atom, offset_angstrom: float) -> NDArray[np.complex64]:
        """Mean wave scattered by an atom at an offset along the pair's axis, (frequencies, probes).

        As seen at height 0.
        """
        index = np.fft.fftfreq(self._points, 1.0 / self._points)
        frequency = np.hypot(index[:, None], index) / _CELL_ANGSTROM
        limit = (_MAX_ANGLE_MRAD + CONVERGENCE_MRAD) * 1e-3 / self._wavelength
        amplitude = _interpolate(atom.amplitude, frequency) * (frequency < limit)
        shifted = amplitude * np.exp(-2j * np.pi * index * offset_angstrom / _CELL_ANGSTROM)
        here = ifft2(shifted.astype(np.complex64), norm="forward")
        spectra = fft2(self._beam_at(atom.height_angstrom) * here, norm="forward", overwrite_x=True)
        rows, columns = np.round(self._scattered.T * _CELL_ANGSTROM).astype(int)
        return np.asarray(spectra[:, rows, columns].T * self._chirp(self._scattered, atom)[:, None])

    @lru_cache(maxsize=3)  # noqa: B019 - an integral lives as long as one piece of work
    def _beam_at(self, height_angstrom: float) -> NDArray[np.complex64]:
        """Probe at each position as it reaches a height, on a grid in real space, (probes, rows, columns)."""
        frequencies, weight = self._beam
        spectra = np.zeros((len(self._probes), self._points, self._points), np.complex64)
        rows, columns = np.round(frequencies.T * _CELL_ANGSTROM).astype(int)
        before = np.exp(-1j * np.pi * self._wavelength * height_angstrom * np.sum(frequencies**2, axis=1))
        spectra[:, rows, columns] = (self._arrival(frequencies) * (weight * before)[:, None]).T
        beam = ifft2(spectra, norm="forward", overwrite_x=True)
        # Weights averaged over the pixels of the aperture damp the probe's tails.
        place = np.fft.fftfreq(self._points) * _CELL_ANGSTROM
        for axis, view in ((0, np.s_[:, :, None]), (1, np.s_[:, None, :])):
            distance = place - self._probes[:, axis, None]
            beam /= _pixel_average(distance)[view]
        return np.asarray(beam)

    def _chirp(self, frequencies: NDArray[np.float64], atom: Atom) -> NDArray[np.complex64]:
        """Phases that take waves from an atom's height back to height 0."""
        squares = np.sum(frequencies**2, axis=1)
        phases = np.exp(1j * np.pi * self._wavelength * atom.height_angstrom * squares)
        return np.asarray(phases, dtype=np.complex64)

    def echo(self, atom: Atom, offset_angstrom: float) -> list[NDArray[np.complex64]]:
        """What turns a wave that reaches an atom into its term in each ring inside the direct beam.

        The direct beam of a ring, followed back through the atom: of shape (near frequencies, probes) a ring.
        """
        near, echoes = self._scattered[self._near], []
        for _, members, weight in self._rim:
            frequencies = self._scattered[members]
            step = frequencies[:, None] - near[None]
            matrix = _interpolate(atom.amplitude, np.hypot(step[..., 0], step[..., 1]).astype(np.float32))
            after, before = (
                self._chirp(k, atom) * np.exp(-2j * np.pi * k[:, 1] * offset_angstrom)
                for k in (frequencies, near)
            )
            weighted = weight * after * self._norm / _CELL_ANGSTROM**2
            away = self._probes - np.array([0.0, offset_angstrom])
            beam = self._arrival(frequencies).conj() * weighted[:, None] / _pixel_average(away).prod(axis=1)
            echo = matrix.T @ beam.astype(np.complex64)
            echoes.append(np.asarray(echo * (self._taper * before.conj()).astype(np.complex64)[:, None]))
        return echoes

    def _arrival(self, frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Phases of the incident plane waves with the probe at each position, (frequencies, probes)."""
        return np.asarray(np.exp(-2j * np.pi * (frequencies @ self._probes.T)))

    def interference(
        self, first: NDArray[np.complex64], second: NDArray[np.complex64], distance_angstrom: float
    ) -> NDArray[np.float32]:
        """Interference of two atoms' waves in every ring, of shape (rings, across, along)."""
        product = (
            2.0
            / float(_pixel_average(np.array(distance_angstrom)))
            * (first.real * second.real + first.imag * second.imag)
        )
        return self._on_grid(self._rings.T @ product)

    def double(
        self, wave: NDArray[np.complex64], echoes: Sequence[NDArray[np.complex64]]
    ) -> NDArray[np.float32]:
        """Double scattering into the direct beam, of the atom met first and the other's echoes."""
        term = np.zeros((self._rings.shape[1], wave.shape[1]), np.float32)
        near = wave[self._near]
        for (ring, _, _), echo in zip(self._rim, echoes, strict=True):
            term[ring] = 2.0 * (near.real * echo.real - near.imag * echo.imag).sum(axis=0)
        return self._on_grid(term)

    def columns(
        self, first: Sequence[Atom], second: Sequence[Atom], distance_angstrom: float
    ) -> NDArray[np.float32]:
        """Term of two columns a distance apart [Å]: the sum over their pairs of atoms."""
        terms = self._on_grid(np.zeros((self._rings.shape[1], len(self._probes)), np.float32))
        for one, two in product(first, second):
            early, late = (one, -distance_angstrom / 2), (two, distance_angstrom / 2)
            terms += self.interference(self.wave(*early), self.wave(*late), distance_angstrom)
            if one.height_angstrom > two.height_angstrom:
                early, late = late, early
            terms += self.double(self.wave(*early), self.echo(*late))
        return terms

    def _on_grid(self, term: NDArray[Any]) -> NDArray[np.float32]:
        """Term (rings, probes) on the grid of the probes."""
        return np.asarray(term.reshape(-1, ACROSS_ANGSTROM.size, ALONG_ANGSTROM.size), dtype=np.float32)


def _interpolate(amplitude: NDArray[np.complex64], frequency: NDArray[Any]) -> NDArray[np.complex64]:
    """Amplitude at frequencies [1/Å], linearly between those tabulated."""
    position = frequency / np.float32(FREQUENCIES[1])
    low = np.minimum(position.astype(np.int32), FREQUENCIES.size - 2)
    return np.asarray(amplitude[low] + (position - low).astype(np.float32) * np.diff(amplitude)[low])


def _pixel_average(distance_angstrom: NDArray[np.float64]) -> NDArray[np.float32]:
    """Factor by which averaging over pixels of the reciprocal cell damps what lies at a distance [Å].

    Along one axis; distances are taken to the nearest periodic image.
    """
    cells = distance_angstrom / _CELL_ANGSTROM
    return np.asarray(np.sinc(cells - np.round(cells)), dtype=np.float32)


def _disc(radius: float) -> NDArray[np.float64]:
    """Frequencies (row, column) of a square grid within a radius [1/Å], of shape (n, 2)."""
    count = int(np.ceil(radius * _CELL_ANGSTROM))
    axis = np.arange(-count, count + 1) / _CELL_ANGSTROM
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    inside = np.hypot(rows, columns) <= radius
    return np.stack([rows[inside], columns[inside]], axis=1)
