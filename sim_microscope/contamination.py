"""Carbon that gathers on the specimen, where it was and where the beam brings it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import Context
from sim_microscope.scattering import wavelength_angstrom

#: Atoms of amorphous carbon at 2 g/cm³ [1/Å³]; atomic number; Bohr radius [Å]; electron's rest energy [keV].
_ATOMS_PER_A3, _CARBON, _BOHR_ANGSTROM, _REST_KEV = 0.1, 6, 0.529177211, 510.99895

#: Waves that the relief is the sum of.
_WAVES = 24


def scattered_per_nm(context: Context) -> float:
    """Fraction of the beam that a nanometre of amorphous carbon scatters onto the detector.

    Rutherford's law, integrated over the annulus: right to some ten percent from 30 mrad, where carbon's
    screening hardly counts.
    """
    wavenumber = 2 * np.pi / wavelength_angstrom(context.energy_kev)
    gamma = 1 + context.energy_kev / _REST_KEV
    inner, outer = context.detector.inner_mrad * 1e-3, context.detector.outer_mrad * 1e-3
    area_a2 = 4 * np.pi * (_CARBON * gamma / _BOHR_ANGSTROM) ** 2 / wavenumber**4
    return float(area_a2 * (1 / inner**2 - 1 / outer**2) * _ATOMS_PER_A3 * 10.0)


@dataclass(frozen=True)
class Relief:
    """Smooth pattern of the carbon's thickness, fixed to the specimen: mean 1, nowhere negative.

    Parameters
    ----------
    waves : ndarray of shape (n, 2)
        Wave vectors (row, column) [rad/Å].
    phases : ndarray of shape (n,)
        Their phases [rad].
    """

    waves: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, length_nm: float = 3.0) -> "Relief":
        """Draw a pattern that varies over a length [nm]."""
        directions = rng.uniform(0, 2 * np.pi, _WAVES)
        sizes = rng.uniform(0.3, 1.0, _WAVES) / (length_nm * 10)
        waves = np.stack([np.sin(directions), np.cos(directions)], axis=1) * sizes[:, None]
        return cls(waves, rng.uniform(0, 2 * np.pi, _WAVES))

    def at(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Relative thickness at specimen positions (..., 2) [Å]."""
        height = np.cos(positions @ self.waves.T + self.phases).mean(axis=-1) * np.sqrt(2 * _WAVES)
        # Squared, a sum of many waves is nowhere negative and has mean 1.
        return np.asarray(height**2)
