"""Units at the border: what files and people write, converted to ours.

Ours are keV, Å, mrad, µs, pA and electrons/Å²; each appears at the end of the names that hold it.
"""

from drivers.contract.errors import InputError

_LENGTHS_ANGSTROM = {"m": 1e10, "mm": 1e7, "um": 1e4, "nm": 10.0, "angstrom": 1.0, "a": 1.0, "pm": 0.01}
_ENERGIES_KEV = {"ev": 1e-3, "v": 1e-3, "kev": 1.0, "kv": 1.0, "mev": 1e3, "mv": 1e3}
_ANGLES_MRAD = {"mrad": 1.0, "rad": 1e3, "urad": 1e-3, "deg": 17.453292519943297}
_TIMES_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_CURRENTS_PA = {"a": 1e12, "ua": 1e6, "na": 1e3, "pa": 1.0}
_DOSES_PER_A2 = {"a": 1.0, "angstrom": 1.0, "nm": 1e-2, "pm": 1e4, "um": 1e-8, "m": 1e-20}

_LONG_NAMES = {
    "meter": "m",
    "metre": "m",
    "millimeter": "mm",
    "micrometer": "um",
    "micron": "um",
    "nanometer": "nm",
    "nanometre": "nm",
    "picometer": "pm",
    "å": "angstrom",
    "ångström": "angstrom",
    "ang": "angstrom",
    "angstroms": "angstrom",
    "volt": "v",
    "kilovolt": "kv",
    "radian": "rad",
    "milliradian": "mrad",
    "degree": "deg",
    "°": "deg",
    "second": "s",
    "sec": "s",
    "millisecond": "ms",
    "microsecond": "us",
    "nanosecond": "ns",
}


def plain_unit(unit: str) -> str:
    """Spell a unit in lower-case ASCII: ``"µm"`` and ``"Microns"`` become ``"um"``, ``"Å"`` ``"angstrom"``.

    Raises
    ------
    InputError
        If the unit's meaning hangs on its case: ``"mV"`` (but ``"MeV"`` and ``"MV"`` are mega).
    """
    stripped = unit.strip()
    if stripped in ("mV", "meV"):
        raise InputError(f"unit {unit!r}: expected a beam energy in V, kV or keV, not in thousandths")
    # Files hold both code points of Å (ångström sign, letter) and both of µ (micro sign, Greek mu).
    lowered = stripped.replace("\N{ANGSTROM SIGN}", "å").lower()
    lowered = lowered.replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")
    if lowered in _LONG_NAMES:
        return _LONG_NAMES[lowered]
    return _LONG_NAMES.get(lowered.removesuffix("s"), lowered)


def to_angstrom(value: float, unit: str) -> float:
    """Convert a length.

    Raises
    ------
    InputError
        If the unit is no length; a reciprocal length is named as the mark of a diffraction pattern.
    """
    if is_reciprocal(unit):
        raise InputError(
            f"expected a pixel size as a length, found the reciprocal unit {unit!r}: this is a diffraction "
            "pattern or a Fourier transform; pass the image itself"
        )
    return value * _factor(unit, _LENGTHS_ANGSTROM, "a length in m, um, nm, Å or pm")


def to_kev(value: float, unit: str) -> float:
    """Convert a beam energy, or the voltage that gives it.

    Raises
    ------
    InputError
        If the unit is no energy or voltage, or one of thousandths (``"mV"``).
    """
    return value * _factor(unit, _ENERGIES_KEV, "a beam energy in V, kV, eV or keV")


def to_mrad(value: float, unit: str) -> float:
    """Convert an angle.

    Raises
    ------
    InputError
        If the unit is no angle.
    """
    return value * _factor(unit, _ANGLES_MRAD, "an angle in mrad or rad")


def to_us(value: float, unit: str) -> float:
    """Convert a time.

    Raises
    ------
    InputError
        If the unit is no time.
    """
    return value * _factor(unit, _TIMES_US, "a time in s, ms, us or ns")


def to_pa(value: float, unit: str) -> float:
    """Convert a current.

    Raises
    ------
    InputError
        If the unit is no current.
    """
    return value * _factor(unit, _CURRENTS_PA, "a current in A, nA or pA")


def to_e_per_a2(value: float, unit: str) -> float:
    """Convert a dose: electrons an area, as in ``e/nm^2``, ``e-/Å²``, ``1/nm2``, ``electrons/angstrom^2``.

    Raises
    ------
    InputError
        If the unit is no dose.
    """
    count, slash, area = unit.replace(" ", "").partition("/")
    area = area.replace("²", "^2").replace("**2", "^2")
    squared = area.endswith("2")
    if slash and squared and count.lower() in ("1", "e", "e-", "e⁻", "electron", "electrons"):
        return value * _factor(
            area.removesuffix("2").removesuffix("^"), _DOSES_PER_A2, "a dose in e/Å² or e/nm²"
        )
    raise InputError(f"expected a dose in e/Å² or e/nm², found unit {unit!r}")


def is_reciprocal(unit: str) -> bool:
    """Whether a unit is one over something: ``1/nm``, ``1 / nm``, ``nm^-1``, ``nm⁻¹``."""
    text = unit.replace(" ", "")
    return text.startswith("1/") or text.endswith(("^-1", "**-1", "⁻¹"))


def is_time(unit: str) -> bool:
    """Whether a unit is a time that `to_us` converts."""
    return plain_unit(unit) in _TIMES_US


def _factor(unit: str, factors: dict[str, float], expected: str) -> float:
    """Look the factor of a unit up; `expected` names the kind of unit in the error."""
    plain = plain_unit(unit)
    if plain not in factors:
        raise InputError(f"expected {expected}, found unit {unit!r}")
    return factors[plain]
