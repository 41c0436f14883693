"""Writes arrays to a session's segments, durably: one write and one flush for all that come together."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.session_layout import ALIGNMENT, SEGMENT_BYTES, ArrayReference, encode_header, segment_name

#: Writing past the page cache is the fastest way to be sure (docs/decisions/0050); not all systems know it.
_UNCACHED = getattr(os, "O_DIRECT", 0)

#: Linux writes no more than 2 GiB at once.
_LARGEST_WRITE = 2**30


class SegmentWriter:
    """Appends NPY records to numbered files; not for two threads at once.

    Parameters
    ----------
    folder : Path
        The session's folder.
    segment, end : int
        The segment to go on in, and the byte to go on at: a multiple of `ALIGNMENT`.  What lies beyond is
        cut off, for no entry names it.
    """

    def __init__(self, folder: Path, segment: int = 0, end: int = 0) -> None:
        self._folder = folder
        self._segment, self._end = segment, end
        self._file = _open(folder, segment)
        os.ftruncate(self._file, end)
        self._buffer = _aligned_buffer(ALIGNMENT)
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="columnist-hash")

    def append(self, arrays: Sequence[NDArray[Any]]) -> list[ArrayReference]:
        """Write the arrays and wait until they are on the disk.

        Raises
        ------
        OSError
            If they cannot be written.  Then none is recorded, and the next call begins at the same place.
        """
        if not arrays:
            return []
        if self._end >= SEGMENT_BYTES:
            self._begin_segment()
        records, total = self._fill(arrays)
        # Hashing 4 MiB takes as long as writing them: do both at once.
        hashes = [self._hasher.submit(hashlib.sha256, self._buffer.data[start:end]) for start, end in records]
        try:
            self._write(total)
        finally:
            digests = [each.result().digest() for each in hashes]
        references = [
            ArrayReference(self._segment, self._end + start, end - start, digest)
            for (start, end), digest in zip(records, digests, strict=True)
        ]
        self._end += total
        return references

    def take_back(self, references: Sequence[ArrayReference]) -> None:
        """Cut off what the newest `append` wrote, because its entries could not be recorded."""
        if references:
            self._end = references[0].offset
            with suppress(OSError):
                os.ftruncate(self._file, self._end)

    def close(self) -> None:
        """Close the file; all that was appended is on the disk already."""
        self._hasher.shutdown()
        os.close(self._file)

    def _begin_segment(self) -> None:
        file = _open(self._folder, self._segment + 1)
        os.close(self._file)
        self._file, self._segment, self._end = file, self._segment + 1, 0

    def _fill(self, arrays: Sequence[NDArray[Any]]) -> tuple[list[tuple[int, int]], int]:
        """Copy the records into the buffer; returns where each begins and ends, and the bytes to write."""
        headers = [encode_header(array) for array in arrays]
        records, place = [], 0
        for header, array in zip(headers, arrays, strict=True):
            records.append((place, place + len(header) + array.nbytes))
            place = align(records[-1][1])
        if place > self._buffer.size:
            self._buffer = _aligned_buffer(place)
        for (start, end), header, array in zip(records, headers, arrays, strict=True):
            self._buffer[start : start + len(header)] = np.frombuffer(header, np.uint8)
            plain = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self._buffer[start + len(header) : end] = plain
            self._buffer[end : align(end)] = 0
        return records, place

    def _write(self, total: int) -> None:
        try:
            for start in range(0, total, _LARGEST_WRITE):
                part = self._buffer.data[start : min(total, start + _LARGEST_WRITE)]
                written = self._write_part(part, self._end + start)
                if written < part.nbytes:
                    raise OSError(errno.ENOSPC, f"wrote {written} of {part.nbytes} bytes")
            os.fdatasync(self._file)
        except OSError:
            with suppress(OSError):  # give back the room of the half-written
                os.ftruncate(self._file, self._end)
            raise

    def _write_part(self, part: memoryview, place: int) -> int:
        try:
            return os.pwrite(self._file, part, place)
        except OSError as error:
            flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
            if error.errno != errno.EINVAL or not flags & _UNCACHED:
                raise
        # Some file systems open a file uncached and then refuse to write so: go on through the cache.
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags & ~_UNCACHED)
        return os.pwrite(self._file, part, place)


def align(length: int) -> int:
    """Round a length up to the next multiple of `ALIGNMENT`."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def sync_folder(folder: Path) -> None:
    """Make the names of a folder's files durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _open(folder: Path, segment: int) -> int:
    path, flags = folder / segment_name(segment), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        file = os.open(path, flags | _UNCACHED, 0o644)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        file = os.open(path, flags, 0o644)  # a file system that always caches
    sync_folder(folder)
    return file


def _aligned_buffer(size: int) -> NDArray[np.uint8]:
    """Return an array that begins at a multiple of `ALIGNMENT` in memory, as unbuffered writes demand."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]
