"""Defocus and low-order aberrations, as far as kernels of a perfect probe can carry them.

The kernels belong to an aberration-free probe in focus.  An incoherent image is the object's scattering
convolved with the probe's intensity, so another probe's image has its spectrum multiplied by the ratio
of the two probes' transfer functions.  That is exact for incoherent scattering and an approximation
where the annulus begins near the direct beam; `columnist validate physics` measures it for both detectors.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from drivers.contract.context import CONVERGENCE_MRAD, Context
from drivers.contract.errors import InputError
from sim_microscope.scattering import wavelength_angstrom

#: Largest phase at the aperture's rim [rad] that the transfer ratio has been checked for.
MAX_PHASE_RAD = 2 * np.pi


#: Extent of the probe that transfer functions are computed from [Å].
_EXTENT_ANGSTROM = 160.0


@dataclass(frozen=True)
class Aberrations:
    """Low-order aberrations of the probe, in Krivanek's notation.

    Parameters
    ----------
    defocus_angstrom : float
        C1,0 [Å]; positive where the beam is focused in front of the layer.
    astigmatism_angstrom : float
        Size of the twofold astigmatism C1,2 [Å].
    astigmatism_deg : float
        Its azimuth, from the column axis towards the row axis.
    spherical_um : float
        C3,0 [µm].
    """

    defocus_angstrom: float = 0.0
    astigmatism_angstrom: float = 0.0
    astigmatism_deg: float = 0.0
    spherical_um: float = 0.0

    def phase(
        self, rows: NDArray[np.float64], columns: NDArray[np.float64], energy_kev: float
    ) -> NDArray[np.float64]:
        """Aberration function χ [rad] at spatial frequencies [1/Å] that broadcast together."""
        wavelength = wavelength_angstrom(energy_kev)
        theta2 = wavelength**2 * (rows**2 + columns**2)
        azimuth = np.arctan2(rows, columns) - np.deg2rad(self.astigmatism_deg)
        twofold = self.astigmatism_angstrom * np.cos(2 * azimuth)
        path = (self.defocus_angstrom + twofold) * theta2 / 2 + self.spherical_um * 1e4 * theta2**2 / 4
        return np.asarray(2 * np.pi / wavelength * path)


def is_incoherent(context: Context) -> bool:
    """Whether a context's image is incoherent enough for the transfer ratio: the annulus begins at 2α.

    Measured with 30 Å of defocus on WSe2 (`docs/physics.md`): 4 % of the image's spread at 68-280 mrad,
    36 % at 30-120 mrad.
    """
    return context.detector.inner_mrad >= 2 * context.convergence_mrad


@dataclass(frozen=True)
class ProbeTransfer:
    """Ratio of an aberrated probe's transfer function to the perfect one's.

    Parameters
    ----------
    aberrations : Aberrations
        Of the probe.
    energy_kev : float
        Beam energy [keV].

    Raises
    ------
    InputError
        If the phase at the aperture's rim exceeds `MAX_PHASE_RAD`.
    """

    aberrations: Aberrations
    energy_kev: float

    def __post_init__(self) -> None:
        rim = CONVERGENCE_MRAD * 1e-3 / wavelength_angstrom(self.energy_kev)
        turn = np.linspace(0, 2 * np.pi, 73)
        largest = np.abs(
            self.aberrations.phase(rim * np.sin(turn), rim * np.cos(turn), self.energy_kev)
        ).max()
        if largest > MAX_PHASE_RAD:
            raise InputError(
                f"{self.aberrations} turns the phase at the aperture's rim by {largest:.1f} rad; kernels "
                f"carry up to {MAX_PHASE_RAD:.1f} rad; reduce the aberrations or use --method multislice"
            )

    def __call__(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factor at spatial frequencies [1/Å]: rows (n,) by columns (m,), in any order."""
        transfer, step = _ratio(self.aberrations, self.energy_kev)
        middle = transfer.shape[0] // 2
        where = np.meshgrid(rows / step + middle, columns / step + middle, indexing="ij")
        return np.asarray(map_coordinates(transfer, np.stack(where), order=1, mode="constant"))


@lru_cache(maxsize=4)
def _ratio(aberrations: Aberrations, energy_kev: float) -> tuple[NDArray[np.float64], float]:
    """Transfer ratio on a grid of its own, centred on frequency 0, and the grid's step [1/Å]."""
    cutoff = 2e-3 * CONVERGENCE_MRAD / wavelength_angstrom(energy_kev)
    points = int(2.2 * cutoff * _EXTENT_ANGSTROM) // 2 * 2
    frequency = np.asarray(np.fft.fftfreq(points, _EXTENT_ANGSTROM / points), np.float64)
    aperture = np.hypot(frequency[:, None], frequency) <= cutoff / 2
    chi = aberrations.phase(frequency[:, None], frequency[None], energy_kev)
    perfect, actual = (
        np.fft.fft2(np.abs(np.fft.ifft2(pupil)) ** 2).real
        for pupil in (aperture.astype(complex), aperture * np.exp(-1j * chi))
    )
    perfect, actual = perfect / perfect[0, 0], actual / actual[0, 0]
    carried = perfect > 1e-3
    ratio = np.where(carried, actual / np.where(carried, perfect, 1.0), 0.0)
    return np.fft.fftshift(ratio), 1.0 / _EXTENT_ANGSTROM
