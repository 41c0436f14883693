"""Knock-on damage: what a beam electron can transfer to a chalcogen, and how often it throws it out.

An electron that is scattered straight back hands an atom of mass M at rest at most
2 E (E + 2 m c²) / (M c²).  The atom leaves if that exceeds its displacement threshold.  Atoms move, and
one that moves along the beam as it is hit takes more, so the threshold is soft: the cross-section of
McKinley and Feshbach (10.1103/PhysRev.74.1759) is averaged over the thermal velocity along the beam
(Meyer et al., 10.1103/PhysRevLett.108.196102).  Electronic excitation is not in it: below the threshold
real specimens suffer by other ways, see `docs/decisions/0035-beam-damage.md`.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from drivers.contract.errors import InputError, UnknownMaterialError
from drivers.contract.materials import ATOMIC_NUMBERS, HOSTS, find_host

#: Rest energy of the electron and of the atomic mass unit [keV] (CODATA 2018).
ELECTRON_KEV, ATOMIC_MASS_KEV = 510.99895, 931_494.10242

#: Standard atomic weights of the chalcogens [u] (IUPAC).
CHALCOGEN_MASSES_U = {"S": 32.06, "Se": 78.971, "Te": 127.60}

#: A barn [Å²].
BARN_A2 = 1e-8

#: Temperature of the specimen, and the Debye temperature of its vibrations along the beam [K].  At 300 K
#: the mean square velocity is the classical one but for 14 %; a Debye temperature of 300 to 600 K changes
#: the cross-section of MoS2 at 80 keV by -19 to +13 %, at 100 keV by 1 %.
TEMPERATURE_K, DEBYE_K = 300.0, 500.0

#: Boltzmann's constant [eV/K], fine structure constant, Bohr radius [Å], Rydberg energy [keV].
_BOLTZMANN_EV, _FINE_STRUCTURE, _BOHR_ANGSTROM, _RYDBERG_KEV = (
    8.617333e-5,
    7.2973526e-3,
    0.529177211,
    0.013605693,
)

#: Cross-section at which the beam counts as above the threshold [barn]: at 10^5 electrons a square
#: ångström, one chalcogen column in ten thousand.
ONSET_BARN = 0.1


@dataclass(frozen=True)
class DisplacementThreshold:
    """Energy that frees a chalcogen on the exit side of a monolayer at rest.

    Parameters
    ----------
    energy_ev : float
        Threshold [eV].
    is_published : bool
        Whether it is a published value of this compound; else it is an estimate from its chalcogen.
    source : str
        Where it comes from.
    """

    energy_ev: float
    is_published: bool
    source: str


_KOMSA = "Komsa et al., Phys. Rev. Lett. 109, 035503 (2012), 10.1103/PhysRevLett.109.035503"

_PUBLISHED_EV = {"MoS2": 6.9, "WS2": 7.0, "MoSe2": 6.4}

# By chalcogen, for compounds without a published value here.  Sulphides: the lower of the two known, rounded
# down, so that an interlock errs on the safe side.  Selenides and tellurides: at 100 keV an electron hands
# Se at most 3.0 eV and Te 1.9 eV, so that these decide nothing at the energies of the instrument.
_ESTIMATED_EV = {"S": 6.5, "Se": 6.0, "Te": 5.5}


def displacement_threshold(host_name: str) -> DisplacementThreshold:
    """Look the displacement threshold of a host's chalcogen up, or estimate it.

    Raises
    ------
    UnknownMaterialError
        If the host is unknown.
    """
    host = find_host(host_name)
    if host.name in _PUBLISHED_EV:
        return DisplacementThreshold(_PUBLISHED_EV[host.name], True, _KOMSA)
    return DisplacementThreshold(
        _ESTIMATED_EV[host.chalcogen], False, f"estimate for a chalcogen {host.chalcogen}, to some 0.7 eV"
    )


def max_transfer_ev(energy_kev: float, chalcogen: str) -> float:
    """Largest energy that a beam electron transfers to a chalcogen at rest [eV].

    Raises
    ------
    InputError
        If the energy is out of range, or the element no chalcogen of the hosts.
    """
    _check_energy(energy_kev)
    if chalcogen not in CHALCOGEN_MASSES_U:
        raise UnknownMaterialError(
            f"chalcogen {chalcogen!r} is unknown; known are {', '.join(CHALCOGEN_MASSES_U)}"
        )
    mass_kev = CHALCOGEN_MASSES_U[chalcogen] * ATOMIC_MASS_KEV
    return 2e3 * energy_kev * (energy_kev + 2 * ELECTRON_KEV) / mass_kev


def static_threshold_kev(host_name: str) -> float:
    """Beam energy whose largest transfer just reaches the host's displacement threshold [keV]."""
    host = find_host(host_name)
    wanted_kev2 = displacement_threshold(host_name).energy_ev * 1e-3 / 2
    wanted_kev2 *= CHALCOGEN_MASSES_U[host.chalcogen] * ATOMIC_MASS_KEV
    return math.sqrt(ELECTRON_KEV**2 + wanted_kev2) - ELECTRON_KEV


@lru_cache(maxsize=len(HOSTS))
def onset_kev(host_name: str) -> float:
    """Lowest beam energy at which knock-on damage counts: its cross-section reaches `ONSET_BARN` [keV].

    Thermal motion puts it below `static_threshold_kev`; it is the limit for interlocks.
    """
    low, high = 1.0, static_threshold_kev(host_name)
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if knock_on_barn(host_name, middle) < ONSET_BARN else (low, middle)
    return high


@lru_cache(maxsize=256)
def knock_on_barn(host_name: str, energy_kev: float) -> float:
    """Cross-section for throwing the exit-side chalcogen of one column out [barn].

    Parameters
    ----------
    host_name : str
        Host.
    energy_kev : float
        Beam energy [keV], up to 300.

    Returns
    -------
    float
        Averaged over the thermal motion at `TEMPERATURE_K`.

    Raises
    ------
    InputError
        If the host is unknown or the energy out of range.
    """
    _check_energy(energy_kev)
    host = find_host(host_name)
    threshold_ev = displacement_threshold(host_name).energy_ev
    transfer_ev = max_transfer_ev(energy_kev, host.chalcogen)
    # A head-on hit changes the momentum M v by 2 p: the atom then has (M v + 2 p)² / 2 M, where
    # 2 p² / M is the transfer at rest and M v² on average the thermal energy.
    thermal_ev = _BOLTZMANN_EV * TEMPERATURE_K * (1 + (DEBYE_K / TEMPERATURE_K) ** 2 / 20)
    steps, total, weights = 400, 0.0, 0.0
    for step in range(steps + 1):
        deviation = 12.0 * step / steps - 6.0
        weight = math.exp(-(deviation**2) / 2)
        taken_ev = (math.sqrt(transfer_ev) + deviation * math.sqrt(thermal_ev / 2)) ** 2
        total += weight * _mckinley_feshbach_barn(energy_kev, host.chalcogen, taken_ev, threshold_ev)
        weights += weight
    return total / weights


def _mckinley_feshbach_barn(
    energy_kev: float, chalcogen: str, transfer_ev: float, threshold_ev: float
) -> float:
    """Cross-section for transfers between a threshold and the largest possible one [barn]."""
    if transfer_ev <= threshold_ev:
        return 0.0
    number = ATOMIC_NUMBERS[chalcogen]
    beta2 = 1.0 - (ELECTRON_KEV / (energy_kev + ELECTRON_KEV)) ** 2
    beta = math.sqrt(beta2)
    born = math.pi * (number * _FINE_STRUCTURE) * beta
    part = threshold_ev / transfer_ev
    area_a2 = 4 * math.pi * (number * _BOHR_ANGSTROM * _RYDBERG_KEV / ELECTRON_KEV) ** 2
    area_a2 *= (1 - beta2) / beta2**2
    shape = (1 + 2 * born * math.sqrt(part)) / part
    shape -= 1 + 2 * born + (beta2 + born) * math.log(1 / part)
    return area_a2 * shape / BARN_A2


def _check_energy(energy_kev: float) -> None:
    """Raise for a beam energy that is none, or in volts."""
    if not 1.0 <= energy_kev <= 300.0:
        raise InputError(f"beam energy {energy_kev:g} keV: expected kiloelectronvolts, from 1 to 300")
