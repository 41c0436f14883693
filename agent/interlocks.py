"""Hard limits that no mode passes, checked before anything is sent."""

from collections.abc import Sequence
from typing import assert_never

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


def find_objection(
    command: Command,
    limits: LimitSettings,
    capabilities: Capabilities | None,
    state: InstrumentState | None,
    sent_s: Sequence[float],
    now_s: float,
) -> str | None:
    """Say why a command may not be sent; None if it may.

    Parameters
    ----------
    command : Command
    limits : LimitSettings
    capabilities, state : Capabilities, InstrumentState or None
        What the instrument says; without it nothing is sent but to blank the beam.
    sent_s : sequence of float
        When commands were sent before [s].
    now_s : float
    """
    if isinstance(command, BlankBeam):
        return None
    if capabilities is None or state is None:
        return "the instrument has not said what it can do and how it stands"
    if command.kind not in capabilities.commands:
        return f"the instrument does not take {command.kind}"
    if state.is_settling:
        return f"the instrument is still settling{f' ({state.note})' if state.note else ''}"
    recent = sum(now_s - sent < 60.0 for sent in sent_s)
    if recent >= limits.requests_per_minute:
        return f"{recent} requests were sent in the last minute; the limit is {limits.requests_per_minute}"
    return _objection_to(command, limits, capabilities)


def must_ask(command: Command, limits: LimitSettings) -> bool:
    """Whether a command waits for the operator in every mode."""
    return isinstance(command, SwitchEnergy) and not limits.energy_without_asking


def _objection_to(command: Command, limits: LimitSettings, capabilities: Capabilities) -> str | None:
    """Check what a command asks for against what is allowed and possible."""
    match command:
        case SwitchDetector():
            offered = {detector.name for detector in capabilities.detectors}
            for name in command.detectors:
                if name not in limits.detectors:
                    return (
                        f"detector {name} is not among the allowed: {', '.join(limits.detectors) or 'none'}"
                    )
                if name not in offered:
                    return f"the instrument has no detector {name}: {', '.join(sorted(offered)) or 'none'}"
            return None
        case SwitchEnergy():
            if command.energy_kev not in limits.energies_kev:
                allowed = ", ".join(f"{energy:g}" for energy in limits.energies_kev) or "none"
                return f"{command.energy_kev:g} keV is not among the allowed energies: {allowed}"
            return None
        case AcquireImage() | BlankBeam() | StopScan():
            return None
        case MoveStage() | SetFieldOfView() | Refocus() | StartScan() | UnblankBeam():
            return f"{command.kind} is the operator's; the agent does not ask for it"
        case _:
            assert_never(command)
