"""From what frame, instrument and operator say to one context; what they dispute is not guessed."""

from collections.abc import Collection, Sequence
from typing import Any

from agent.settings import ContextSettings
from drivers.contract.errors import InputError
from drivers.contract.facts import Facts, Settled, Sourced
from drivers.contract.header import FrameHeader
from drivers.contract.instrument import InstrumentState
from drivers.file_context import facts_given, settle

#: Differences below these are rounding, not contradiction.
TOLERANCES = {"energy_kev": 0.5, "inner_mrad": 1.0, "outer_mrad": 1.0, "convergence_mrad": 0.5}

#: Fields that make the context; the declared pixel size is often some per cent off and makes none.
_DISPUTABLE = ("host", "dopant", "energy_kev", "inner_mrad", "outer_mrad", "convergence_mrad")

_OPERATOR = "settings [context]"

#: Looked up once: `Sourced[str]` takes pydantic longer than making one.
_Text, _Number = Sourced[str], Sourced[float]


class DoubtError(InputError):
    """The context of a frame is in doubt.

    Parameters
    ----------
    reason : str
        What is missing or contradictory, and who says so.
    remedy : str
        What would settle it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


def settle_frame(
    header: FrameHeader,
    states: Sequence[InstrumentState],
    operator: ContextSettings,
    expected_detectors: Sequence[str] = (),
    confirmed_s: float | None = None,
) -> Settled:
    """Find the context of a frame.

    Of each field the frame's own word counts first, then the instrument's state at its time, then the
    operator's; a field that the operator overrides comes from there alone.

    The frame contradicts the instrument if it differs from the state before it as well as from the one after
    it, as far as that is known.  A detector is switched in no time and by anybody, so a frame that names
    another one than the state before is believed until a state after it differs too; unless that state is
    the answer to a command of ours: then the header may be stale.

    Parameters
    ----------
    header : FrameHeader
    states : sequence of InstrumentState
        The last few, oldest first.
    operator : ContextSettings
    expected_detectors : sequence of str
        Names of detectors that a command on its way is about to switch to.
    confirmed_s : float, optional
        Time of the state that the last command was confirmed by.

    Raises
    ------
    DoubtError
        If something changed while the frame was taken, sources contradict each other, or a field is known to
        nobody.
    """
    before, after = states_around(states, header.monotonic_s)
    _check_settled(header, before)
    try:
        given = _facts_of_operator(operator)
        frame = facts_of_frame(header, operator.dopant)
        instrument = _facts_of_instrument(before, after)
        override = _only(given, operator.override)
        if before is not None:
            is_stale = before.monotonic_s == confirmed_s and (
                header.detector is None or header.detector.name not in expected_detectors
            )
            freed = (
                {*operator.override} if after is not None or is_stale else {*operator.override, "detector"}
            )
            told = [_facts_of_state(state) for state in (before, after) if state is not None]
            _check_agreement((frame, *told), freed)
        _check_agreement((_merged(frame, instrument), given), operator.override)
        return settle(override, frame, instrument, given)
    except DoubtError:
        raise
    except InputError as error:
        remedy = "give what is missing in settings [context], or mend the header"
        raise DoubtError(str(error).rstrip("."), remedy) from None


def states_around(
    states: Sequence[InstrumentState], monotonic_s: float
) -> tuple[InstrumentState | None, InstrumentState | None]:
    """Return the last state that was read before a time, and the first after it."""
    before = [state for state in states if state.monotonic_s <= monotonic_s]
    after = [state for state in states if state.monotonic_s > monotonic_s]
    return (before[-1] if before else None), (after[0] if after else None)


def facts_of_frame(header: FrameHeader, preferred_dopant: str | None = None) -> Facts:
    """Take what a header says as facts; of several possible dopants the operator's word picks one."""
    origin = f"frame {header.sequence}"
    values: dict[str, object] = {
        "host": header.host,
        "dopant": _dopant(header.dopants, preferred_dopant),
        "energy_kev": header.energy_kev,
        "convergence_mrad": header.convergence_mrad,
        "pixel_size_angstrom": header.pixel_size_angstrom,
        "dwell_us": header.dwell_us,
        "beam_current_pa": header.beam_current_pa,
        "dose_e_per_a2": header.dose_e_per_a2 or None,
    }
    if header.detector is not None:
        values["detector"] = header.detector.name
        values["inner_mrad"], values["outer_mrad"] = header.detector.inner_mrad, header.detector.outer_mrad
    return _sourced(values, origin)


def _facts_of_state(state: InstrumentState) -> Facts:
    """Take a state as facts; its detector only if a single one records."""
    values: dict[str, object] = {
        "host": state.host,
        "dopant": _dopant(state.dopants, None),
        "energy_kev": state.energy_kev,
        "convergence_mrad": state.convergence_mrad,
    }
    if len(state.detectors) == 1:
        (detector,) = state.detectors
        values["detector"] = detector.name
        values["inner_mrad"], values["outer_mrad"] = detector.inner_mrad, detector.outer_mrad
    return _sourced(values, f"the instrument at {state.monotonic_s:.1f} s")


def _facts_of_instrument(before: InstrumentState | None, after: InstrumentState | None) -> Facts:
    """What the instrument says of the time of a frame: only what it says before as well as after."""
    if before is None:
        return Facts()
    first, last = _facts_of_state(before), _facts_of_state(after or before)
    kept = [field for field in Facts.model_fields if field != "notes" and _agree(field, first, last)]
    return _only(first, kept)


def _facts_of_operator(operator: ContextSettings) -> Facts:
    """What the operator says."""
    values = {field: getattr(operator, field) for field in type(operator).model_fields if field != "override"}
    return facts_given(values, _OPERATOR)


def _check_settled(header: FrameHeader, before: InstrumentState | None) -> None:
    """Raise `DoubtError` if something was moving while the frame was taken."""
    is_moving = before is not None and before.is_settling and header.is_settled is not True
    if header.is_settled is False or is_moving:
        note = f" ({before.note})" if before is not None and before.is_settling and before.note else ""
        raise DoubtError(
            f"stage, optics or detector were still settling while frame {header.sequence} was taken{note}",
            "frames are taken up again as soon as the instrument says that it has settled",
        )


def _check_agreement(sources: Sequence[Facts], freed: Collection[str]) -> None:
    """Raise `DoubtError` if the first source contradicts all the others that know a field."""
    for field in _DISPUTABLE:
        name = "detector" if field in ("inner_mrad", "outer_mrad") else field
        mine = getattr(sources[0], field)
        others = [source for source in sources[1:] if getattr(source, field) is not None]
        if mine is None or not others or name in freed:
            continue
        if not any(_is_same(field, mine.value, getattr(other, field).value) for other in others):
            raise DoubtError(
                f"{_told(sources[0], field)}, {_told(others[-1], field)}",
                "mend the one that is wrong, or let the operator's word count: in settings [context] give "
                f'{name} and override = ["{name}"]',
            )


def _told(facts: Facts, field: str) -> str:
    """Who says what of a field; of an angle, of the detector that it belongs to."""
    fact = getattr(facts, field)
    if field in ("inner_mrad", "outer_mrad") and facts.detector and facts.inner_mrad and facts.outer_mrad:
        angles = f"{facts.inner_mrad.value:g}-{facts.outer_mrad.value:g} mrad"
        return f"{fact.source} says detector {facts.detector.value} ({angles})"
    return f"{fact.source} says {field} {fact.value}"


def _agree(field: str, first: Facts, last: Facts) -> bool:
    """Whether two sources both know a field, and the same."""
    one, other = getattr(first, field), getattr(last, field)
    return one is not None and other is not None and _is_same(field, one.value, other.value)


def _is_same(field: str, one: Any, other: Any) -> bool:
    """Whether two values of a field are the same, to its tolerance."""
    if isinstance(one, str):
        return bool(one == other)
    return bool(abs(one - other) <= TOLERANCES.get(field, 1e-9))


def _dopant(dopants: tuple[str, ...] | None, preferred: str | None) -> str | None:
    """The one dopant that a map is conditioned on; None where it is not known."""
    if dopants is None:
        return None
    if len(dopants) <= 1:
        return dopants[0] if dopants else "none"
    return preferred if preferred in dopants else None


def _sourced(values: dict[str, object], origin: str) -> Facts:
    """Give every known value the one source."""
    known: dict[str, Any] = {
        field: _Text(value=value, source=origin)
        if isinstance(value, str)
        else _Number(value=value, source=origin)  # type: ignore[arg-type]
        for field, value in values.items()
        if value is not None
    }
    return Facts(**known)


def _only(facts: Facts, fields: Sequence[str]) -> Facts:
    """Keep some fields; a detector brings its angles along."""
    wanted = set(fields) | ({"inner_mrad", "outer_mrad"} if "detector" in fields else set())
    return Facts(**{field: getattr(facts, field) for field in wanted if field in type(facts).model_fields})


def _merged(first: Facts, second: Facts) -> Facts:
    """Fill the gaps of one source from another."""
    fields = [field for field in Facts.model_fields if field != "notes"]
    return Facts(**{field: getattr(first, field) or getattr(second, field) for field in fields})
