"""From what files know to what a frame says of itself on the wire."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from drivers.contract.codec import explain
from drivers.contract.context import Detector
from drivers.contract.errors import InputError
from drivers.contract.facts import FIELDS, Facts
from drivers.contract.header import FrameFacts
from drivers.contract.quantities import PIXEL_BYTES

#: Fields of `Facts` that a frame has under the same name.
_SAME = (
    "energy_kev",
    "convergence_mrad",
    "pixel_size_angstrom",
    "dwell_us",
    "beam_current_pa",
    "dose_e_per_a2",
)


def combine(*sources: Facts) -> Facts:
    """Take each field from the first source that knows it."""
    known: dict[str, Any] = {}
    for field in FIELDS:
        known[field] = next((value for source in sources if (value := getattr(source, field))), None)
    return Facts(**known)


def frame_facts(facts: Facts, shape: tuple[int, int], *, source: str) -> FrameFacts:
    """Say what is known of a frame; a detector without both of its angles is not known.

    Raises
    ------
    InputError
        If a value is out of its range, or host and dopant do not go together.
    """
    known: dict[str, Any] = {
        name: value.value for name in _SAME if (value := getattr(facts, name)) is not None
    }
    if facts.host is not None:
        known["host"] = facts.host.value
    if facts.dopant is not None:
        known["dopants"] = () if facts.dopant.value == "none" else (facts.dopant.value,)
    if facts.inner_mrad is not None and facts.outer_mrad is not None:
        inner, outer = facts.inner_mrad.value, facts.outer_mrad.value
        name = facts.detector.value if facts.detector is not None else f"ADF {inner:g}-{outer:g} mrad"
        known["detector"] = Detector(name=name, inner_mrad=inner, outer_mrad=outer)
    if facts.pixel_size_angstrom is not None:
        known["field_of_view_nm"] = shape[1] * facts.pixel_size_angstrom.value / 10
    try:
        return FrameFacts(**known, source=source[:500])
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error)}") from error


def wire_pixels(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image in a type that travels, without loss.

    Raises
    ------
    InputError
        If there is none for it.
    """
    if image.dtype.name in PIXEL_BYTES:
        return image
    for wider in ("uint8", "uint16", "float32", "uint32", "int32", "float64"):
        if np.can_cast(image.dtype, wider) or (
            image.dtype.kind in "ui" and image.size and _fits(image, wider)
        ):
            return image.astype(wider)
    raise InputError(f"expected pixels that fit one of {', '.join(PIXEL_BYTES)}; found {image.dtype}")


def _fits(image: NDArray[Any], name: str) -> bool:
    if name.startswith("float"):
        return False
    bounds = np.iinfo(name)
    return bool(bounds.min <= image.min() and image.max() <= bounds.max)
