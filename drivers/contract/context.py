"""The context of a frame: what is imaged, with which beam, on which detector."""

from enum import IntEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from drivers.contract.errors import InputError
from drivers.contract.materials import check_dopant, find_host


class Message(BaseModel):
    """A fact or a wish: immutable, exact and finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def rebuilt(self, **changes: Any) -> Self:
        """Build the same message with other values of some fields, checked like any other.

        Raises
        ------
        ValidationError
            If it is none with these values.
        """
        return type(self)(**(dict(self) | changes))


#: Largest beam energy [keV] of any transmission microscope, and the least that one works at.
LARGEST_ENERGY_KEV = 1000.0
SMALLEST_ENERGY_KEV = 1.0


def check_energy_kev(value: float) -> float:
    """Return a beam energy [keV], or raise `InputError`; volts are recognised by their size."""
    if value >= 1e4:
        raise InputError(f"{value:g} keV: looks like volts; give keV, for example {value / 1e3:g}")
    if not SMALLEST_ENERGY_KEV <= value <= LARGEST_ENERGY_KEV:
        raise InputError(
            f"{value:g} keV: expected a beam energy of {SMALLEST_ENERGY_KEV:g} to {LARGEST_ENERGY_KEV:g} keV"
        )
    return value


#: A beam energy [keV]; volts in its place are refused with a message that says so.
EnergyKev = Annotated[float, AfterValidator(check_energy_kev)]


class ColumnClass(IntEnum):
    """The five classes of a column, numbered as in Dan et al. (arXiv 2606.09419)."""

    X2 = 0
    VAC1 = 1
    VAC2 = 2
    METAL = 3
    DOPANT = 4


class Specimen(Message):
    """A 1H monolayer and the dopant that it may hold."""

    host: str
    dopant: str | None = None

    @model_validator(mode="after")
    def _materials_are_known(self) -> Self:
        find_host(self.host)
        if self.dopant is not None:
            check_dopant(self.host, self.dopant)
        return self


class Detector(Message):
    """An annular detector; angles are semi-angles from the optic axis."""

    name: str
    inner_mrad: Annotated[float, Field(ge=0)]
    outer_mrad: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _annulus_is_open(self) -> Self:
        if self.inner_mrad >= self.outer_mrad:
            raise ValueError(
                f"the inner angle {self.inner_mrad:g} mrad must lie below the outer angle "
                f"{self.outer_mrad:g} mrad"
            )
        return self


HAADF = Detector(name="HAADF", inner_mrad=68.0, outer_mrad=280.0)
MAADF = Detector(name="MAADF", inner_mrad=30.0, outer_mrad=120.0)

#: The detectors of the reference instrument (JEOL ARM200F, camera length 8 cm).
DETECTORS: dict[str, Detector] = {detector.name: detector for detector in (HAADF, MAADF)}

#: Beam energies [keV] of the reference contexts.
ENERGIES_KEV: tuple[int, ...] = (60, 80, 100)

#: Convergence semi-angle [mrad] of the reference instrument.
CONVERGENCE_MRAD = 31.0


def find_detector(name: str) -> Detector:
    """Look a detector of the reference instrument up by name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in DETECTORS:
        known = ", ".join(f"{d.name} ({d.inner_mrad:g}-{d.outer_mrad:g} mrad)" for d in DETECTORS.values())
        raise InputError(
            f"detector {name!r} is unknown; known are {known}; "
            "or give an annulus of your own as INNER-OUTER in mrad, for example 35-120"
        )
    return DETECTORS[name]


def parse_detector(text: str) -> Detector:
    """Find a detector of the reference instrument by name, or read an annulus such as ``35-120`` [mrad].

    Raises
    ------
    InputError
        If it is neither, or the annulus is inside out.
    """
    inner, dash, outer = text.partition("-")
    try:
        angles = (float(inner), float(outer)) if dash else None
    except ValueError:
        angles = None
    if angles is None:
        return find_detector(text)
    try:
        return Detector(name=f"ADF {text} mrad", inner_mrad=angles[0], outer_mrad=angles[1])
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(
            f"detector {text!r}: expected INNER-OUTER in mrad, the inner angle first ({problem})"
        ) from error


class Context(Message):
    """What the classification of a column is conditioned on."""

    specimen: Specimen
    energy_kev: EnergyKev
    detector: Detector
    convergence_mrad: Annotated[float, Field(gt=0)] = CONVERGENCE_MRAD

    def in_words(self) -> str:
        """What stands above a picture: ``WSe2:Ti, 80 keV, HAADF (68-280 mrad)``."""
        specimen, detector = self.specimen, self.detector
        dopant = f":{specimen.dopant}" if specimen.dopant else ""
        angles = f"{detector.inner_mrad:g}-{detector.outer_mrad:g} mrad"
        return f"{specimen.host}{dopant}, {self.energy_kev:g} keV, {detector.name} ({angles})"
