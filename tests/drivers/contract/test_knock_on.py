import math

import numpy as np
import pytest

from drivers.contract.errors import InputError, UnknownMaterialError
from drivers.contract.knock_on import (
    ATOMIC_MASS_KEV,
    BARN_A2,
    CHALCOGEN_MASSES_U,
    ELECTRON_KEV,
    ONSET_BARN,
    _mckinley_feshbach_barn,
    displacement_threshold,
    knock_on_barn,
    max_transfer_ev,
    onset_kev,
    static_threshold_kev,
)
from drivers.contract.materials import ATOMIC_NUMBERS, HOSTS

#: Classical radius of the electron [Å], and the fine structure constant (CODATA 2018).
RADIUS_ANGSTROM, FINE_STRUCTURE = 2.8179403e-5, 7.2973526e-3


@pytest.mark.parametrize(("chalcogen", "energy_kev"), [("S", 80.0), ("Se", 100.0), ("Te", 60.0)])
def test_the_largest_transfer_is_that_of_a_head_on_collision(chalcogen, energy_kev):
    # Energy and momentum before and after, with the electron thrown straight back.
    mass_kev = CHALCOGEN_MASSES_U[chalcogen] * ATOMIC_MASS_KEV
    momentum = math.sqrt(energy_kev * (energy_kev + 2 * ELECTRON_KEV))
    low, high = 0.0, energy_kev
    for _ in range(200):
        given = (low + high) / 2
        left = energy_kev - given
        back = math.sqrt(left * (left + 2 * ELECTRON_KEV))
        recoil = math.sqrt(given * (given + 2 * mass_kev))
        low, high = (low, given) if recoil > momentum + back else (given, high)
    assert max_transfer_ev(energy_kev, chalcogen) == pytest.approx(1e3 * low, rel=1e-4)


def test_sulphur_at_80_kev_takes_5_9_ev():
    assert max_transfer_ev(80.0, "S") == pytest.approx(5.90, abs=0.01)


def test_what_is_no_chalcogen_is_refused_with_those_that_are():
    with pytest.raises(UnknownMaterialError, match="chalcogen 'W' is unknown; known are S, Se, Te"):
        max_transfer_ev(80.0, "W")


@pytest.mark.parametrize("energy_kev", [100.0, 140.0])
def test_the_cross_section_is_the_integral_of_the_differential_one_over_angles(energy_kev):
    threshold_ev, number = 6.9, ATOMIC_NUMBERS["S"]
    transfer_ev = max_transfer_ev(energy_kev, "S")
    beta2 = 1 - (ELECTRON_KEV / (energy_kev + ELECTRON_KEV)) ** 2
    half = np.linspace(math.asin(math.sqrt(threshold_ev / transfer_ev)), math.pi / 2, 200_001)
    sine = np.sin(half)
    rutherford = (number * RADIUS_ANGSTROM / 2) ** 2 * (1 - beta2) / beta2**2 / sine**4
    mott = 1 - beta2 * sine**2 + math.pi * number * FINE_STRUCTURE * math.sqrt(beta2) * sine * (1 - sine)
    # dΩ = 2π sin θ dθ with θ twice the half angle.
    area_a2 = np.trapezoid(rutherford * mott * 2 * math.pi * np.sin(2 * half) * 2, half)
    assert _mckinley_feshbach_barn(energy_kev, "S", transfer_ev, threshold_ev) == pytest.approx(
        area_a2 / BARN_A2, rel=1e-4
    )


def test_mos2_at_80_kev_lies_by_the_barn_that_experiments_find():
    # Vacancies form under 80 keV although 5.9 eV are less than 6.9 eV: the thermal motion lends the rest.
    assert 0.3 < knock_on_barn("MoS2", 80.0) < 3.0
    assert knock_on_barn("MoS2", 60.0) < 1e-3


@pytest.mark.parametrize("host", ["WSe2", "MoSe2", "WTe2"])
@pytest.mark.parametrize("energy_kev", [60.0, 80.0, 100.0])
def test_selenides_and_tellurides_suffer_no_knock_on_at_the_energies_of_the_instrument(host, energy_kev):
    assert knock_on_barn(host, energy_kev) < 1e-6


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_the_onset_lies_below_the_static_threshold_at_its_cross_section(host):
    assert onset_kev(host) < static_threshold_kev(host)
    assert knock_on_barn(host, onset_kev(host)) == pytest.approx(ONSET_BARN, rel=0.02)
    assert max_transfer_ev(static_threshold_kev(host), HOSTS[host].chalcogen) == pytest.approx(
        displacement_threshold(host).energy_ev
    )


def test_damage_grows_with_energy():
    barns = [knock_on_barn("WS2", energy) for energy in (70.0, 80.0, 90.0, 100.0)]
    assert barns == sorted(barns)


def test_a_published_threshold_is_told_from_an_estimate():
    assert displacement_threshold("MoS2").is_published
    assert not displacement_threshold("TiS2").is_published
    assert "10.1103" in displacement_threshold("WS2").source


def test_volts_are_refused():
    with pytest.raises(InputError, match="kiloelectronvolts"):
        knock_on_barn("MoS2", 80_000.0)
    with pytest.raises(UnknownMaterialError):
        knock_on_barn("MoO3", 80.0)
