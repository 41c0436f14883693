"""A frame: a header and its pixels, checked against each other."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.errors import (
    ChecksumError,
    FrameLengthError,
    FrameTooLargeError,
    InputError,
    PixelError,
)
from drivers.contract.header import FrameFacts, FrameHeader
from drivers.contract.quantities import MAX_EDGE_PX, MAX_FRAME_BYTES, PIXEL_BYTES

Pixels = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame as a detector recorded it.

    Parameters
    ----------
    header : FrameHeader
    pixels : ndarray of shape (M, N)
        Read-only, of the header's dtype and shape.
    """

    header: FrameHeader
    pixels: Pixels


def checksum(pixels: bytes | memoryview | Pixels) -> str:
    """Checksum of pixel bytes, as it stands in a header (`docs/decisions/0030-crc32.md`)."""
    return f"crc32:{zlib.crc32(pixels):08x}"  # type: ignore[arg-type]


def build_frame(
    facts: FrameFacts,
    pixels: Pixels,
    *,
    session: str,
    sequence: int,
    monotonic_s: float,
    wall_time_unix_s: float,
) -> Frame:
    """Number and seal a frame; the times are used where the facts have none.

    Raises
    ------
    InputError
        If the pixels are no grey image of a type that travels, or the facts contradict their shape.
    """
    dtype = np.dtype(pixels.dtype).name
    if pixels.ndim != 2 or dtype not in PIXEL_BYTES:
        raise InputError(
            f"expected pixels of shape (rows, columns) and type {', '.join(PIXEL_BYTES)}; "
            f"found shape {pixels.shape} and type {pixels.dtype}"
        )
    rows, cols = pixels.shape
    if not (1 <= rows <= MAX_EDGE_PX and 1 <= cols <= MAX_EDGE_PX):
        raise InputError(f"expected edges of 1 to {MAX_EDGE_PX} px, found {rows} x {cols}")
    sealed = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    if sealed.base is not None or sealed is pixels:
        sealed = sealed.view()
    sealed.flags.writeable = False
    known: dict[str, Any] = {name: getattr(facts, name) for name in FrameFacts.model_fields}
    known["monotonic_s"] = monotonic_s if facts.monotonic_s is None else facts.monotonic_s
    known["wall_time_unix_s"] = wall_time_unix_s if facts.wall_time_unix_s is None else facts.wall_time_unix_s
    header = FrameHeader(
        **known,
        session=session,
        sequence=sequence,
        dtype=dtype,  # type: ignore[arg-type]
        shape=(rows, cols),
        checksum=checksum(sealed),
    )
    return Frame(header, sealed)


def check_frame(
    header: FrameHeader, buffer: bytes | memoryview, *, max_bytes: int = MAX_FRAME_BYTES
) -> Frame:
    """Check pixels against their header and show them as an array, without a copy.

    Raises
    ------
    FrameTooLargeError, FrameLengthError, ChecksumError, PixelError
    """
    check_size(header, max_bytes=max_bytes)
    raw = memoryview(buffer)
    if raw.nbytes != header.pixel_bytes:
        rows, cols = header.shape
        raise FrameLengthError(
            f"expected {header.pixel_bytes} bytes for {rows} x {cols} px of {header.dtype}, "
            f"found {raw.nbytes}",
            "send all rows, without padding, and the shape as (rows, columns)",
        )
    found = checksum(raw)
    if found != header.checksum:
        raise ChecksumError(
            f"expected pixels with the checksum {header.checksum}, found {found}",
            "the bytes were altered on their way, or the checksum is not the CRC-32 (zlib) of the pixel "
            "bytes; send the frame again",
        )
    pixels = np.frombuffer(raw, dtype=np.dtype(header.dtype).newbyteorder("<")).reshape(header.shape)
    pixels.flags.writeable = False
    check_pixels(pixels)
    return Frame(header, pixels)


def check_size(header: FrameHeader, *, max_bytes: int = MAX_FRAME_BYTES) -> None:
    """Raise `FrameTooLargeError` if the pixels that a header announces are too many to take."""
    if header.pixel_bytes > max_bytes:
        rows, cols = header.shape
        raise FrameTooLargeError(
            f"expected at most {max_bytes} bytes of pixels, found a header of {rows} x {cols} px of "
            f"{header.dtype}, which are {header.pixel_bytes}",
            "scan fewer pixels, or send a narrower type",
        )


def check_pixels(pixels: Pixels) -> None:
    """Raise `PixelError` for NaN, infinite or negative pixels."""
    if pixels.dtype.kind == "u":
        return
    # NaN passes through min and max, and fails the comparison; so two passes show whatever is wrong.
    lowest, highest = pixels.min(), pixels.max()
    if lowest >= 0 and highest < np.inf:
        return
    if pixels.dtype.kind == "f":
        bad = int(np.count_nonzero(~np.isfinite(pixels)))
        if bad:
            raise PixelError(
                f"expected finite intensities, found {bad} NaN or infinite pixels of {pixels.size}",
                "replace dead pixels by their neighbours, and take the linear scale",
            )
    negative = int(np.count_nonzero(np.less(pixels, 0)))
    raise PixelError(
        f"expected counts from 0 up, found {negative} negative pixels of {pixels.size}, down to {lowest}",
        "add the detector's offset back, or read the pixels as unsigned if they are",
    )
