"""Full multislice of any crystal: the reference that the kernels are checked against.

The field is cut into tiles.  Around each tile a window of the crystal goes through multislice with a
probe at every point of the tile; the probe is then at least `MARGIN_ANGSTROM` from the window's edge.
Where an annulus cuts the direct beam the window makes the image too bright by a constant, 1 to 3 % of its
spread in MAADF; for a periodic crystal `periodic_mean` knows the constant.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft2, ifft2

from drivers.contract.context import CONVERGENCE_MRAD
from sim_microscope.aberrations import Aberrations
from sim_microscope.crystal import STATES, Crystal
from sim_microscope.multislice import Multislice
from sim_microscope.scattering import FREQUENCIES, wavelength_angstrom
from sim_microscope.wave_grid import Plane, WaveGrid, plane_transmission
from sim_microscope.workers import worker_pool

#: Edge of a tile, and least distance between a probe and the edge of its window [Å].
TILE_ANGSTROM, MARGIN_ANGSTROM = 8.0, 12.0

#: How far beyond the outermost ring the grid carries waves [mrad].
_BEYOND_MRAD = 120.0


@dataclass(frozen=True)
class Beam:
    """The probe and what is detected of it.

    Parameters
    ----------
    energy_kev : float
        Beam energy [keV].
    edges_mrad : tuple of float
        Edges of the detector rings [mrad].
    convergence_mrad : float
        Convergence semi-angle [mrad].
    aberrations : Aberrations
        Of the probe.
    device : {"cpu", "gpu"}
        Where abTEM works.
    """

    energy_kev: float
    edges_mrad: tuple[float, ...]
    convergence_mrad: float = CONVERGENCE_MRAD
    aberrations: Aberrations = field(default_factory=Aberrations)
    device: str = "cpu"

    @property
    def max_angle_mrad(self) -> float:
        """Angle that the grid carries [mrad].

        What one atom scatters beyond the detector, the next in line scatters back into it: a grid that
        ends at the detector's edge is wrong by 2 % of the peak (X2 of WSe2 at 80 keV, 30-120 mrad), one that
        carries 80 mrad more by 0.03 %.
        """
        outer = self.edges_mrad[-1]
        known = 0.93e3 * FREQUENCIES[-1] * wavelength_angstrom(self.energy_kev)
        return float(max(outer * 1.002, 2.5 * self.convergence_mrad, min(outer + _BEYOND_MRAD, known)))


def crystal_planes(crystal: Crystal, displacements: NDArray[np.float64] | None = None) -> list[Plane]:
    """Planes of a crystal's atoms, in the order in which the beam meets them.

    Parameters
    ----------
    crystal : Crystal
        Columns.
    displacements : ndarray of shape (columns, 2, 2), optional
        Displacement (row, column) [Å] of the first and second atom of every column.
    """
    layers: dict[float, list[tuple[str, NDArray[np.float64]]]] = {}
    for index, (state, position) in enumerate(zip(crystal.states, crystal.positions, strict=True)):
        for order, (symbol, height) in enumerate(crystal.atoms_of(STATES[state])):
            moved = position if displacements is None else position + displacements[index, order]
            layers.setdefault(height, []).append((symbol, moved))
    return [
        Plane(tuple(symbol for symbol, _ in atoms), np.array([position for _, position in atoms]), height)
        for height, atoms in sorted(layers.items())
    ] or [Plane((), np.zeros((0, 2)), 0.0)]


def _scan_tile(
    crystal: Crystal, corner: NDArray[np.float64], positions: NDArray[np.float64], beam: Beam
) -> tuple[NDArray[np.float64], float]:
    """Ring contrast at the probe positions of one tile, and the part of a probe that its window holds."""
    import threadpoolctl

    size = TILE_ANGSTROM + 2 * MARGIN_ANGSTROM
    origin = corner - MARGIN_ANGSTROM
    inside = np.all((crystal.positions >= origin) & (crystal.positions < origin + size), axis=1)
    window = crystal.take(inside)
    window = Crystal(window.specimen, window.positions - origin, window.states, window.grains)
    grid = WaveGrid.for_angle((size, size), beam.energy_kev, beam.max_angle_mrad)
    rows, columns = grid.frequencies
    chi = beam.aberrations.phase(rows[:, None], columns[None], beam.energy_kev)
    with threadpoolctl.threadpool_limits(1):
        engine = Multislice(
            grid, beam.convergence_mrad, np.array(beam.edges_mrad), device=beam.device, aberration=chi
        )
        return engine.contrast(crystal_planes(window), positions - origin), engine.captured


def _scan_tiles(
    jobs: Sequence[tuple[Crystal, NDArray[np.float64], NDArray[np.float64], Beam]], workers: int
) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Scan tiles, here or in several processes, in their order."""
    if min(workers, len(jobs)) == 1:
        yield from (_scan_tile(*job) for job in jobs)
        return
    with worker_pool(min(workers, len(jobs))) as pool:
        futures = [pool.submit(_scan_tile, *job) for job in jobs]
        try:
            yield from (future.result() for future in futures)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def scan_crystal(
    crystal: Crystal,
    positions: NDArray[np.float64],
    beam: Beam,
    *,
    workers: int,
    on_done: Callable[[int], None] = lambda probes: None,
) -> NDArray[np.float64]:
    """Ring intensities of a probe at every position over a crystal at rest, less those in vacuum.

    Parameters
    ----------
    crystal : Crystal
        Columns; those up to `MARGIN_ANGSTROM` beyond the positions count.
    positions : ndarray of shape (n, 2)
        Probes (row, column) [Å].
    beam : Beam
        Probe and detector rings.
    workers : int
        Processes.
    on_done : callable
        Told the number of probes of every finished tile.

    Returns
    -------
    ndarray of shape (n, rings)
        Intensities, as fractions of the incident beam.
    """
    tiles, member = np.unique(np.floor(positions / TILE_ANGSTROM), axis=0, return_inverse=True)
    result = np.zeros((len(positions), len(beam.edges_mrad) - 1))
    groups = [np.flatnonzero(member.ravel() == tile) for tile in range(len(tiles))]
    jobs = [
        (crystal, tile * TILE_ANGSTROM, positions[group], beam)
        for tile, group in zip(tiles, groups, strict=True)
    ]
    for group, scan in zip(groups, _scan_tiles(jobs, workers), strict=True):
        result[group], captured = scan
        on_done(len(group))
    # The part of a probe's tail that lies beyond its window meets the same crystal there, out of focus of
    # any one column: it adds what an average position scatters.
    return np.asarray(result + (1.0 - captured) * result.mean(axis=0))


def periodic_mean(
    crystal: Crystal, period_angstrom: tuple[float, float], beam: Beam, *, waves: int = 300
) -> NDArray[np.float64]:
    """Mean over all probe positions of a periodic crystal's ring intensities, less those in vacuum.

    A probe averaged over its position is an incoherent sum of the plane waves of its aperture.  So the
    mean needs no window, whose edge cuts off the long tails that a probe has in a ring that cuts
    the direct beam.

    Parameters
    ----------
    crystal : Crystal
        Columns of one period, at rest.
    period_angstrom : tuple of float
        Period along (row, column) [Å].
    beam : Beam
        Probe and detector rings; its aberrations do not matter.
    waves : int
        Plane waves, spread evenly over the aperture.

    Returns
    -------
    ndarray of shape (rings,)
        Intensities, as fractions of the incident beam.
    """
    planes = crystal_planes(crystal)
    grid = WaveGrid.for_angle(period_angstrom, beam.energy_kev, beam.max_angle_mrad)
    rows, columns = grid.frequencies
    kept = grid.radial_frequency < grid.cutoff
    transmissions = [plane_transmission(grid, plane) for plane in planes]
    number = np.arange(waves)
    radius = beam.convergence_mrad * 1e-3 / grid.wavelength * np.sqrt((number + 0.5) / waves)
    turn = np.pi * (3.0 - np.sqrt(5.0)) * number
    edges = np.array(beam.edges_mrad)
    lost, scattered = np.zeros(waves), np.zeros(edges.size - 1)
    for index, tilt in enumerate(np.stack([radius * np.sin(turn), radius * np.cos(turn)], axis=1)):
        squares = (rows[:, None] + tilt[0]) ** 2 + (columns + tilt[1]) ** 2
        wave = transmissions[0].astype(np.complex128)
        for before, after, transmission in zip(planes, planes[1:], transmissions[1:], strict=False):
            distance = after.height_angstrom - before.height_angstrom
            chirp = np.exp(-1j * np.pi * grid.wavelength * distance * squares) * kept
            wave = ifft2(fft2(wave) * chirp) * transmission
        intensity = np.abs(fft2(wave, norm="forward") * kept) ** 2
        lost[index] = 1.0 - intensity[0, 0]
        intensity[0, 0] = 0.0
        angle = np.sqrt(squares) * grid.wavelength * 1e3
        scattered += np.histogram(angle, edges, weights=intensity)[0] / waves
    # The direct beam at the aperture's rim, where rings cut it: its share is known exactly.
    direct = np.diff(np.minimum(edges, beam.convergence_mrad) ** 2) / beam.convergence_mrad**2
    return np.asarray(scattered - direct * lost[waves // 2 :].mean())
