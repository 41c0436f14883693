"""What is known of a frame, and the header that it travels with."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from drivers.contract.context import Detector, EnergyKev, Message
from drivers.contract.errors import InputError
from drivers.contract.materials import ATOMIC_NUMBERS, check_dopant, find_host
from drivers.contract.quantities import (
    PIXEL_BYTES,
    ConvergenceMrad,
    Dopants,
    EdgePx,
    Identifier,
    IndexPx,
    Name,
    NotNegative,
    PixelType,
    Positive,
    SequenceNumber,
    ShapePx,
    Text,
)

#: The version of the wire that this code speaks best, and all that it speaks, best first.
WIRE_VERSION = 1
WIRE_VERSIONS: tuple[int, ...] = (1,)

#: Largest relative difference of a field of view from its pixels times their size.
FIELD_TOLERANCE = 0.02


class StagePosition(Message):
    """The point of the specimen [nm] at the centre of the scan field.

    x grows along a row of the frame (with the column), y down a column (with the row): after a move by
    +x what was seen lies further left.
    """

    x_nm: float
    y_nm: float
    z_nm: float = 0.0


class Window(Message):
    """A part of the scan field, in pixels of the grid of the whole field (`field_shape_px`)."""

    row_px: IndexPx
    col_px: IndexPx
    rows_px: EdgePx
    cols_px: EdgePx

    def check_inside(self, field_shape_px: tuple[int, int]) -> None:
        """Raise `InputError` unless the window lies on the grid."""
        rows, cols = field_shape_px
        if self.row_px + self.rows_px > rows or self.col_px + self.cols_px > cols:
            raise InputError(
                f"the window of {self.rows_px} x {self.cols_px} px at ({self.row_px}, {self.col_px}) "
                f"reaches out of the field of {rows} x {cols} px"
            )


class Simultaneous(Message):
    """Marks frames that several detectors took in one pass of the beam."""

    group: Identifier
    index: Annotated[int, Field(ge=0, lt=64)]
    count: Annotated[int, Field(ge=2, le=64)]

    @model_validator(mode="after")
    def _index_is_in_group(self) -> Self:
        if self.index >= self.count:
            raise InputError(f"index {self.index} of a group of {self.count}: expected less than the count")
        return self


def check_materials(host: str | None, dopants: tuple[str, ...] | None) -> None:
    """Raise `UnknownMaterialError` for a host, an element or a pair of them without data."""
    if host is not None:
        find_host(host)
    for dopant in dopants or ():
        if host is not None:
            check_dopant(host, dopant)
        elif dopant not in ATOMIC_NUMBERS:
            raise InputError(f"dopant {dopant!r} is unknown; known elements are {', '.join(ATOMIC_NUMBERS)}")


class FrameFacts(Message):
    """What an instrument knows of a frame that it took; a driver fills in what it can."""

    host: Name | None = None
    """One of the hosts of `drivers.contract.materials`, for example ``"WSe2"``."""
    dopants: Dopants | None = None
    """Dopants that the specimen may hold; empty is known to be undoped, None is not known."""
    energy_kev: EnergyKev | None = None
    convergence_mrad: ConvergenceMrad | None = None
    detector: Detector | None = None
    pixel_size_angstrom: Annotated[float, Field(gt=0, le=1000)] | None = None
    """As the instrument declares it, which may be some per cent off."""
    field_of_view_nm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Width of the whole scan field, along a row, also where the frame is a window of it."""
    field_shape_px: ShapePx | None = None
    """Grid of the whole scan field; None where the frame is the whole field."""
    window: Window | None = None
    """The part of the scan field that this frame is; None is all of it."""
    dwell_us: Positive | None = None
    beam_current_pa: Positive | None = None
    dose_e_per_a2: NotNegative | None = None
    """Electrons that this frame put onto each square ångström."""
    stage: StagePosition | None = None
    defocus_nm: float | None = None
    is_settled: bool | None = None
    """Whether stage, optics and detector stood still throughout; None where the instrument cannot tell."""
    simultaneous: Simultaneous | None = None
    command_id: Identifier | None = None
    """The command that asked for this frame, if any did."""
    source: Text | None = None
    """Where a replayed or watched frame comes from, such as a file's name; for people to read."""
    monotonic_s: float | None = None
    """End of the scan on the monotonic clock of the machine that serves the instrument."""
    wall_time_unix_s: NotNegative | None = None
    """End of the scan, as seconds since 1970 UTC."""

    @model_validator(mode="after")
    def _facts_agree(self) -> Self:
        check_materials(self.host, self.dopants)
        if self.window is not None:
            if self.field_shape_px is None:
                raise InputError("a window needs field_shape_px, the grid that it is a part of")
            self.window.check_inside(self.field_shape_px)
        return self


class FrameHeader(FrameFacts):
    """The header of a frame; its pixels travel beside it as raw bytes, little-endian, row by row."""

    kind: Literal["frame"] = "frame"
    wire: Literal[1] = 1
    session: Identifier
    sequence: SequenceNumber
    """Counts the frames of a session from 0 without gaps."""
    dtype: PixelType
    shape: ShapePx
    checksum: Annotated[str, Field(pattern=r"^crc32:[0-9a-f]{8}$")]
    """CRC-32 of the pixel bytes, as in zlib and PNG."""
    monotonic_s: float
    wall_time_unix_s: NotNegative

    @property
    def pixel_bytes(self) -> int:
        """Bytes that the pixels take."""
        return self.shape[0] * self.shape[1] * PIXEL_BYTES[self.dtype]

    @model_validator(mode="after")
    def _shape_agrees(self) -> Self:
        rows, cols = self.shape
        if self.window is not None and (self.window.rows_px, self.window.cols_px) != (rows, cols):
            raise InputError(
                f"a frame of {rows} x {cols} px cannot be the window of "
                f"{self.window.rows_px} x {self.window.cols_px} px that its header names"
            )
        grid = self.field_shape_px or self.shape
        if self.window is None and grid != self.shape:
            raise InputError(
                f"a frame of {rows} x {cols} px without a window is the whole field, but field_shape_px "
                f"is {grid[0]} x {grid[1]}"
            )
        if self.field_of_view_nm is not None and self.pixel_size_angstrom is not None:
            width_nm = grid[1] * self.pixel_size_angstrom / 10
            if abs(width_nm / self.field_of_view_nm - 1) > FIELD_TOLERANCE:
                raise InputError(
                    f"field_of_view_nm {self.field_of_view_nm:g} contradicts {grid[1]} px of "
                    f"{self.pixel_size_angstrom:g} Å, which are {width_nm:g} nm"
                )
        return self
