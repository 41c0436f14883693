"""The defect map of one frame: what is published, stored and written, without torch.

A map is a header, a message like every other, and one record a column (`COLUMN_DTYPE`).
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from drivers.contract.context import ColumnClass, Message
from drivers.contract.errors import InputError
from drivers.contract.facts import Settled

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]

#: Names of the classes in tables and messages, in the order of `ColumnClass`.
CLASS_NAMES: tuple[str, ...] = ("x2", "vac1", "vac2", "metal", "dopant")


class Sublattice(IntEnum):
    """The two sublattices of the honeycomb."""

    METAL = 0
    CHALCOGEN = 1


class ColumnFlag(IntFlag):
    """What limits the trust in a column; bits of the field ``flags``."""

    UNDECIDED = 1
    """It is not decided which sublattice of the column's grain is the metal: the probabilities weigh both."""
    BOUNDARY = 2
    """On the boundary between two grains, where neighbourhoods differ from all that was trained."""
    FOREIGN = 4
    """Unlike the columns of training (``foreign`` above 2): contamination, adatoms, edges of holes."""
    EDGE = 8
    """Its surroundings are partly outside the frame; the missing part is filled in by symmetry."""
    RIM = 32
    """Beside vacuum, a hole or contamination: some of its neighbours are missing."""
    PREDICTED = 16
    """No maximum of its own: the position is where its neighbours say it should be."""


#: One record a column.  Rows and columns count pixels from the centre of the first; x runs along columns
#: and y along rows, in Å of the specimen from the centre of the first pixel; p is by `ColumnClass`.
COLUMN_DTYPE = np.dtype(
    [
        ("row_px", "<f4"),
        ("col_px", "<f4"),
        ("x_angstrom", "<f4"),
        ("y_angstrom", "<f4"),
        ("sublattice", "u1"),
        ("cls", "u1"),
        ("p", "<f4", (len(ColumnClass),)),
        ("entropy_nats", "<f4"),
        ("foreign", "<f4"),
        ("grain", "<u2"),
        ("flags", "u1"),
    ]
)


class FrameReference(Message):
    """Which frame a map is of: a frame of a session, or an image of a file."""

    session: str | None = None
    sequence: Annotated[int, Field(ge=0)] | None = None
    file: str | None = None
    label: str = ""
    """Tells the images of one file apart; empty if it holds one."""
    shape: tuple[int, int]
    """Rows and columns."""
    sha256: str
    """Of the pixels: type, shape and bytes in C order, as `drivers.contract.maps.digest_pixels` takes it."""


class ModelReference(Message):
    """Which weights made a map."""

    name: str
    weights_sha256: str
    foreignness_sha256: str
    code_version: str


class Scale(Message):
    """Size of a pixel, from the lattice and as declared."""

    lattice_px: Positive
    """Lattice constant of the largest grain: side of the equilateral cell of its cell's area."""
    pixel_size_angstrom: Positive
    """The host's lattice constant over `lattice_px`; this is believed."""
    declared_pixel_size_angstrom: Positive | None = None
    shear: Annotated[float, Field(ge=1)]
    """Longest over shortest stretch of the lattice as scanned; 1 for an undistorted scan."""


class Grain(Message):
    """One grain of the crystal."""

    columns: Count
    vectors_px: tuple[tuple[float, float], tuple[float, float]]
    """Lattice vectors, (row, column)."""
    is_decided: bool
    """Whether the margin says which sublattice is the metal."""
    margin_nats: Annotated[float, Field(ge=0)]
    """Log odds of the choice of the metal's sublattice against the other."""
    brightness_nats: float
    """What the ratio of the sublattices' contrasts adds to the margin; negative speaks against the choice."""
    defect_nats: float
    """What the populations of dimmer and brighter columns add."""
    metal_over_x2: float | None
    """Measured contrast of the metal's sublattice over the other's; None where it cannot be measured."""


class ClassCounts(Message):
    """Columns by their most probable class."""

    x2: Count
    vac1: Count
    vac2: Count
    metal: Count
    dopant: Count


class Concentration(Message):
    """Part of the sites of a sublattice that hold a defect, with its 95 % interval."""

    defect: Literal["vac1", "vac2", "dopant"]
    of: Literal["chalcogen sites", "metal sites"]
    sites: Count
    """Sites that were counted: whole, off grain boundaries, not foreign."""
    expected_count: Annotated[float, Field(ge=0)]
    """Sum of the probabilities of the defect over these sites."""
    value: Fraction
    low: Fraction
    high: Fraction


class DetectorEvidence(Message):
    """How well the contrasts seen fit one detector."""

    detector: str
    log_evidence_nats: float
    """Log probability of the frame's contrasts under the detector, over that under the declared one."""


FlagKind = Literal[
    "scale_mismatch",
    "context_contradicted",
    "context_approximated",
    "detector_decides",
    "host_doubtful",
    "undecided",
    "denoised",
    "many_foreign",
    "defects_unlike",
    "overflowed",
    "saturated",
    "clipped",
    "filtered",
    "padded",
    "layered",
    "uneven",
    "unread",
    "lost_pixels",
    "lost_rows",
    "spikes",
    "read_in_field",
]


class MapFlag(Message):
    """Something about the whole map that its reader should know."""

    kind: FlagKind
    message: str


class MapHeader(Message):
    """Everything about a map but its columns."""

    kind: Literal["map"] = "map"
    version: Literal[1] = 1
    frame: FrameReference
    settled: Settled
    """The context that the frame was read under, with the source of every value."""
    model: ModelReference
    scale: Scale
    grains: tuple[Grain, ...]
    prior: tuple[Fraction, Fraction, Fraction, Fraction, Fraction]
    """Shares of the classes, as learnt from the frame, by `ColumnClass`."""
    columns: Count
    counts: ClassCounts
    concentrations: tuple[Concentration, ...]
    mean_entropy_nats: Annotated[float, Field(ge=0)]
    masked_fraction: Fraction
    """Part of the frame where no lattice is claimed: vacuum, holes, contamination."""
    detector_evidence: tuple[DetectorEvidence, ...] = ()
    flags: tuple[MapFlag, ...] = ()

    @property
    def is_decided(self) -> bool:
        """Whether the sublattices of all grains are decided."""
        return all(grain.is_decided for grain in self.grains)

    @property
    def margin_nats(self) -> float:
        """Margin of the least certain grain's sublattices."""
        return min(grain.margin_nats for grain in self.grains)


@dataclass(frozen=True)
class DefectMap:
    """A header and the columns that it describes.

    Parameters
    ----------
    header : MapHeader
    columns : ndarray of shape (header.columns,), of `COLUMN_DTYPE`
        Made read-only.
    """

    header: MapHeader
    columns: NDArray[np.void]

    def __post_init__(self) -> None:
        if self.columns.dtype != COLUMN_DTYPE or self.columns.shape != (self.header.columns,):
            raise InputError(
                f"expected {self.header.columns} columns of COLUMN_DTYPE, found shape {self.columns.shape} "
                f"of {self.columns.dtype}"
            )
        self.columns.setflags(write=False)

    def is_flagged(self, flag: ColumnFlag) -> NDArray[np.bool_]:
        """Whether each column carries a flag."""
        return np.asarray((self.columns["flags"] & int(flag)) != 0)

    def to_bytes(self) -> bytes:
        """Raw records, as they travel beside the header."""
        return self.columns.tobytes()


def columns_from_bytes(content: bytes | bytearray | memoryview, count: int) -> NDArray[np.void]:
    """Read raw records.

    Raises
    ------
    InputError
        If these are not `count` records.
    """
    expected = count * COLUMN_DTYPE.itemsize
    if len(memoryview(content).cast("B")) != expected:
        raise InputError(
            f"expected {expected} bytes for {count} columns, found {len(memoryview(content).cast('B'))}"
        )
    return np.frombuffer(content, dtype=COLUMN_DTYPE)


def digest_pixels(array: NDArray[np.generic]) -> str:
    """SHA-256 of an image: its type, shape and bytes, so that a map can be matched to its frame."""
    import hashlib

    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
