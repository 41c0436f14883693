import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from drivers.contract.codec import pack_frame, unpack
from drivers.contract.errors import (
    ChecksumError,
    FrameLengthError,
    FrameTooLargeError,
    InputError,
    PixelError,
)
from drivers.contract.frame import build_frame, check_frame, checksum
from drivers.contract.header import FrameFacts
from drivers.contract.quantities import MAX_EDGE_PX, PIXEL_BYTES

STAMPS = {"session": "s-1", "sequence": 0, "monotonic_s": 1.0, "wall_time_unix_s": 2.0}


def seal(pixels):
    return build_frame(FrameFacts(), pixels, **STAMPS)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(PIXEL_BYTES)).flatmap(
        lambda name: hnp.arrays(
            np.dtype(name),
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
            elements=hnp.from_dtype(np.dtype(name), min_value=0, allow_nan=False, allow_infinity=False),
        )
    )
)
def test_any_pixels_come_back_to_the_bit(pixels):
    back = unpack(pack_frame(seal(pixels)))
    assert back.pixels.dtype == pixels.dtype
    assert back.pixels.tobytes() == pixels.tobytes()


def test_pixels_travel_little_endian_row_by_row_whatever_they_were():
    pixels = np.arange(6, dtype=">u2").reshape(3, 2).T
    frame = seal(pixels)
    assert frame.header.shape == (2, 3)
    assert bytes(pack_frame(frame)[2]) == pixels.astype("<u2").tobytes()


def test_pixels_of_a_frame_cannot_be_written(frame, frame_parts):
    for one in (frame, unpack(frame_parts)):
        with pytest.raises(ValueError, match="read-only"):
            one.pixels[0, 0] = 1


def test_receiving_makes_no_copy():
    buffer = bytearray(pack_frame(seal(np.ones((4, 4), np.uint8)))[2])
    header = seal(np.ones((4, 4), np.uint8)).header
    pixels = check_frame(header, memoryview(buffer)).pixels
    buffer[0] = 9
    assert pixels[0, 0] == 9


def test_the_checksum_is_that_of_zlib():
    assert checksum(b"123456789") == "crc32:cbf43926"  # check value of CRC-32/ISO-HDLC


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.array([[1, np.nan], [2, 3]], np.float32), "1 NaN or infinite"),
        (np.array([[1, np.inf], [2, 3]], np.float64), "1 NaN or infinite"),
        (np.array([[1, -np.inf], [np.nan, 3]], np.float32), "2 NaN or infinite"),
        (np.array([[1, -2], [2, -3]], np.float32), "2 negative pixels of 4, down to -3"),
        (np.array([[1, -2], [2, 3]], np.int16), "1 negative"),
        (np.array([[1, -1], [2, 3]], np.int16), "1 negative"),
        (np.array([[1, -1e-6], [2, 3]], np.float32), "1 negative"),
    ],
    ids=["nan", "inf", "both", "negative-float", "negative-int", "least-negative-int", "little-negative"],
)
def test_pixels_that_no_detector_gives_are_refused(pixels, reason):
    with pytest.raises(PixelError, match=reason):
        unpack(pack_frame(seal(pixels)))


@pytest.mark.parametrize("change", [slice(0, -1), slice(0, 0)], ids=["cut", "empty"])
def test_pixels_that_were_cut_short_are_an_error_not_a_short_result(frame_parts, change):
    with pytest.raises(FrameLengthError, match=r"expected 1536 bytes for 32 x 24 px of uint16, found"):
        unpack([frame_parts[0], frame_parts[1], frame_parts[2][change]])


def test_pixels_that_are_too_long_are_an_error(frame_parts):
    with pytest.raises(FrameLengthError):
        unpack([*frame_parts[:2], frame_parts[2] + b"\0\0"])


def test_one_altered_bit_is_found(frame_parts):
    altered = bytearray(frame_parts[2])
    altered[700] ^= 4
    with pytest.raises(ChecksumError, match="send the frame again"):
        unpack([*frame_parts[:2], bytes(altered)])


def test_a_frame_without_pixels_is_an_error(frame_parts):
    with pytest.raises(FrameLengthError, match="three parts"):
        unpack(frame_parts[:2])


def test_the_size_is_refused_by_the_header_before_any_pixel_is_looked_at(frame):
    with pytest.raises(FrameTooLargeError, match="at most 1000 bytes"):
        check_frame(frame.header, b"", max_bytes=1000)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 2, 2)),
        np.zeros(4),
        np.zeros((2, 2), complex),
        np.zeros((2, 2), bool),
        np.zeros((0, 2)),
        np.zeros((MAX_EDGE_PX + 1, 1), np.uint8),
        np.zeros((1, MAX_EDGE_PX + 1), np.uint8),
    ],
    ids=["3d", "1d", "complex", "bool", "empty", "too tall", "too wide"],
)
def test_what_is_no_grey_image_is_not_sealed(pixels):
    with pytest.raises(InputError, match="expected"):
        seal(pixels)


def test_a_frame_keeps_the_times_that_its_instrument_gave_it():
    pixels = np.ones((2, 2), np.uint8)
    stamped = build_frame(FrameFacts(monotonic_s=70.5, wall_time_unix_s=1.6e9), pixels, **STAMPS).header
    assert (stamped.monotonic_s, stamped.wall_time_unix_s) == (70.5, 1.6e9)
    assert (seal(pixels).header.monotonic_s, seal(pixels).header.wall_time_unix_s) == (1.0, 2.0)
