"""Carbon that gathers on the specimen, where it was and where the beam brings it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from drivers.contract.context import Context
from drivers.contract.errors import InputError
from sim_microscope.scattering import wavelength_angstrom

#: Atoms of amorphous carbon at 2 g/cm³ [1/Å³]; atomic number; Bohr radius [Å]; electron's rest energy [keV].
_ATOMS_PER_A3, _CARBON, _BOHR_ANGSTROM, _REST_KEV = 0.1, 6, 0.529177211, 510.99895

#: Standard deviation of the image of a carbon atom before the source blurs it [Å]: about that of the probe.
_PROBE_ANGSTROM = 0.4

#: Waves that the relief is the sum of.
_WAVES = 24


def scattered_per_nm(context: Context) -> float:
    """Fraction of the beam that a nanometre of amorphous carbon scatters onto the detector."""
    return scattered_by_atom_a2(context) * _ATOMS_PER_A3 * 10.0


def scattered_by_atom_a2(context: Context) -> float:
    """Cross section [Å²] of a carbon atom for scattering onto the detector.

    Rutherford's law, integrated over the annulus: right to some ten percent from 30 mrad, where carbon's
    screening hardly counts.

    Raises
    ------
    InputError
        If the detector begins on the axis, where Rutherford's law knows no end.
    """
    if context.detector.inner_mrad == 0:
        raise InputError(
            f"contamination on {context.detector.name}, which begins at 0 mrad: what carbon adds is known of "
            "annular detectors alone"
        )
    wavenumber = 2 * np.pi / wavelength_angstrom(context.energy_kev)
    gamma = 1 + context.energy_kev / _REST_KEV
    inner, outer = context.detector.inner_mrad * 1e-3, context.detector.outer_mrad * 1e-3
    area_a2 = 4 * np.pi * (_CARBON * gamma / _BOHR_ANGSTROM) ** 2 / wavenumber**4
    return float(area_a2 * (1 / inner**2 - 1 / outer**2))


def draw_grain(
    shape: tuple[int, int], step_angstrom: float, source_sigma_angstrom: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw how atoms crowd here and there: their deviation on a square ångström over its root [1/Å].

    Smoothed by the image of one atom: probe, then source (standard deviation [Å]).
    """
    sigma_px = float(np.hypot(source_sigma_angstrom, _PROBE_ANGSTROM)) / step_angstrom
    noise = gaussian_filter(rng.standard_normal(shape, np.float32), sigma_px, mode="wrap")
    return np.asarray(noise / np.float32(step_angstrom))


def with_grain(background: NDArray[np.float64], grain: NDArray[Any], atom_a2: float) -> NDArray[np.float64]:
    """The background of carbon with the chance of where its atoms lie, nowhere negative.

    Parameters
    ----------
    background : ndarray of shape (M, N)
        Mean background, as a fraction of the incident beam.
    grain : ndarray of shape (M, N)
        From `draw_grain`.
    atom_a2 : float
        From `scattered_by_atom_a2`.
    """
    mean = np.maximum(background, 0.0)
    return np.asarray(np.maximum(mean + np.sqrt(mean * atom_a2) * grain, 0.0))


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
