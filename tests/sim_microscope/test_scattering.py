import numpy as np
import pytest
from scipy.special import j0

from drivers.contract.materials import ATOMIC_NUMBERS
from sim_microscope.scattering import (
    FREQUENCIES,
    radial_quadrature,
    rms_displacement_angstrom,
    scattering_amplitude,
    wavelength_angstrom,
)


@pytest.mark.parametrize("energy_kev", [60, 80, 100])
def test_wavelength_agrees_with_abtem(energy_kev):
    from abtem.core.energy import energy2wavelength

    assert wavelength_angstrom(energy_kev) == pytest.approx(energy2wavelength(energy_kev * 1e3), rel=1e-8)


def test_the_quadrature_integrates_a_gaussian_and_a_logarithm():
    radii, steps = radial_quadrature()
    assert (steps * radii * np.exp(-(radii**2))).sum() == pytest.approx(0.5, rel=1e-10)
    inside = radii < 0.01
    exact = 0.01 * (np.log(0.01) - 1)
    assert (steps * np.log(radii))[inside].sum() == pytest.approx(exact, rel=1e-5)


def test_a_weak_scatterer_scatters_as_the_born_approximation():
    from abtem.core.energy import energy2sigma
    from abtem.parametrizations import LobatoParametrization

    energy_kev = 100_000.0  # far beyond any microscope, so that the phase is as weak as it gets
    factor = LobatoParametrization().projected_scattering_factor("S")(FREQUENCIES**2)
    born = 1j * energy2sigma(energy_kev * 1e3) * factor
    amplitude = scattering_amplitude("S", energy_kev)
    low = FREQUENCIES < 1.0
    # What is left is the next order: real, and as small as the phase is weak.
    assert np.abs((amplitude - born).imag)[low].max() / np.abs(born[0]) < 0.005
    assert np.abs(amplitude.real)[low].max() / np.abs(born[0]) < 0.05


def test_amplitudes_fall_as_rutherford_scattering():
    amplitude = np.abs(scattering_amplitude("Ti", 80))
    slope = np.polyfit(np.log(FREQUENCIES[300:]), np.log(amplitude[300:]), 1)[0]
    assert slope == pytest.approx(-2.0, abs=0.15)


def test_transforming_back_gives_a_wave_of_unit_size():
    radii, amplitude = np.array([0.2, 0.5, 1.0]), scattering_amplitude("Mo", 80)
    weights = np.full(FREQUENCIES.size, FREQUENCIES[1])
    transmission = 1 + 2 * np.pi * j0(2 * np.pi * radii[:, None] * FREQUENCIES) @ (
        amplitude * FREQUENCIES * weights
    )
    np.testing.assert_allclose(np.abs(transmission), 1.0, atol=0.02)


def test_displacements_are_those_of_room_temperature():
    values = {symbol: rms_displacement_angstrom(symbol) for symbol in ATOMIC_NUMBERS}
    assert all(0.05 < value < 0.08 for value in values.values())
    assert values["W"] < values["Ti"] < values["Se"]
