"""Numbers and texts of the contract, each with the range that it must lie in."""

from typing import Annotated, Literal

from pydantic import Field

#: Electrons that a picoampere brings in a microsecond: 1e-18 C over the elementary charge (SI, exact).
ELECTRONS_PER_PA_US = 1e-18 / 1.602176634e-19

#: Bytes of pixels that a frame may hold at most: 8192 x 8192 of float32.
MAX_FRAME_BYTES = 256 * 2**20

#: Longest edge of a frame [px].
MAX_EDGE_PX = 16384

Text = Annotated[str, Field(max_length=500)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}$")]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
SequenceNumber = Annotated[int, Field(ge=0, lt=2**53)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
EdgePx = Annotated[int, Field(ge=1, le=MAX_EDGE_PX)]
IndexPx = Annotated[int, Field(ge=0, lt=MAX_EDGE_PX)]
ShapePx = tuple[EdgePx, EdgePx]
ConvergenceMrad = Annotated[float, Field(gt=0, le=200)]
Dopants = Annotated[tuple[str, ...], Field(max_length=8)]
PixelType = Literal["uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"]

PIXEL_BYTES: dict[str, int] = {
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "float32": 4,
    "float64": 8,
}
