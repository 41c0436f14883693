"""How one atom changes the electron wave: its transmission function, exact on any grid.

A grid that samples an atom's projected potential and takes the exponential there, as multislice
programs do, misses the logarithmic cusp at the nucleus: the image then depends on where in a pixel the
atom sits, by several percent at 0.05 Å.  Here the transmission function is transformed analytically
instead, F(k) = 2π ∫ (exp(iσV(r)) - 1) J0(2πkr) r dr with the integral refined towards the nucleus, so
that a band-limited grid receives exact Fourier coefficients at any sub-pixel position.  The decision
record `docs/decisions/0002-exact-transmission.md` holds the measurements.
"""

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0

from drivers.contract.materials import ATOMIC_NUMBERS

#: Spatial frequencies [1/Å] at which amplitudes are tabulated; 20 /Å is 740 mrad at 100 keV.
FREQUENCIES = np.linspace(0.0, 20.0, 1001)

#: Root-mean-square displacement per axis at room temperature [Å].
#:
#: Equipartition, u² = k_B T / K at T = 300 K, with an on-site force constant K of 8 eV/Å² for 4d and 5d
#: metals, 6 for the softer 3d metals and 5.5 for chalcogens.  Lattice dynamics of 2H-MoS2 (Feldman and
#: Boyer, 1981, 10.1016/0038-1098(81)90497-6) puts metal and chalcogen on one such scale.  They are
#: estimates, good to some 15 %: `columnist kernels study` prints what that does to the column ratios.
_FORCE_CONSTANTS_EV_PER_A2 = {"3d": 6.0, "4d5d": 8.0, "chalcogen": 5.5}
_THERMAL_ENERGY_EV = 8.617333e-5 * 300.0


def rms_displacement_angstrom(symbol: str) -> float:
    """Root-mean-square thermal displacement per axis of an atom at 300 K [Å].

    Equipartition with the on-site force constants documented at `_FORCE_CONSTANTS_EV_PER_A2`.
    """
    number = ATOMIC_NUMBERS[symbol]
    shell = "chalcogen" if symbol in ("S", "Se", "Te") else "3d" if number <= 30 else "4d5d"
    return float(np.sqrt(_THERMAL_ENERGY_EV / _FORCE_CONSTANTS_EV_PER_A2[shell]))


def wavelength_angstrom(energy_kev: float) -> float:
    """Relativistic electron wavelength [Å] (CODATA 2018 constants).

    Written out so that rendering frames needs no abTEM; a test compares the two.
    """
    return float(12.2642596 / np.sqrt(energy_kev * 1e3 * (1.0 + 0.978475598e-6 * energy_kev * 1e3)))


def radial_quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radii [Å] and weights of ∫ dr: Gauss-Legendre in ln r below 0.01 Å, in r from there to 12 Å."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    radii, steps = [], []
    for low in range(-8, -2):
        start, stop = np.log(10.0) * low, np.log(10.0) * (low + 1)
        r = np.exp((start + stop) / 2 + (stop - start) / 2 * nodes)
        radii.append(r)
        steps.append((stop - start) / 2 * weights * r)
    edges = np.linspace(0.01, 12.01, 121)
    for start, stop in pairwise(edges):
        radii.append((start + stop) / 2 + (stop - start) / 2 * nodes)
        steps.append((stop - start) / 2 * weights)
    return np.concatenate(radii), np.concatenate(steps)


@cache
def scattering_amplitude(symbol: str, energy_kev: float) -> NDArray[np.complex128]:
    """Fourier transform of an atom's transmission function less one.

    The projected potential is Lobato and Van Dyck's (2014, 10.1107/S205327331401643X) as abTEM
    evaluates it; the atom is one plane (the eikonal or Molière approximation).

    Parameters
    ----------
    symbol : str
        Element.
    energy_kev : float
        Beam energy [keV].

    Returns
    -------
    ndarray of shape (1001,)
        F(k) at `FREQUENCIES` [Å²].
    """
    from abtem.core.energy import energy2sigma
    from abtem.parametrizations import LobatoParametrization

    radii, steps = radial_quadrature()
    potential = LobatoParametrization().projected_potential(symbol)(radii)
    integrand = (np.exp(1j * energy2sigma(energy_kev * 1e3) * potential) - 1.0) * radii * steps * 2 * np.pi
    return np.asarray(j0(2 * np.pi * FREQUENCIES[:, None] * radii) @ integrand)
