"""Whether an instrument can be told something, and whether it then stands as it was told."""

from typing import Annotated, assert_never

from pydantic import Field

from drivers.contract.context import Message
from drivers.contract.header import FrameFacts
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


class Tolerances(Message):
    """How far a value that is read back may lie from the one that was asked for."""

    energy_kev: Annotated[float, Field(gt=0)] = 0.05
    field_relative: Annotated[float, Field(gt=0)] = 0.01
    dwell_relative: Annotated[float, Field(gt=0)] = 0.02
    stage_nm: Annotated[float, Field(gt=0)] = 1.0


def refusal(command: Command, capabilities: Capabilities) -> str:
    """Say why an instrument of these capabilities cannot do it; empty if it can.

    Checked before anything moves.  A range or list that the instrument does not state bounds nothing.
    """
    if command.kind not in capabilities.commands:
        known = ", ".join(capabilities.commands) or "none"
        return f"{capabilities.instrument} does not take {command.kind}; it takes {known}"
    match command:
        case SwitchDetector():
            return _refuse_detectors(command, capabilities)
        case SwitchEnergy():
            energies = capabilities.energies_kev
            if energies and all(abs(command.energy_kev - energy) > 1e-6 for energy in energies):
                known = ", ".join(f"{energy:g}" for energy in energies)
                return f"{command.energy_kev:g} keV is not among the energies of the instrument: {known} keV"
        case AcquireImage() | StartScan():
            return _refuse_scan(command, capabilities)
        case SetFieldOfView():
            return _outside(command.field_of_view_nm, capabilities.field_of_view_nm_range, "a field of", "nm")
        case MoveStage():
            for value in (command.x_nm, command.y_nm):
                if value is not None and (
                    reason := _outside(value, capabilities.stage_nm_range, "a stage position of", "nm")
                ):
                    return reason
        case Refocus() | BlankBeam() | UnblankBeam() | StopScan():
            pass
        case _:
            assert_never(command)
    return ""


def disagreement(command: Command, state: InstrumentState, tolerances: Tolerances) -> str:
    """Say how a state that was read back differs from what was asked for; empty if it agrees.

    An `AcquireImage` is confirmed by its frames (`is_frame_of`), not by the state.
    """
    match command:
        case BlankBeam() | UnblankBeam():
            asked = command.kind == "blank_beam"
            return _differs("is_blanked", state.is_blanked, state.is_blanked is asked, asked)
        case StopScan():
            return _differs("is_scanning", state.is_scanning, not state.is_scanning, False)
        case AcquireImage():
            return "its frame has not come"
    if state.is_settling:
        return f"is settling still{': ' + state.note if state.note else ''}"
    match command:
        case SwitchDetector():
            names = tuple(detector.name for detector in state.detectors)
            return _differs("detectors", names, set(names) == set(command.detectors), command.detectors)
        case SwitchEnergy():
            agrees = _is_near(state.energy_kev, command.energy_kev, tolerances.energy_kev)
            return _differs("energy_kev", state.energy_kev, agrees, command.energy_kev)
        case SetFieldOfView():
            asked_nm = command.field_of_view_nm
            agrees = _is_near(state.field_of_view_nm, asked_nm, asked_nm * tolerances.field_relative)
            return _differs("field_of_view_nm", state.field_of_view_nm, agrees, asked_nm)
        case MoveStage():
            return _stage_differs(command, state, tolerances)
        case Refocus():
            return ""
        case StartScan():
            return _scan_differs(command, state, tolerances)
        case _:
            assert_never(command)


def is_frame_of(command: AcquireImage, facts: FrameFacts, shape: tuple[int, int], tolerance: float) -> bool:
    """Whether a frame is what was asked for: window, grid, and dwell to a relative tolerance."""
    if facts.window != command.window:
        return False
    if command.shape_px is not None and (facts.field_shape_px or shape) != command.shape_px:
        return False
    return command.dwell_us is None or _is_near(
        facts.dwell_us, command.dwell_us, command.dwell_us * tolerance
    )


def _refuse_detectors(command: SwitchDetector, capabilities: Capabilities) -> str:
    known = [detector.name for detector in capabilities.detectors]
    unknown = [name for name in command.detectors if name not in known]
    if unknown:
        return f"detector {', '.join(unknown)} is not among those of the instrument: {', '.join(known)}"
    if len(set(command.detectors)) > capabilities.max_simultaneous:
        return (
            f"{len(set(command.detectors))} detectors at once: the instrument records at most "
            f"{capabilities.max_simultaneous}"
        )
    return ""


def _refuse_scan(command: AcquireImage | StartScan, capabilities: Capabilities) -> str:
    if isinstance(command, AcquireImage) and command.window and not capabilities.can_scan_windows:
        return "the instrument cannot scan a window of its field"
    if command.dwell_us is not None and (
        reason := _outside(command.dwell_us, capabilities.dwell_us_range, "a dwell time of", "us")
    ):
        return reason
    largest = capabilities.max_shape_px
    if command.shape_px and largest and any(a > b for a, b in zip(command.shape_px, largest, strict=True)):
        return (
            f"a grid of {command.shape_px[0]} x {command.shape_px[1]} px is larger than the "
            f"instrument's {largest[0]} x {largest[1]}"
        )
    return ""


def _outside(value: float, bounds: tuple[float, float] | None, what: str, unit: str) -> str:
    if bounds is None or bounds[0] <= value <= bounds[1]:
        return ""
    return f"{what} {value:g} {unit} is outside the instrument's {bounds[0]:g} to {bounds[1]:g} {unit}"


def _stage_differs(command: MoveStage, state: InstrumentState, tolerances: Tolerances) -> str:
    for axis in ("x_nm", "y_nm", "z_nm"):
        asked = getattr(command, axis)
        seen = getattr(state.stage, axis) if state.stage is not None else None
        if asked is not None and (
            reason := _differs(f"stage {axis}", seen, _is_near(seen, asked, tolerances.stage_nm), asked)
        ):
            return reason
    return ""


def _scan_differs(command: StartScan, state: InstrumentState, tolerances: Tolerances) -> str:
    asked = command.dwell_us
    if asked is not None and not _is_near(state.dwell_us, asked, asked * tolerances.dwell_relative):
        return _differs("dwell_us", state.dwell_us, False, asked)
    if command.shape_px is not None and state.shape_px != command.shape_px:
        return _differs("shape_px", state.shape_px, False, command.shape_px)
    return _differs("is_scanning", state.is_scanning, state.is_scanning, True)


def _is_near(value: float | None, asked: float, tolerance: float) -> bool:
    return value is not None and abs(value - asked) <= tolerance


def _differs(name: str, seen: object, agrees: bool, asked: object) -> str:
    if agrees:
        return ""
    if seen is None:
        return f"{name}: asked for {asked}, but the instrument does not read it back"
    return f"{name}: asked for {asked}, read back {seen}"
