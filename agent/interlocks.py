"""Hard limits that no mode passes, checked before anything is sent."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from agent.ledger import Ledger, exposure_of_command
from agent.settings import LimitSettings
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    Capabilities,
    Command,
    InstrumentState,
    MoveStage,
    Refocus,
    SetFieldOfView,
    StartScan,
    StopScan,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from drivers.contract.knock_on import onset_kev
from drivers.contract.materials import HOSTS


@dataclass(frozen=True)
class Circumstances:
    """What a command is checked against beside the limits.

    Parameters
    ----------
    capabilities, state : Capabilities, InstrumentState or None
        What the instrument says; without it nothing is sent but to blank the beam.
    sent_s : sequence of float
        When commands were sent before [s].
    host : str or None
        Of the specimen, as operator or instrument say.
    ledger : Ledger
        Doses so far.
    drift_angstrom : tuple of float
        How far the specimen has gone since the session began.
    """

    capabilities: Capabilities | None
    state: InstrumentState | None
    sent_s: Sequence[float] = ()
    host: str | None = None
    ledger: Ledger = field(default_factory=Ledger)
    drift_angstrom: tuple[float, float] = (0.0, 0.0)


def find_objection(command: Command, limits: LimitSettings, now: Circumstances, now_s: float) -> str | None:
    """Say why a command may not be sent; None if it may."""
    if isinstance(command, BlankBeam):
        return None
    if now.capabilities is None or now.state is None:
        return "the instrument has not said what it can do and how it stands"
    if command.kind not in now.capabilities.commands:
        return f"the instrument does not take {command.kind}"
    if now.state.is_settling:
        return f"the instrument is still settling{f' ({now.state.note})' if now.state.note else ''}"
    recent = count_recent(now.sent_s, now_s)
    if recent >= limits.requests_per_minute:
        return f"{recent} requests were sent in the last minute; the limit is {limits.requests_per_minute}"
    return _objection_to(command, limits, now)


def count_recent(sent_s: Sequence[float], now_s: float) -> int:
    """Commands that were sent in the last minute, or by a clock that has gone back since."""
    return sum(now_s - sent < 60.0 for sent in sent_s)


def must_ask(command: Command, limits: LimitSettings) -> bool:
    """Whether a command waits for the operator in every mode."""
    return isinstance(command, SwitchEnergy) and not limits.energy_without_asking


def energy_objection(energy_kev: float, limits: LimitSettings, host: str | None) -> str | None:
    """Say why the agent may not ask for a beam energy; None if it may."""
    if energy_kev not in limits.energies_kev:
        allowed = ", ".join(f"{energy:g}" for energy in limits.energies_kev) or "none"
        return f"{energy_kev:g} keV is not among the allowed energies: {allowed}"
    if limits.above_knock_on:
        return None
    if host is None or host not in HOSTS:
        return "which host the specimen is, is not known, and so not at which energy its chalcogens go"
    if energy_kev >= onset_kev(host):
        return (
            f"at {energy_kev:g} keV the beam knocks chalcogens out of {host}: that begins at "
            f"{onset_kev(host):.0f} keV (limits.above_knock_on)"
        )
    return None


def _objection_to(command: Command, limits: LimitSettings, now: Circumstances) -> str | None:
    """Check what a command asks for against what is allowed and possible."""
    match command:
        case SwitchDetector():
            offered = (
                {detector.name for detector in now.capabilities.detectors} if now.capabilities else set()
            )
            for name in command.detectors:
                if name not in limits.detectors:
                    return (
                        f"detector {name} is not among the allowed: {', '.join(limits.detectors) or 'none'}"
                    )
                if name not in offered:
                    return f"the instrument has no detector {name}: {', '.join(sorted(offered)) or 'none'}"
            return None
        case SwitchEnergy():
            return energy_objection(command.energy_kev, limits, now.host)
        case AcquireImage():
            return _dose_objection(command, limits, now)
        case BlankBeam():
            return None
        case MoveStage() | SetFieldOfView() | Refocus() | StartScan() | StopScan() | UnblankBeam():
            return f"{command.kind} is the operator's; the agent does not ask for it"
        case _:
            assert_never(command)


def _dose_objection(command: AcquireImage, limits: LimitSettings, now: Circumstances) -> str | None:
    """Check a scan against the detectors that would read, and the dose that its regions have taken."""
    reading = [detector.name for detector in now.state.detectors] if now.state else []
    if strange := [name for name in reading if name not in limits.detectors]:
        return (
            f"detector {strange[0]} would read, and is not among the allowed: {', '.join(limits.detectors)}"
        )
    if not limits.dose_e_per_a2:
        return None
    exposure = exposure_of_command(command, now.state) if now.state else None
    if exposure is None or now.ledger.unknown:
        what = "this scan" if exposure is None else f"{now.ledger.unknown} frames before"
        return (
            f"the dose of {what} is not known, and limits.dose_e_per_a2 is {limits.dose_e_per_a2:.3g} (0 "
            "would limit nothing)"
        )
    before = now.ledger.most_in(exposure.box, now.drift_angstrom)
    if before + exposure.dose_e_per_a2 > limits.dose_e_per_a2:
        return (
            f"a region of the specimen has taken {before:.3g} e/Å²; {exposure.dose_e_per_a2:.3g} more would "
            f"pass the limit of {limits.dose_e_per_a2:.3g}"
        )
    return None
