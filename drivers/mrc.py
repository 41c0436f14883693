"""MRC files, whose header is checked and whose bytes get the signs and order that it says."""

import math
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drivers.contract.errors import InputError
from drivers.file_images import RawSignal
from drivers.rosetta import taken_over

#: Bytes of a pixel by mode.
_MODES = {0: 1, 1: 2, 2: 4, 3: 4, 4: 8, 6: 2, 12: 2}


def read_mrc(path: Path) -> tuple[RawSignal, ...]:
    """Read the images of an MRC file.

    Raises
    ------
    InputError
        If the header makes no sense, or the file is cut short.
    """
    from rsciio.mrc import file_reader

    with path.open("rb") as file:
        header = file.read(1024)
    order: Literal[">", "<"] = ">" if header[212:213] == b"\x11" else "<"
    numbers = np.frombuffer(header[:96], dtype=f"{order}i4")
    shape, mode, extended = tuple(int(n) for n in numbers[:3]), int(numbers[3]), int(numbers[23])
    if min(shape) < 1 or mode not in _MODES or extended < 0:
        raise InputError(
            f"expected an MRC header, found the size {shape} in mode {mode}; give the file the suffix of its "
            "true type, or export it again"
        )
    expected = 1024 + extended + math.prod(shape) * _MODES[mode]
    if path.stat().st_size < expected:
        raise InputError(
            f"expected {expected} bytes for {shape} pixels in mode {mode}, found {path.stat().st_size}: the "
            "file is cut short; copy it again"
        )
    signals = file_reader(str(path), endianness=order, metadata_file=None)
    # The reader heeds the byte order of the header only, and takes bytes as unsigned.
    data = np.asarray(signals[0]["data"])
    data = data.view(data.dtype.newbyteorder(order))
    if mode == 0 and _is_signed(data, np.frombuffer(header[76:84], dtype=f"{order}f4")):
        data = data.view(np.int8)
    signals[0]["data"] = data
    sampling = numbers[7:9]
    if not sampling.all():  # the reader then takes 1 nm a pixel, which nobody said
        for axis in signals[0]["axes"]:
            axis["units"] = None
    return taken_over(signals)


def _is_signed(data: NDArray[np.generic], least_and_most: NDArray[np.float32]) -> bool:
    """Whether the bytes of an MRC file have signs, as MRC2014 says and older files do not.

    By the least and the most value that the header gives; where it gives none, the right way has smaller
    steps from one pixel to the next.
    """
    least, most = (float(value) for value in least_and_most)
    if least < most:
        return least < 0 or most <= 127
    steps = [
        np.abs(np.diff(data.view(kind).astype(np.int16), axis=-1)).mean() for kind in (np.int8, np.uint8)
    ]
    return bool(steps[0] <= steps[1])
