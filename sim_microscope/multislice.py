"""Multislice by abTEM, with the three quantities that a grid gets wrong put in exactly.

Waves, propagation and transmission are abTEM's, on the CPU or (CuPy) the GPU.  Replaced are the atoms'
transmission functions (`sim_microscope.scattering`), the aperture, whose edge pixels carry the fraction
of their area inside it (a hard or softened edge is wrong by 1 to 3 % of the image in a 16 Å cell), and
the detector rings, likewise.  Each plane of atoms is one slice at its true height.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim_microscope.wave_grid import Plane, WaveGrid, plane_transmission


class Multislice:
    """Waves through planes of atoms, by abTEM.

    Parameters
    ----------
    grid : WaveGrid
        Cell and energy.
    semiangle_mrad : float
        Convergence semi-angle [mrad].
    edges_mrad : ndarray of shape (rings + 1,)
        Edges of the detector rings [mrad], increasing.
    device : {"cpu", "gpu"}
        Where abTEM works; "gpu" needs CuPy.
    aberration : ndarray of shape (rows, columns), optional
        Phase of the aperture function [rad], in FFT order.
    """

    def __init__(
        self,
        grid: WaveGrid,
        semiangle_mrad: float,
        edges_mrad: NDArray[np.float64],
        *,
        device: str = "cpu",
        aberration: NDArray[np.float64] | None = None,
    ):
        import abtem
        from abtem.core.backend import get_array_module
        from abtem.multislice import FresnelPropagator

        # Plans by measurement take what was fastest at the moment: each process rounds in its own way.
        abtem.config.set({"fftw.planning_effort": "FFTW_ESTIMATE"})
        self.grid = grid
        self._xp = get_array_module(device)
        aperture = grid.aperture(semiangle_mrad).astype(np.complex128)
        if aberration is not None:
            aperture = aperture * np.exp(-1j * aberration)
        self._aperture = aperture * (grid.gpts[0] * grid.gpts[1])
        rings = grid.ring_weights(edges_mrad)
        # Most pixels lie beyond the outermost ring: gather the others alone.
        self._detected = np.flatnonzero(np.diff(rings.indptr))
        self._rings = rings[self._detected]
        self._semiangle, self._edges = semiangle_mrad * 1e-3, edges_mrad
        self._propagator = FresnelPropagator()

    @cached_property
    def captured(self) -> float:
        """Fraction of a probe's intensity that the cell holds; the rest lies in the tail beyond it."""
        center = np.array(self.grid.extent) / 2
        wave = self.probes(center[None], 0.0).array[0]
        pixel = self.grid.extent[0] * self.grid.extent[1] / (self.grid.gpts[0] * self.grid.gpts[1])
        return float((self._xp.abs(wave) ** 2).sum()) * pixel / (self.grid.extent[0] * self.grid.extent[1])

    def probes(self, positions: NDArray[np.float64], height_angstrom: float) -> Any:
        """Probes at positions (n, 2) [Å], in focus at height 0, seen at a height, as abTEM waves."""
        defocus = np.exp(-1j * np.pi * self.grid.wavelength * self.grid.radial_frequency**2 * height_angstrom)
        spectrum = np.stack([self._aperture * defocus * self.grid.shift(p) for p in positions])
        waves = self._waves(spectrum.astype(np.complex64))
        waves.array[:] /= self._xp.asarray(np.stack([self._box_average(p) for p in positions]))
        return waves

    def _waves(self, array: NDArray[np.complex64], *, reciprocal_space: bool = True) -> Any:
        """Waves of abTEM in real space, from them or their spectra (waves, rows, columns)."""
        from abtem.core.axes import OrdinalAxis
        from abtem.waves import Waves

        return Waves(
            self._xp.asarray(array),
            energy=self.grid.energy_kev * 1e3,
            extent=self.grid.extent,
            reciprocal_space=reciprocal_space,
            ensemble_axes_metadata=[OrdinalAxis(values=tuple(range(len(array))))],
        ).ensure_real_space()

    def _through(
        self, waves: Any, planes: Sequence[Plane], transmissions: Sequence[NDArray[np.complex64]]
    ) -> Any:
        """Waves behind the last of some planes, from those in front of the first."""
        for index, (plane, transmission) in enumerate(zip(planes, transmissions, strict=True)):
            if index:
                waves = self.propagate(waves, plane.height_angstrom - planes[index - 1].height_angstrom)
            waves = self.transmit(waves, transmission)
        return waves

    def _host(self, array: Any) -> NDArray[np.float64]:
        """Array in the host's memory."""
        return np.asarray(array if self._xp is np else array.get(), dtype=np.float64)

    def _box_average(self, position: NDArray[np.float64]) -> NDArray[np.float32]:
        """Factor by which averaging the aperture over its pixels damps the tails of a probe.

        The average over a pixel of reciprocal space multiplies the wave by the pixel's transform, a sinc
        of the distance from the probe; divided out, the tails are those of an infinite cell.
        """
        factors = []
        for axis in range(2):
            length, count = self.grid.extent[axis], self.grid.gpts[axis]
            distance = np.arange(count) / count - position[axis] / length
            factors.append(np.sinc(distance - np.round(distance)))
        return np.asarray(factors[0][:, None] * factors[1], dtype=np.float32)

    def transmit(self, waves: Any, transmission: NDArray[np.complex64]) -> Any:
        """Waves behind a plane of the given transmission function; the input is not modified."""
        from abtem.potentials.iam import TransmissionFunction

        function = TransmissionFunction(
            self._xp.asarray(transmission[None]),
            slice_thickness=1.0,
            extent=self.grid.extent,
            energy=self.grid.energy_kev * 1e3,
        )
        return function.transmit(waves.copy())

    def propagate(self, waves: Any, distance_angstrom: float) -> Any:
        """Waves a distance further along the beam."""
        return self._propagator.propagate(waves, thickness=distance_angstrom)

    def detect(self, waves: Any) -> NDArray[np.float64]:
        """Intensity in every ring, of shape (waves, rings), for an incident intensity of 1."""
        spectrum = waves.ensure_reciprocal_space().array
        pixels = self.grid.gpts[0] * self.grid.gpts[1]
        detected = spectrum.reshape(len(spectrum), pixels)[:, self._xp.asarray(self._detected)]
        return np.asarray(self._host(self._xp.abs(detected) ** 2) / pixels**2 @ self._rings)

    def contrast(
        self, planes: Sequence[Plane], positions: NDArray[np.float64], *, batch: int = 8
    ) -> NDArray[np.float64]:
        """Ring intensities of a probe at each position, less those without a specimen.

        The difference leaves out what the grid gets wrong about the direct beam where a ring cuts it,
        which is known exactly: `sim_microscope.kernels.vacuum_intensity`.

        Parameters
        ----------
        planes : sequence of Plane
            The specimen, in the order in which the beam meets it; not empty.
        positions : ndarray of shape (n, 2)
            Probe positions (row, column) [Å].
        batch : int
            Probes at once.

        Returns
        -------
        ndarray of shape (n, rings)
            Intensities, for an incident intensity of 1.
        """
        return np.asarray(self.contrasts([planes], positions, batch=batch)[0])

    def contrasts(
        self, specimens: Sequence[Sequence[Plane]], positions: NDArray[np.float64], *, batch: int = 8
    ) -> NDArray[np.float64]:
        """`contrast` of several specimens whose first planes have one height, (specimens, n, rings)."""
        transmissions = [[plane_transmission(self.grid, plane) for plane in planes] for planes in specimens]
        vacuum = self.detect(self.probes(positions[:1], 0.0))
        intensities = np.zeros((len(specimens), len(positions), self._rings.shape[1]))
        for start in range(0, len(positions), batch):
            here = slice(start, start + batch)
            waves = self.probes(positions[here], specimens[0][0].height_angstrom)
            for index, (planes, through) in enumerate(zip(specimens, transmissions, strict=True)):
                intensities[index, here] = self.detect(self._through(waves, planes, through))
        return intensities - vacuum

    def integral(self, planes: Sequence[Plane], *, batch: int = 8) -> NDArray[np.float64]:
        """Contrast of a column integrated over all probe positions, from plane waves along one direction.

        A probe averaged over its position is an incoherent sum of the plane waves of its aperture, so
        the sum needs no tails: what each wave loses from the direct beam, and where it is scattered to.

        Parameters
        ----------
        planes : sequence of Plane
            One column, in the order in which the beam meets it.
        batch : int
            Waves at once.

        Returns
        -------
        ndarray of shape (rings,)
            Integral of `contrast` over the plane [Å²].
        """
        rim = self._semiangle / self.grid.wavelength * self.grid.extent[1]
        count = int(rim + 0.5)
        inner = np.maximum(np.arange(count + 1) - 0.5, 0.0)
        outer = np.minimum(np.arange(count + 1) + 0.5, rim)
        shares = outer**2 - inner**2
        transmissions = [plane_transmission(self.grid, plane) for plane in planes]
        lost, scattered = 0.0, np.zeros(self._rings.shape[1])
        for start in range(0, count + 1, batch):
            beams = np.arange(start, min(start + batch, count + 1))
            columns = np.arange(self.grid.gpts[1]) / self.grid.gpts[1]
            ramps = np.exp(2j * np.pi * beams[:, None] * columns)[:, None].astype(np.complex64)
            incident = self._waves(np.repeat(ramps, self.grid.gpts[0], axis=1), reciprocal_space=False)
            waves = self._through(incident, planes, transmissions).ensure_reciprocal_space()
            direct = self._xp.abs(waves.array[np.arange(len(beams)), 0, beams]) ** 2
            waves.array[np.arange(len(beams)), 0, beams] = 0.0
            weights = shares[beams] / shares.sum()
            lost += float(weights @ (1.0 - self._host(direct) / (self.grid.gpts[0] * self.grid.gpts[1]) ** 2))
            scattered += weights @ self.detect(waves)
        area = self.grid.extent[0] * self.grid.extent[1]
        edges = np.minimum(self._edges, self._semiangle * 1e3) ** 2
        return np.asarray(area * (scattered - lost * np.diff(edges) / (self._semiangle * 1e3) ** 2))
