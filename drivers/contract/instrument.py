"""What an instrument can do, how it stands, and what it can be told to do."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from drivers.contract.context import Detector, EnergyKev, Message
from drivers.contract.header import StagePosition, Window, check_materials
from drivers.contract.quantities import (
    ConvergenceMrad,
    Dopants,
    Identifier,
    Name,
    NotNegative,
    Positive,
    SequenceNumber,
    ShapePx,
    Text,
)


class Capabilities(Message):
    """What an instrument can do, and what its changes cost; what it does not say is None or empty."""

    kind: Literal["capabilities"] = "capabilities"
    instrument: Name
    """For people, for example ``"simulated ARM200F"``."""
    commands: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    """Kinds of the commands that it takes, for example ``"switch_detector"``."""
    energies_kev: Annotated[tuple[EnergyKev, ...], Field(max_length=64)] = ()
    detectors: Annotated[tuple[Detector, ...], Field(max_length=64)] = ()
    max_simultaneous: Annotated[int, Field(ge=1, le=64)] = 1
    """Detectors that it can record in one pass."""
    can_scan_windows: bool = False
    is_free_running: bool = False
    """Frames come whether or not anybody takes them, so that a slow reader makes the bridge drop some."""
    dwell_us_range: tuple[Positive, Positive] | None = None
    field_of_view_nm_range: tuple[Positive, Positive] | None = None
    stage_nm_range: tuple[float, float] | None = None
    """Reach of the stage along x and y."""
    max_shape_px: ShapePx | None = None
    flyback_us: NotNegative = 0.0
    """Time that each row takes beside its pixels."""
    detector_switch_s: NotNegative = 0.0
    energy_switch_s: NotNegative = 0.0
    stage_settle_s: NotNegative = 0.0


class InstrumentState(Message):
    """How an instrument stands, as read back from it."""

    kind: Literal["instrument_state"] = "instrument_state"
    monotonic_s: float
    host: Name | None = None
    dopants: Dopants | None = None
    energy_kev: EnergyKev | None = None
    convergence_mrad: ConvergenceMrad | None = None
    detectors: Annotated[tuple[Detector, ...], Field(max_length=64)] = ()
    """Those that record at present."""
    field_of_view_nm: Positive | None = None
    shape_px: ShapePx | None = None
    dwell_us: Positive | None = None
    beam_current_pa: NotNegative | None = None
    stage: StagePosition | None = None
    defocus_nm: float | None = None
    is_blanked: bool | None = None
    is_scanning: bool = False
    is_settling: bool = False
    """A change is on its way: frames taken now do not have the context of the state."""
    settles_in_s: NotNegative | None = None
    note: Text = ""
    """For people, for example ``"ramping from 60 to 80 keV"``."""

    def is_same_as(self, other: "InstrumentState") -> bool:
        """Whether two states differ in nothing but when they were read."""
        ignored = {"monotonic_s", "settles_in_s"}
        return self.model_dump(exclude=ignored) == other.model_dump(exclude=ignored)

    @model_validator(mode="after")
    def _materials_are_known(self) -> Self:
        check_materials(self.host, self.dopants)
        return self


class SwitchDetector(Message):
    """Record with these detectors from now on, at once if they are several."""

    kind: Literal["switch_detector"] = "switch_detector"
    detectors: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    """Names, as in the capabilities."""


class SwitchEnergy(Message):
    """Go to another beam energy, which may take from minutes to hours."""

    kind: Literal["switch_energy"] = "switch_energy"
    energy_kev: EnergyKev


class AcquireImage(Message):
    """Take one frame of each active detector where the stage is; None leaves a setting as it is."""

    kind: Literal["acquire_image"] = "acquire_image"
    dwell_us: Positive | None = None
    shape_px: ShapePx | None = None
    """Grid of the whole field."""
    window: Window | None = None
    """Scan only this part of the grid."""

    @model_validator(mode="after")
    def _window_is_inside(self) -> Self:
        if self.window is not None and self.shape_px is not None:
            self.window.check_inside(self.shape_px)
        return self


class SetFieldOfView(Message):
    """Scan a field of this width, along a row."""

    kind: Literal["set_field_of_view"] = "set_field_of_view"
    field_of_view_nm: Annotated[float, Field(gt=0, le=1e6)]


class MoveStage(Message):
    """Bring a point of the specimen to the centre of the field; None leaves a coordinate as it is."""

    kind: Literal["move_stage"] = "move_stage"
    x_nm: float | None = None
    y_nm: float | None = None
    z_nm: float | None = None


class Refocus(Message):
    """Focus at the present position, as after a change of energy."""

    kind: Literal["refocus"] = "refocus"


class BlankBeam(Message):
    """Keep the beam off the specimen."""

    kind: Literal["blank_beam"] = "blank_beam"


class UnblankBeam(Message):
    """Let the beam onto the specimen."""

    kind: Literal["unblank_beam"] = "unblank_beam"


class StartScan(Message):
    """Take frames one after another until stopped; None leaves a setting as it is."""

    kind: Literal["start_scan"] = "start_scan"
    dwell_us: Positive | None = None
    shape_px: ShapePx | None = None


class StopScan(Message):
    """Stop taking frames once the present one is complete."""

    kind: Literal["stop_scan"] = "stop_scan"


Command = Annotated[
    SwitchDetector
    | SwitchEnergy
    | AcquireImage
    | SetFieldOfView
    | MoveStage
    | Refocus
    | BlankBeam
    | UnblankBeam
    | StartScan
    | StopScan,
    Field(discriminator="kind"),
]

OutcomeStatus = Literal["confirmed", "refused", "failed", "timed_out"]


class CommandRequest(Message):
    """A command on its way to an instrument; a bridge carries out each `id` of a session once."""

    kind: Literal["command_request"] = "command_request"
    session: Identifier
    id: Identifier
    command: Command
    timeout_s: Annotated[float, Field(gt=0, le=86400)] = 20.0
    """From the start of its execution until it must have been confirmed."""


class CommandOutcome(Message):
    """The end of a command: every one has one."""

    kind: Literal["command_outcome"] = "command_outcome"
    id: Identifier
    status: OutcomeStatus
    """confirmed: the state read back agrees; refused: nothing was begun; failed: the instrument gave an
    error; timed_out: the state never agreed, or the instrument or the link never answered, so that how it
    stands is not known."""
    reason: str = Field(default="", max_length=2000)
    state: InstrumentState | None = None
    """As read back last."""
    sequences: Annotated[tuple[SequenceNumber, ...], Field(max_length=64)] = ()
    """Frames that the command took."""
    elapsed_s: NotNegative = 0.0
