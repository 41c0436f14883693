"""Readers: from a file of any known format to its arrays with their descriptions."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drivers.array_sizes import check_hdf5_arrays, check_size
from drivers.contract.errors import InputError
from drivers.dm_tags import check_dm_tags
from drivers.file_images import Axis, RawSignal, grey_of_colour
from drivers.file_metadata import flatten
from drivers.file_rehearsal import rehearse
from drivers.tiff_channels import channel_names, channels_of
from drivers.tiff_pages import check_tiff_pages
from drivers.tiff_scales import tiff_scales

_HDF5 = b"\x89HDF\r\n\x1a\n"

# What the formats' files begin with.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (_HDF5, "HDF5"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\x93NUMPY", "NumPy"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\3\0", "DM3"),
    (b"\0\0\0\4\0", "DM4"),
    (b"II\x97\x01", "SER"),
    (b"PK\x03\x04", "ZIP"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
)

_MRC_MODES = {0: 1, 1: 2, 2: 4, 3: 4, 4: 8, 6: 2, 12: 2}


def read_signals(path: Path, *, is_trusted: bool = False) -> tuple[RawSignal, ...]:
    """Read every array of a file that could be an image.

    HDF5 is read in a process of its own first, unless the file `is_trusted`, see `drivers.file_rehearsal`.

    Raises
    ------
    InputError
        If the file is missing, empty, cut short, damaged, of another type than its name says, or of a
        type that cannot be read.
    """
    name = path.suffix.lower()
    if not path.exists() and not path.is_symlink():
        raise InputError(f"{path}: expected a micrograph, found no such file; check the path")
    if name not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise InputError(f"{path}: expected a file of type {known}; found {path.suffix or 'no suffix'!r}")
    kind, reader = _FORMATS[name]
    _check_kind(path, kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "HDF5" and not is_trusted:
                rehearse(path)
            return reader(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        # Readers of damaged files raise anything from struct.error to RecursionError; all mean the same.
        raise InputError(
            f"{path}: expected a readable {kind} file, found {type(error).__name__}: {_short(error)}; the "
            "file is cut short, damaged, or of a variant that is not supported: copy or export it again"
        ) from error


def _check_kind(path: Path, kind: str) -> None:
    """Raise unless the file is there and begins as its name promises."""
    if path.is_dir():
        if kind == "Zarr":
            return
        raise InputError(f"{path}: expected a file, found a folder; pass the files in it")
    if path.exists() and not path.is_file():  # a pipe would be waited for
        found = "a named pipe" if path.is_fifo() else "a socket" if path.is_socket() else "a device"
        raise InputError(f"{path}: expected a file, found {found}; save what it gives to a file")
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except FileNotFoundError:
        raise InputError(f"{path}: expected a micrograph, found no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a readable file, found {error}; check its rights") from error
    if not head:
        raise InputError(f"{path}: expected a {kind} file, found an empty one; copy it again")
    seen = next((found for signature, found in _SIGNATURES if head.startswith(signature)), None)
    if kind == "Zarr":
        raise InputError(
            f"{path}: expected a folder in the Zarr format, found a file; save it as a folder, or as .hspy"
        )
    if kind == "MRC" and (seen is None or (len(head) >= 212 and head[208:212] == b"MAP ")):
        return
    if seen != kind:
        raise InputError(
            f"{path}: expected {kind}, as its name says, found {seen or 'no known format'}; give the file "
            "the suffix of its true type, or export it again"
        )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or "no details"


def _from_rosetta(signals: list[dict[str, Any]]) -> tuple[RawSignal, ...]:
    """Take over what a reader of RosettaSciIO returned."""
    raw = []
    for signal in signals:
        metadata = dict(signal.get("metadata") or {})
        tags = flatten(dict(signal.get("original_metadata") or {})) | flatten(metadata)
        axes = tuple(
            Axis(
                name=_text(axis.get("name")),
                scale=float(axis.get("scale", 1.0)),
                unit=_text(axis.get("units")) or None,
                is_navigation=bool(axis.get("navigate", False)),
            )
            for axis in signal["axes"]
        )
        title = _text(dict(metadata.get("General") or {}).get("title"))
        raw.append(RawSignal(data=np.asarray(signal["data"]), axes=axes, tags=tags, title=title))
    return tuple(raw)


def _text(value: object) -> str:
    """Text of a name or unit, empty for None and for HyperSpy's ``<undefined>``."""
    text = "" if value is None else str(value).strip()
    return "" if text in ("None", "<undefined>", "<no units>", "undefined") else text


def _read_dm(path: Path) -> tuple[RawSignal, ...]:
    from rsciio.digitalmicrograph import file_reader

    check_dm_tags(path)
    return _from_rosetta(file_reader(str(path)))


def _read_ser(path: Path) -> tuple[RawSignal, ...]:
    from rsciio.tia import file_reader

    return _from_rosetta(file_reader(str(path)))


def _read_tiff(path: Path) -> tuple[RawSignal, ...]:
    from rsciio.tiff import file_reader
    from tifffile import TiffFile

    check_tiff_pages(path)
    with TiffFile(path) as file:
        pages = [one.keyframe for one in file.series]
        names = channel_names(file)
        _check_colours_lie_together(file.series)
    kept = [k for k, page in enumerate(pages) if not page.is_reduced] or [*range(len(pages))]  # no thumbnails
    read = _from_rosetta(file_reader(str(path)))
    signals = _whitened(tuple(_greyed(read[k]) for k in kept), [pages[k] for k in kept])
    found = [
        (k, channel)
        for k, signal in zip(kept, signals, strict=True)
        for channel in channels_of(signal, pages[k], names[k] if k < len(names) else ())
    ]
    if any(axis.unit for _, signal in found for axis in signal.axes[-2:]):
        return tuple(signal for _, signal in found)
    scales = tiff_scales(path)
    return tuple(_scaled(signal, scales[min(k, len(scales) - 1)]) for k, signal in found)


def _check_colours_lie_together(series: Sequence[Any]) -> None:
    """Raise `InputError` for a colour image in planes, which the reader takes for a damaged one."""
    from tifffile import PHOTOMETRIC

    if any(one.keyframe.photometric == PHOTOMETRIC.RGB and not one.axes.endswith("S") for one in series):
        raise InputError(
            "expected a grey image, found a colour image in planes of red, green and blue; save one channel "
            "as grey"
        )


def _whitened(signals: tuple[RawSignal, ...], pages: list[Any]) -> tuple[RawSignal, ...]:
    """Signals in which more is brighter, also where their pages say that 0 is white.

    Raises
    ------
    InputError
        If only some pages say so, or their values have no largest one.
    """
    from tifffile import PHOTOMETRIC

    kinds = [(page.photometric, page.bitspersample) for page in pages]
    if all(photometric != PHOTOMETRIC.MINISWHITE for photometric, _ in kinds):
        return signals
    is_whole = all(signal.data.dtype.kind in "bu" for signal in signals)
    if len(set(kinds)) > 1 or not is_whole:
        where = "in some of its images" if is_whole else "among values without a largest one"
        raise InputError(
            "expected values that are larger where the image is brighter, found that 0 is white "
            f"{where}; save the image as grey, with black at 0"
        )
    most = 2 ** kinds[0][1] - 1
    return tuple(
        replace(one, data=(most - one.data.astype(np.uint64)).astype(one.data.dtype)) for one in signals
    )


def _greyed(signal: RawSignal) -> RawSignal:
    """A signal of red, green and blue as grey, if they are the same."""
    return replace(signal, data=grey_of_colour(signal.data)) if signal.data.dtype.names else signal


def _scaled(signal: RawSignal, scales: tuple[Axis, Axis] | None) -> RawSignal:
    """A signal with other axes for rows and columns, if these are given."""
    if scales is None or len(signal.axes) < 2:
        return signal
    return replace(signal, axes=signal.axes[:-2] + scales)


def _read_emd(path: Path) -> tuple[RawSignal, ...]:
    from rsciio.emd import file_reader

    check_hdf5_arrays(path)
    return _from_rosetta(file_reader(str(path), select_type="images"))


def _read_hspy(path: Path) -> tuple[RawSignal, ...]:
    from rsciio.hspy import file_reader

    check_hdf5_arrays(path)
    return _from_rosetta(file_reader(str(path)))


def _read_zspy(path: Path) -> tuple[RawSignal, ...]:
    import zarr
    from rsciio.zspy import file_reader

    for name, array in _zarr_arrays(zarr.open_group(str(path), mode="r")):
        check_size(name, array.shape, array.dtype.itemsize)
        if array.nchunks_initialized < array.nchunks:
            # Zarr fills a missing chunk with zeros and says nothing.
            raise InputError(
                f"expected {array.nchunks} chunks of {name!r}, found {array.nchunks_initialized}; copy the "
                "whole folder again"
            )
    return _from_rosetta(file_reader(str(path)))


def _zarr_arrays(group: Any) -> Iterator[tuple[str, Any]]:
    for name, array in group.arrays():
        if math.prod(array.shape) >= 32**2:
            yield f"{group.path}/{name}", array
    for _, inner in group.groups():
        yield from _zarr_arrays(inner)


def _read_mrc(path: Path) -> tuple[RawSignal, ...]:
    from rsciio.mrc import file_reader

    with path.open("rb") as file:
        header = file.read(1024)
    order: Literal[">", "<"] = ">" if header[212:213] == b"\x11" else "<"
    numbers = np.frombuffer(header[:96], dtype=f"{order}i4")
    shape, mode, extended = tuple(int(n) for n in numbers[:3]), int(numbers[3]), int(numbers[23])
    if min(shape) < 1 or mode not in _MRC_MODES or extended < 0:
        raise InputError(
            f"expected an MRC header, found the size {shape} in mode {mode}; give the file the suffix of its "
            "true type, or export it again"
        )
    expected = 1024 + extended + math.prod(shape) * _MRC_MODES[mode]
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
    return _from_rosetta(signals)


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


def _read_npy(path: Path) -> tuple[RawSignal, ...]:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read is not None:
                shape, _, dtype = read(file)
                if dtype.hasobject:
                    raise InputError(
                        "expected numbers, found pickled Python objects, which could run any code and are "
                        "never opened; save the image with np.save(path, np.asarray(image, float))"
                    )
                check_size(path.name, shape, dtype.itemsize)
        data = np.load(path, allow_pickle=False)
    except EOFError as error:
        raise ValueError("the file ends within its header") from error
    return (RawSignal(data=data, axes=(), tags={}),)


def _read_png(path: Path) -> tuple[RawSignal, ...]:
    from imageio.v3 import imread

    data = grey_of_colour(np.asarray(imread(path, extension=".png")))
    return (RawSignal(data=data, axes=(), tags={}),)


def _read_hdf5(path: Path) -> tuple[RawSignal, ...]:
    from drivers.nexus import is_hyperspy, read_nexus

    check_hdf5_arrays(path)
    return _read_hspy(path) if is_hyperspy(path) else read_nexus(path)


_FORMATS: dict[str, tuple[str, Callable[[Path], tuple[RawSignal, ...]]]] = {
    ".dm3": ("DM3", _read_dm),
    ".dm4": ("DM4", _read_dm),
    ".emd": ("HDF5", _read_emd),
    ".ser": ("SER", _read_ser),
    ".mrc": ("MRC", _read_mrc),
    ".tif": ("TIFF", _read_tiff),
    ".tiff": ("TIFF", _read_tiff),
    ".hspy": ("HDF5", _read_hspy),
    ".zspy": ("Zarr", _read_zspy),
    ".nxs": ("HDF5", _read_hdf5),
    ".h5": ("HDF5", _read_hdf5),
    ".hdf5": ("HDF5", _read_hdf5),
    ".npy": ("NumPy", _read_npy),
    ".png": ("PNG", _read_png),
}

#: Suffixes of the files that can be read, in lower case.
SUFFIXES: tuple[str, ...] = tuple(_FORMATS)
