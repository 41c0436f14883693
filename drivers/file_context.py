"""From what files, settings and the operator know to one context, with the source of every value."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from drivers.contract.context import (
    CONVERGENCE_MRAD,
    DETECTORS,
    Context,
    Detector,
    Specimen,
    parse_detector,
)
from drivers.contract.errors import InputError, UnknownMaterialError
from drivers.contract.facts import FIELDS, TEXT_FIELDS, Facts, Settled, Sourced, spelled
from drivers.contract.materials import check_dopant, find_host

#: The command-line option of every field.
OPTIONS: dict[str, str] = {field: "--" + field.replace("_", "-") for field in FIELDS}

#: Numbers that differ by no more of the larger are the same, as measured angles and rounded ones are.
_SAME = 0.02

#: Angles within this part of a reference detector's are its own (`models.contexts.stand_in` reads them so).
_ITS_OWN = 0.1

_V = TypeVar("_V", str, float)


def facts_given(values: Mapping[str, object], origin: str) -> Facts:
    """Take values that a person gave as facts: the options of a command line, or a table of a config file.

    A detector may be the name of a reference detector or an annulus ``INNER-OUTER`` in mrad, and then
    brings its angles along, unless they are given too.  A reference detector's angles may be one's own, but
    not those of another one.

    Parameters
    ----------
    values : mapping
        By field of `Facts`, in our units; None is left out.
    origin : str
        ``"command line"``, or the name of the config file.

    Raises
    ------
    InputError
        If a field is unknown, a value of the wrong kind, or a detector and its angles contradict each other.
    """
    found: dict[str, Any] = {}
    for field, value in values.items():
        if field not in FIELDS:
            raise InputError(f"{origin}: expected one of {', '.join(FIELDS)}; found {field!r}")
        if value is not None:
            option = OPTIONS[field] if origin == "command line" else field
            found[field] = _given(field, value, f"{origin}: {option}")
    detector = found.get("detector")
    if detector is not None and not {"inner_mrad", "outer_mrad"} <= found.keys():
        known = parse_detector(detector.value)
        source = f"{detector.source} {detector.value}"
        if detector.value in DETECTORS:
            source += " (angles of the reference instrument)"
        found["detector"] = Sourced[str](value=known.name, source=detector.source)
        found.setdefault("inner_mrad", Sourced[float](value=known.inner_mrad, source=source))
        found.setdefault("outer_mrad", Sourced[float](value=known.outer_mrad, source=source))
    contradiction = _contradiction(found)
    if contradiction:
        raise InputError(
            f"expected a detector and its own angles, found that {contradiction}; leave the name or the "
            "angles out, whichever is wrong"
        )
    return Facts(**found)


def settle(*sources: Facts) -> Settled:
    """Combine sources, the first of which counts most, into the context of a frame.

    Nothing is guessed: a detector that a file merely names has no angles, and a specimen that nobody
    called undoped (dopant ``none``) may hold any dopant.  Only the convergence angle has a default.  Where a
    detector's name and its angles contradict each other, the angles count, and a note says so.

    Raises
    ------
    InputError
        Naming every field that the context needs and no source knows, with the options that supply them;
        or that a material or detector is impossible.
    """
    known = {field: _first(field, sources) for field in FIELDS}
    lacking = [field for field in ("host", "dopant", "energy_kev") if known[field] is None]
    angles = [field for field in ("inner_mrad", "outer_mrad") if known[field] is None]
    if lacking or angles:
        raise InputError(_missing(lacking, angles, known["detector"], sources))
    if known["convergence_mrad"] is None:
        known["convergence_mrad"] = Sourced[float](value=CONVERGENCE_MRAD, source="default")
    if known["detector"] is None:
        name = f"ADF {known['inner_mrad'].value:g}-{known['outer_mrad'].value:g} mrad"
        known["detector"] = Sourced[str](value=name, source="default: named by its angles")
    notes = [note for source in sources for note in source.notes]
    contradiction = _contradiction(known)
    if contradiction:
        notes.append(f"{contradiction}; the angles are taken")
    facts = Facts(**known, notes=tuple(notes))
    return Settled(context=_context(known), facts=facts)


def noted(file: Facts, *given: Facts) -> Facts:
    """What a file says, with a note on each value in whose place another was given.

    Numbers that agree to 2 % are the same.  A detector that the file merely names is compared only if the
    name is one of a reference detector, for others mean nothing.

    Parameters
    ----------
    file : Facts
    *given : Facts
        What goes before it, the first of which counts most.
    """
    notes = []
    for field in FIELDS:
        said, taken = getattr(file, field), _first(field, given)
        if said is not None and taken is not None and _differ(field, said.value, taken.value, file):
            notes.append(
                f"{said.source} says {field} {_shown(said.value)}; {_shown(taken.value)} is taken instead "
                f"({taken.source})"
            )
    known: dict[str, Any] = {field: getattr(file, field) for field in FIELDS}
    return Facts(**known, notes=(*file.notes, *notes))


def _contradiction(known: Mapping[str, Any]) -> str:
    """What to tell of a detector whose angles are not those of its name; nothing if they may be.

    Names that are neither a reference detector's nor an annulus' mean nothing.
    """
    name, inner, outer = (known.get(field) for field in ("detector", "inner_mrad", "outer_mrad"))
    if name is None or inner is None or outer is None:
        return ""
    try:
        meant = parse_detector(spelled("detector", name.value.removeprefix("ADF ").removesuffix(" mrad")))
    except InputError:
        return ""
    if meant.name in DETECTORS:
        others = (one for one in DETECTORS.values() if one != meant and _has(one, inner, outer, _ITS_OWN))
        whose = next((f"those of {other.name}" for other in others), "")
    else:
        whose = "" if _has(meant, inner, outer, _SAME) else "others"
    if not whose:
        return ""
    places = " and ".join(dict.fromkeys((inner.source, outer.source)))
    return (
        f"{name.source} says detector {name.value}, but the angles {inner.value:g}-{outer.value:g} mrad "
        f"({places}) are {whose}"
    )


def _has(detector: Detector, inner: Sourced[float], outer: Sourced[float], tolerance: float) -> bool:
    """Whether a detector has these angles, to a part of its own."""
    pairs = ((inner.value, detector.inner_mrad), (outer.value, detector.outer_mrad))
    return all(abs(seen - own) <= tolerance * own for seen, own in pairs)


def _differ(field: str, said: str | float, taken: str | float, file: Facts) -> bool:
    """Whether two values of a field mean different things."""
    if field == "detector":
        has_angles = file.inner_mrad is not None and file.outer_mrad is not None
        return not has_angles and str(said).upper() in DETECTORS and str(said).upper() != str(taken).upper()
    if isinstance(said, str) or isinstance(taken, str):
        return said != taken
    return abs(said - taken) > _SAME * max(said, taken)


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _first(field: str, sources: Sequence[Facts]) -> Any:
    """Return the value of the first source that knows a field."""
    return next((value for source in sources if (value := getattr(source, field)) is not None), None)


def _context(known: Mapping[str, Any]) -> Context:
    """Build the context; an impossible one is an `InputError` that names the sources."""
    host, dopant = known["host"], known["dopant"]
    symbol = None if dopant.value == "none" else dopant.value
    _check_material("host", host, lambda: find_host(host.value))
    if symbol is not None:
        _check_material("dopant", dopant, lambda: check_dopant(host.value, symbol))
    try:
        return Context(
            specimen=Specimen(host=host.value, dopant=symbol),
            energy_kev=known["energy_kev"].value,
            detector=Detector(
                name=known["detector"].value,
                inner_mrad=known["inner_mrad"].value,
                outer_mrad=known["outer_mrad"].value,
            ),
            convergence_mrad=known["convergence_mrad"].value,
        )
    except ValidationError as error:
        fields = ("energy_kev", "inner_mrad", "outer_mrad", "convergence_mrad")
        given = ", ".join(f"{field} {known[field].value:g} ({known[field].source})" for field in fields)
        reasons = "; ".join(str(item["msg"]).removeprefix("Value error, ") for item in error.errors())
        raise InputError(
            f"expected a possible context, found {given}: {reasons}; override what is wrong"
        ) from error


def _check_material(field: str, sourced: Sourced[str], check: Callable[[], object]) -> None:
    """Make a check, whose error then names the source and the option."""
    try:
        check()
    except UnknownMaterialError as error:
        raise UnknownMaterialError(
            f"{error} (from {sourced.source}; give the right {field}; {OPTIONS[field]} of `analyse`)"
        ) from None


def _missing(
    lacking: list[str], angles: list[str], detector: Sourced[str] | None, sources: tuple[Facts, ...]
) -> str:
    """Say in one message what is missing and how to supply it."""
    ways = {
        "host": "the host (host, for example WSe2",
        "dopant": "the dopant (dopant, for example Ti, or none",
        "energy_kev": "the beam energy (energy_kev, for example 80",
    }
    lines = [f"{ways[field]}; {OPTIONS[field]} of `analyse`)" for field in lacking]
    if angles:
        named = f" of {detector.value!r}, which {detector.source} names without them" if detector else ""
        which = " and ".join(field.removesuffix("_mrad") for field in angles)
        words = "angles" if len(angles) > 1 else "angle"
        options = " and ".join(OPTIONS[field] for field in angles)
        lines.append(
            f"the detector's {which} {words}{named} (detector {', '.join(DETECTORS)} or INNER-OUTER in mrad, "
            f"or {' and '.join(angles)}; {OPTIONS['detector']}, or {options} of `analyse`"
            f"{', or [images.LABEL] of its --config if a file has several' if detector else ''})"
        )
    notes = [note for source in sources for note in source.notes]
    return "missing: " + "; ".join(lines) + (f". Found but not used: {'; '.join(notes)}" if notes else "")


def _given(field: str, value: object, source: str) -> Sourced[str] | Sourced[float]:
    """Check one value that a person gave."""
    if field in TEXT_FIELDS:
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{source}: expected a text, found {value!r}")
        return Sourced[str](value=spelled(field, value.strip()), source=source)
    smallest_ok = field == "inner_mrad"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{source}: expected a number, found {value!r}")
    if not 0 <= value < float("inf") or (value == 0 and not smallest_ok):
        raise InputError(f"{source}: expected a positive number, found {value!r}")
    return Sourced[float](value=float(value), source=source)
