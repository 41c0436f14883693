"""The proof of the kernels: their sums against full multislice of whole crystals."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from drivers.contract.context import CONVERGENCE_MRAD, DETECTORS, Context, Detector, Specimen
from drivers.contract.materials import find_host
from sim_microscope.aberrations import Aberrations, ProbeTransfer
from sim_microscope.crystal import STATES, Crystal, States, build_periodic
from sim_microscope.field import Raster, field_kernels, render
from sim_microscope.kernels import KernelTable, vacuum_intensity
from sim_microscope.pair_build import compress_pairs, compute_pairs, compute_remainders
from sim_microscope.pairs import site_contents, site_key
from sim_microscope.reference import Beam, periodic_mean, scan_crystal
from sim_microscope.scattering import wavelength_angstrom

#: Standard deviation of a realistic source [Å].
SOURCE_SIGMA_ANGSTROM = 0.45

#: Targets: rms difference over the image's standard deviation, and the thermal average over the peak.
TARGETS = {"worst_rms_haadf": 0.005, "worst_rms_maadf": 0.015, "worst_thermal": 0.01}

#: Crystals that between them hold light and heavy hosts, every chalcogen and all three energies.
CASES = (
    ("WSe2", "Ti", 80),
    ("MoS2", "Re", 60),
    ("TiS2", "Nb", 100),
    ("WTe2", "V", 60),
    ("NbSe2", "Cr", 80),
    ("TaS2", "Fe", 100),
)


@dataclass(frozen=True)
class Case:
    """A periodic crystal with every class of column, at one energy.

    Parameters
    ----------
    crystal : Crystal
        Columns of one period.
    period_angstrom : tuple of float
        Period along (row, column) [Å].
    energy_kev : int
        Beam energy.
    """

    crystal: Crystal
    period_angstrom: tuple[float, float]
    energy_kev: int

    @property
    def points(self) -> tuple[int, int]:
        """Probe positions along (row, column) that hold all of the image's spatial frequencies."""
        step = wavelength_angstrom(self.energy_kev) / (4e-3 * CONVERGENCE_MRAD)
        rows, columns = (int(np.ceil(length / step)) for length in self.period_angstrom)
        return rows, columns

    def positions(self) -> NDArray[np.float64]:
        """Probe positions (row, column) [Å], of shape (rows * columns, 2)."""
        rows, columns = (np.arange(n) * d / n for n, d in zip(self.points, self.period_angstrom, strict=True))
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)

    def repeated(self) -> Crystal:
        """The crystal with enough periods around it for windows and kernels."""
        periods = np.array([(i, j) for i in range(-2, 4) for j in range(-2, 4)]) * self.period_angstrom
        positions = (self.crystal.positions + periods[:, None]).reshape(-1, 2)
        count = len(periods)
        return Crystal(
            self.crystal.specimen,
            positions,
            np.tile(self.crystal.states, count),
            np.tile(self.crystal.grains, count),
        )


def make_case(host: str, dopant: str, energy_kev: int, cells: tuple[int, int] = (2, 4)) -> Case:
    """Crystal with two single vacancies (top, bottom), a double vacancy and two dopants, off the grid."""
    crystal, period = build_periodic(Specimen(host=host, dopant=dopant), cells)
    states = crystal.states.copy()
    metals, chalcogens = np.flatnonzero(crystal.is_metal_site), np.flatnonzero(~crystal.is_metal_site)
    placed: list[tuple[NDArray[np.int64], float, States]] = [
        (chalcogens, 0.1, "X1top"),
        (chalcogens, 0.4, "X1bottom"),
        (chalcogens, 0.7, "empty"),
        (metals, 0.3, "dopant"),
        (metals, 0.8, "dopant"),
    ]
    for sites, fraction, state in placed:
        states[sites[int(fraction * len(sites))]] = STATES.index(state)
    moved = crystal.positions + np.array([0.05, 0.03])
    return Case(replace(crystal, positions=moved, states=states), period, energy_kev)


def blur_periodic(
    image: NDArray[np.float64], period: tuple[float, float], sigma_angstrom: float
) -> NDArray[np.float64]:
    """Blur one period of an image by a Gaussian source, exactly."""
    rows, columns = (np.fft.fftfreq(n, d / n) for n, d in zip(image.shape, period, strict=True))
    damping = np.exp(-2 * (np.pi * sigma_angstrom * np.hypot(rows[:, None], columns)) ** 2)
    return np.asarray(np.fft.ifft2(np.fft.fft2(image) * damping).real)


def kernel_image(
    case: Case,
    table: KernelTable,
    detector: Detector,
    *,
    aberrations: Aberrations | None = None,
    neighbours: bool = True,
) -> NDArray[np.float64]:
    """Image of a case at rest from kernels, at its probe positions and before the source's blur."""
    specimen = case.crystal.specimen
    context = Context(specimen=specimen, energy_kev=float(case.energy_kev), detector=detector)
    pairs = None
    if neighbours:
        pairs = _static_pairs(specimen.host, str(specimen.dopant), case.energy_kev)
    kernels = field_kernels(context, table, pairs, thermal=False)
    transfer = None if aberrations is None else ProbeTransfer(aberrations, context.energy_kev)
    # The renderer's rasters are square: take a fine one and interpolate at the probe positions.
    step, border = case.period_angstrom[1] / 200, 6
    shape = (int(np.ceil(case.period_angstrom[0] / step)) + 2 * border, 200 + 2 * border)
    raster = Raster(shape, step, (-border * step, -border * step))
    fine = render(case.repeated(), kernels, raster, transfer=transfer).astype(np.float64)
    where = (case.positions() / step + border).T
    return np.asarray(map_coordinates(fine, where, order=5)).reshape(case.points)


_PAIRS: dict[tuple[str, str, int], Any] = {}


def _static_pairs(host: str, dopant: str, energy_kev: int) -> Any:
    """Pair terms at rest, computed once."""
    key = (host, dopant, energy_kev)
    if key not in _PAIRS:
        names, terms = compute_pairs(host, (dopant,), energy_kev, thermal=False)
        left = compute_remainders(host, (dopant,), energy_kev, terms, thermal=False)
        sites = [site_key(host, content) for content in site_contents(find_host(host), (dopant,))]
        _PAIRS[key] = compress_pairs(
            names, (energy_kev,), terms[:, None], sites, left[:, None], rank=len(names)
        )
    return _PAIRS[key]


@dataclass(frozen=True)
class Comparison:
    """Kernels against multislice on one crystal and detector, after the source's blur.

    Parameters
    ----------
    kernels, reference : ndarray
        The images, as fractions of the incident beam.
    """

    kernels: NDArray[np.float64]
    reference: NDArray[np.float64]

    @property
    def figures(self) -> dict[str, float]:
        """Differences relative to the reference's standard deviation; the constant is part of the rms."""
        difference, spread = self.kernels - self.reference, self.reference.std()
        return {
            "rms_relative": float(np.sqrt(np.mean(difference**2)) / spread),
            "rms_relative_without_constant": float(difference.std() / spread),
            "constant_relative": float(difference.mean() / spread),
        }


def compare(
    case: Case,
    table: KernelTable,
    *,
    workers: int,
    aberrations: Aberrations | None = None,
    on_done: Callable[[int], None] = lambda probes: None,
) -> dict[str, tuple[Comparison, Comparison]]:
    """Multislice of a case once, and kernels for each detector: with neighbours, and columns alone.

    Returns
    -------
    dict of tuple of Comparison
        By detector name.
    """
    edges = sorted({angle for d in DETECTORS.values() for angle in (d.inner_mrad, d.outer_mrad)})
    beam = Beam(float(case.energy_kev), tuple(edges), aberrations=aberrations or Aberrations())
    rings = scan_crystal(case.repeated(), case.positions(), beam, workers=workers, on_done=on_done)
    rings += periodic_mean(case.crystal, case.period_angstrom, beam) - rings.mean(axis=0)
    result = {}
    for name, detector in DETECTORS.items():
        first, last = edges.index(detector.inner_mrad), edges.index(detector.outer_mrad)
        reference = rings[:, first:last].sum(axis=1).reshape(case.points) + vacuum_intensity(detector)
        blurred = blur_periodic(reference, case.period_angstrom, SOURCE_SIGMA_ANGSTROM)
        both = []
        for neighbours in (True, False):
            image = kernel_image(case, table, detector, aberrations=aberrations, neighbours=neighbours)
            both.append(
                Comparison(blur_periodic(image, case.period_angstrom, SOURCE_SIGMA_ANGSTROM), blurred)
            )
        result[name] = (both[0], both[1])
    return result


def compare_stock(
    case: Case, table: KernelTable, *, probes: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Kernels against abTEM as it comes, from `ase.Atoms`, at random probe positions and before the source.

    Nothing is shared but the potential's parameters: the transmission functions, the aperture and the
    detectors are abTEM's own, at a sampling of 0.03 Å in a cell of three periods.

    Returns
    -------
    dict of dict
        By detector: root mean square of the difference over the standard deviation of the image, its
        constant removed, and the slope of abTEM's intensities against the kernels'.
    """
    import abtem

    host, repeats = case.crystal.host, 3
    wrapped = replace(case.crystal, positions=np.mod(case.crystal.positions, case.period_angstrom))
    atoms = wrapped.atoms(case.period_angstrom, padding_angstrom=host.thickness_angstrom / 4)
    atoms = atoms.repeat((repeats, repeats, 1))
    lengths = atoms.cell.lengths()
    gpts = (int(lengths[0] / 0.03 / 2) * 2, int(lengths[1] / 0.03 / 2) * 2)
    potential = abtem.Potential(
        atoms,
        gpts=gpts,
        slice_thickness=host.thickness_angstrom / 2,
        projection="infinite",
        parametrization="lobato",
    )
    probe = abtem.Probe(
        energy=case.energy_kev * 1e3,
        semiangle_cutoff=CONVERGENCE_MRAD,
        defocus=host.thickness_angstrom / 2,
    )
    probe.grid.match(potential)
    chosen = np.random.default_rng(seed).choice(case.points[0] * case.points[1], probes, replace=False)
    places = case.positions()[chosen] + np.array(case.period_angstrom)
    annuli: Any = [abtem.AnnularDetector(d.inner_mrad, d.outer_mrad) for d in DETECTORS.values()]
    measured: Any = probe.scan(potential, scan=abtem.CustomScan(places[:, ::-1]), detectors=annuli)
    figures = {}
    for (name, detector), one in zip(DETECTORS.items(), measured, strict=True):
        stock = np.asarray(one.compute(progress_bar=False).array, dtype=np.float64)
        image = kernel_image(case, table, detector)
        ours = image.ravel()[chosen]
        slope = float(np.polyfit(ours, stock, 1)[0])
        figures[name] = {"rms_without_constant": float((stock - ours).std() / image.std()), "slope": slope}
    return figures
