"""What a file says of its context, in our units, each value with the place it came from."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.contract.errors import InputError
from drivers.contract.facts import TEXT_FIELDS, Facts, Sourced, spelled
from drivers.contract.units import to_angstrom, to_e_per_a2, to_kev, to_mrad, to_pa, to_us
from drivers.file_tags import COLUMNIST, NAMES, PATHS, UNIT_SUFFIXES


@dataclass(frozen=True)
class Tag:
    """One leaf of a file's metadata; the unit is None where the file names none."""

    value: object
    unit: str | None = None


_CONVERSIONS: dict[str, Callable[[float, str], float]] = {
    "energy_kev": to_kev,
    "inner_mrad": to_mrad,
    "outer_mrad": to_mrad,
    "convergence_mrad": to_mrad,
    "pixel_size_angstrom": to_angstrom,
    "dwell_us": to_us,
    "dose_e_per_a2": to_e_per_a2,
    "beam_current_pa": to_pa,
}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Tag]:
    """Turn nested metadata into one level of paths with ``/``; our own node's JSON texts are opened too."""
    tags: dict[str, Tag] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if path in (f"{COLUMNIST}/context", f"{COLUMNIST}/acquisition") and isinstance(value, str):
            value = json.loads(value)
        if isinstance(value, Mapping):
            tags |= flatten(value, f"{path}/")
        else:
            tags[path] = Tag(value)
    return tags


def facts_by_path(tags: Mapping[str, Tag], origin: str) -> Facts:
    """Read the paths that the formats of RosettaSciIO are known to use; `origin` names the file."""
    found: dict[str, Any] = {}
    notes: list[str] = []
    for field, path, unit in PATHS:
        if path in tags and field not in found:
            tag = Tag(tags[path].value, tags[path].unit or unit or None)
            _add(found, notes, field, tag, f"{origin}: {path}")
    return Facts(**_without_bare_zero(found), notes=tuple(notes))


def facts_by_name(tags: Mapping[str, Tag], origin: str, near: str, others: Sequence[str] = ()) -> Facts:
    """Read NeXus and plain HDF5, where a field is known by its name and its unit.

    Parameters
    ----------
    tags : mapping
        Attributes and scalars of the whole file.
    origin : str
        Names the file.
    near : str
        Path of the image.  Of several values of a field, those count that share the longest leading
        path with it, so that each image finds its own detector; if these differ, none counts.
    others : sequence of str
        Paths of the file's other images.  What stands on the way to one of them, and not on the way to this
        one, is that image's and does not count, even if there is no other value.
    """
    candidates: dict[str, list[tuple[int, str, Tag]]] = {}
    for path, tag in tags.items():
        field, unit = _meaning(path.rsplit("/", 1)[-1])
        if field is not None:
            candidates.setdefault(field, []).append(
                (_shared(path, near), path, Tag(tag.value, tag.unit or unit))
            )
    found: dict[str, Any] = {}
    notes: list[str] = []
    for field, rows in candidates.items():
        own = [row for row in rows if not _is_of_another(row[1], near, others)]
        if not own:
            notes.append(
                f"{origin}: {field} is not used, for {' and '.join(path for _, path, _ in rows)} is said of "
                "another image"
            )
            continue
        nearest = [row for row in own if row[0] == max(one[0] for one in own)]
        values = {str(tag.value) + str(tag.unit) for _, _, tag in nearest}
        if len(values) > 1:
            notes.append(
                f"{origin}: {field} is not used, for {' and '.join(path for _, path, _ in nearest)} differ"
            )
            continue
        _add(found, notes, field, nearest[0][2], f"{origin}: {nearest[0][1]}")
    return Facts(**_without_bare_zero(found), notes=tuple(notes))


def pixel_size_fact(rows: Tag, columns: Tag, source: str) -> tuple[Sourced[float] | None, tuple[str, ...]]:
    """Pixel size from the scales of the two axes of an image, or None with a note on why not.

    Raises
    ------
    InputError
        If a unit is reciprocal: the file holds a diffraction pattern.
    """
    found: dict[str, Any] = {}
    notes: list[str] = []
    for name, tag in (("rows", rows), ("columns", columns)):
        if tag.unit:
            _add(found, notes, "pixel_size_angstrom", tag, source, key=name)
    if len(found) < 2:
        return None, tuple(notes)
    size = found["columns"]
    if not math.isclose(found["rows"].value, size.value, rel_tol=1e-3):
        return None, (
            f"{source}: the pixel size is not used, for rows are {found['rows'].value:.6g} Å apart and "
            f"columns {size.value:.6g} Å",
        )
    return size, tuple(notes)


def _add(
    found: dict[str, Any], notes: list[str], field: str, tag: Tag, source: str, *, key: str | None = None
) -> None:
    """Convert one tag into `found`; what cannot be used goes to `notes`, what is not recorded nowhere."""
    try:
        sourced = _text(field, tag, source) if field in TEXT_FIELDS else _number(field, tag, source)
    except InputError as error:
        if "reciprocal" in str(error):
            raise
        notes.append(f"{source}: not used: {error}")
        return
    if sourced is not None:
        found[key or field] = sourced


def _without_bare_zero(found: dict[str, Any]) -> dict[str, Any]:
    """What was found, less an inner angle of 0 without an outer one: instruments write 0 to 0 for unknown."""
    inner = found.get("inner_mrad")
    if inner is None or inner.value > 0 or "outer_mrad" in found:
        return found
    return {field: value for field, value in found.items() if field != "inner_mrad"}


def _text(field: str, tag: Tag, source: str) -> Sourced[str] | None:
    """Take a text; None for an empty one.  A dopant of null is the word ``none``."""
    value = tag.value
    if value is None and field == "dopant":
        return Sourced[str](value="none", source=source)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or not value.strip():
        return None
    return Sourced[str](value=spelled(field, value.strip()), source=source)


def _number(field: str, tag: Tag, source: str) -> Sourced[float] | None:
    """Convert a number to our unit; None for what instruments write where they know nothing (0, blank)."""
    value = _as_float(tag.value)
    if value is None or (value == 0 and field != "inner_mrad"):
        return None
    if not math.isfinite(value) or value < 0:
        raise InputError(f"expected a positive number, found {value:g}")
    if tag.unit:
        value = _CONVERSIONS[field](value, tag.unit)
    elif field == "energy_kev":
        value, unit = _energy_by_size(value)
        source += f" (taken as {unit} by its size)"
    else:
        raise InputError(f"expected a value with its unit, found {value:g} without")
    if field == "energy_kev" and not 1 <= value <= 1000:
        raise InputError(f"expected a beam energy of 1 to 1000 keV, found {value:g} keV")
    return Sourced[float](value=float(value), source=source)


def _as_float(value: object) -> float | None:
    """Read a number, also from text; None for nothing at all.

    Raises
    ------
    InputError
        If the value is no number.
    """
    if value is None or (isinstance(value, str | bytes) and not value.strip()):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"expected a number, found {str(value)[:60]!r}") from None


def _energy_by_size(value: float) -> tuple[float, str]:
    """Tell keV from V where the file does not: no microscope runs below 10 kV or above 1 MV."""
    if 10 <= value <= 1000:
        return value, "keV"
    if 1e4 <= value <= 1e6:
        return value / 1e3, "V"
    raise InputError(f"expected a beam energy in V or keV, found {value:g} without a unit")


def _meaning(name: str) -> tuple[str | None, str | None]:
    """Field and unit that a name in HDF5 stands for: ``dwell_time_ns`` is `dwell_us` in ns."""
    lowered = name.lower().replace(" ", "_")
    if lowered in NAMES:
        return NAMES[lowered], None
    for suffix, unit in sorted(UNIT_SUFFIXES.items(), key=lambda item: -len(item[0])):
        if lowered.endswith(suffix) and lowered.removesuffix(suffix) in NAMES:
            return NAMES[lowered.removesuffix(suffix)], unit
    return None, None


def _is_of_another(path: str, near: str, others: Sequence[str]) -> bool:
    """Whether a value lies in a branch of the file that leads to another image and not to this one."""
    place, count = list(_parts(path))[:-1], _shared(path, near)
    branch = place[: count + 1]
    return len(branch) > count and any(list(_parts(other))[: count + 1] == branch for other in others)


def _shared(path: str, other: str) -> int:
    """Count the leading components that two paths share."""
    count = 0
    for one, two in zip(_parts(path), _parts(other), strict=False):
        if one != two:
            break
        count += 1
    return count


def _parts(path: str) -> Iterable[str]:
    return path.strip("/").split("/")
