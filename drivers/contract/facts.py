"""What is known of a frame's context, each value with the place that it came from."""

import unicodedata
from typing import Generic, TypeVar

from drivers.contract.context import DETECTORS, Context, Message
from drivers.contract.materials import DOPANTS, HOSTS

T = TypeVar("T", str, float)


class Sourced(Message, Generic[T]):
    """A value and where it came from: a file's tag, an option, a key of a config file, a default."""

    value: T
    source: str


class Facts(Message):
    """What one source knows of a frame's context; None is what it does not know."""

    host: Sourced[str] | None = None
    dopant: Sourced[str] | None = None
    """Element symbol, or ``"none"`` of a specimen that is known to be undoped."""
    energy_kev: Sourced[float] | None = None
    detector: Sourced[str] | None = None
    inner_mrad: Sourced[float] | None = None
    outer_mrad: Sourced[float] | None = None
    convergence_mrad: Sourced[float] | None = None
    pixel_size_angstrom: Sourced[float] | None = None
    dwell_us: Sourced[float] | None = None
    dose_e_per_a2: Sourced[float] | None = None
    beam_current_pa: Sourced[float] | None = None
    notes: tuple[str, ...] = ()
    """What was found but could not be used, and why."""


#: The fields of `Facts` that hold text; the others hold numbers.
TEXT_FIELDS = ("host", "dopant", "detector")

#: The fields of `Facts` that hold a `Sourced` value.
FIELDS = tuple(name for name in Facts.model_fields if name != "notes")

_SPELLINGS = {"host": tuple(HOSTS), "dopant": (*DOPANTS, "none"), "detector": tuple(DETECTORS)}


def spelled(field: str, text: str) -> str:
    """The known name that a text is but for capitals and subscripts (``wse2``, ``WSe₂``), or the text."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return next((name for name in _SPELLINGS.get(field, ()) if name.casefold() == plain), text)


class Settled(Message):
    """A context with the facts that it was made from: `facts` holds every known value and its source."""

    context: Context
    facts: Facts
