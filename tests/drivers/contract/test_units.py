import pytest

from drivers.contract.errors import InputError
from drivers.contract.units import (
    is_reciprocal,
    is_time,
    to_angstrom,
    to_e_per_a2,
    to_kev,
    to_mrad,
    to_pa,
    to_us,
)


@pytest.mark.parametrize(
    ("convert", "value", "unit", "expected"),
    [
        (to_angstrom, 2e-11, "m", 0.2),
        (to_angstrom, 2e-11, "meters", 0.2),
        (to_angstrom, 2e-5, "µm", 0.2),
        (to_angstrom, 2e-5, "μm", 0.2),
        (to_angstrom, 2e-5, "um", 0.2),
        (to_angstrom, 2e-5, "micron", 0.2),
        (to_angstrom, 0.02, "nm", 0.2),
        (to_angstrom, 0.2, "Å", 0.2),
        (to_angstrom, 0.2, "\N{ANGSTROM SIGN}", 0.2),
        (to_angstrom, 0.2, "angstroms", 0.2),
        (to_angstrom, 20.0, "pm", 0.2),
        (to_kev, 80e3, "V", 80.0),
        (to_kev, 80e3, "eV", 80.0),
        (to_kev, 80.0, "kV", 80.0),
        (to_kev, 80.0, "keV", 80.0),
        (to_kev, 0.08, "MeV", 80.0),
        (to_mrad, 31.0, "mrad", 31.0),
        (to_mrad, 0.031, "rad", 31.0),
        (to_mrad, 180.0, "deg", 3141.592653589793),
        (to_us, 38e-6, "s", 38.0),
        (to_us, 0.038, "ms", 38.0),
        (to_us, 38.0, "µs", 38.0),
        (to_us, 38e3, "ns", 38.0),
        (to_pa, 2e-11, "A", 20.0),
        (to_pa, 0.02, "nA", 20.0),
        (to_pa, 20.0, "pA", 20.0),
        (to_e_per_a2, 1e5, "e/Å^2", 1e5),
        (to_e_per_a2, 1e5, "e-/angstrom**2", 1e5),
        (to_e_per_a2, 1e7, "e/nm²", 1e5),
        (to_e_per_a2, 1e7, "1 / nm2", 1e5),
        (to_e_per_a2, 1e25, "electrons/m^2", 1e5),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_converts_to_our_unit(convert, value, unit, expected):
    assert convert(value, unit) == pytest.approx(expected, rel=1e-12)


_LENGTHS = {"m": 0, "mm": -3, "µm": -6, "nm": -9, "Å": -10, "pm": -12}


@pytest.mark.parametrize(
    ("convert", "powers"),
    [
        (to_angstrom, _LENGTHS),
        (to_kev, {"eV": 0, "V": 0, "keV": 3, "kV": 3, "MeV": 6, "MV": 6}),
        (to_mrad, {"rad": 0, "mrad": -3, "µrad": -6}),
        (to_us, {"s": 0, "ms": -3, "µs": -6, "ns": -9}),
        (to_pa, {"A": 0, "µA": -6, "nA": -9, "pA": -12}),
        (to_e_per_a2, {f"e/{length}^2": -2 * power for length, power in _LENGTHS.items() if length != "mm"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_units_stand_to_each_other_as_si_says(convert, powers):
    whole = convert(1.0, next(iter(powers)))
    assert {unit: convert(1.0, unit) / whole for unit in powers} == pytest.approx(
        {unit: 10.0**power for unit, power in powers.items()}, rel=1e-12
    )


@pytest.mark.parametrize(
    ("convert", "unit", "words"),
    [
        (to_angstrom, "1/nm", "diffraction"),
        (to_angstrom, "px", "a length in"),
        (to_kev, "mV", "thousandths"),
        (to_kev, "meV", "thousandths"),
        (to_kev, "nm", "a beam energy in"),
        (to_mrad, "nm", "an angle in"),
        (to_us, "Hz", "a time in"),
        (to_pa, "V", "a current in"),
        (to_e_per_a2, "e/nm", "a dose in"),
        (to_e_per_a2, "C/m2", "a dose in"),
    ],
)
def test_refuses_another_unit(convert, unit, words):
    with pytest.raises(InputError, match=words):
        convert(1.0, unit)


@pytest.mark.parametrize("unit", ["1/nm", "1 / nm", "nm^-1", "nm⁻¹", "1/Å"])
def test_knows_reciprocal_units(unit):
    assert is_reciprocal(unit)
    assert not is_time(unit)
