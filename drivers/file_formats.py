"""Readers: from a file of any known format to its arrays with their descriptions."""

import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from drivers.array_sizes import check_hdf5_arrays, check_size
from drivers.contract.errors import InputError
from drivers.dm_tags import check_dm_tags
from drivers.file_images import RawSignal, grey_of_colour
from drivers.file_rehearsal import rehearse
from drivers.mrc import read_mrc
from drivers.rosetta import taken_over
from drivers.tiff import read_tiff

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


def _read_dm(path: Path) -> tuple[RawSignal, ...]:
    from rsciio.digitalmicrograph import file_reader

    check_dm_tags(path)
    return taken_over(file_reader(str(path)))


def _read_ser(path: Path) -> tuple[RawSignal, ...]:
    from rsciio.tia import file_reader

    return taken_over(file_reader(str(path)))


def _read_emd(path: Path) -> tuple[RawSignal, ...]:
    from rsciio.emd import file_reader

    check_hdf5_arrays(path)
    return taken_over(file_reader(str(path), select_type="images"))


def _read_hspy(path: Path) -> tuple[RawSignal, ...]:
    from rsciio.hspy import file_reader

    check_hdf5_arrays(path)
    return taken_over(file_reader(str(path)))


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
    return taken_over(file_reader(str(path)))


def _zarr_arrays(group: Any) -> Iterator[tuple[str, Any]]:
    for name, array in group.arrays():
        if math.prod(array.shape) >= 32**2:
            yield f"{group.path}/{name}", array
    for _, inner in group.groups():
        yield from _zarr_arrays(inner)


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
    ".mrc": ("MRC", read_mrc),
    ".tif": ("TIFF", read_tiff),
    ".tiff": ("TIFF", read_tiff),
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
