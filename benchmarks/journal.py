"""What it costs to make frames and maps durable, and what other formats would cost on the same disk.

Run by `columnist bench journal [--json]`; writes some 500 MB into the present folder and removes them.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from agent.events import Ticked
from agent.journal import Journal, JournalEntry
from drivers.contract.maps import COLUMN_DTYPE
from drivers.session_check import check_session

#: Pause between two appends [s]: frames come with pauses, and a disk that is never left alone queues.
_PAUSE_S = 0.05
_REPEATS = 50


def _quantiles_ms(work: Callable[[int], object]) -> dict[str, float]:
    times = []
    for number in range(_REPEATS):
        time.sleep(_PAUSE_S)
        start = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - start)
    return {f"p{q}_ms": round(1e3 * float(np.percentile(times, q)), 2) for q in (50, 95)}


def _journal(folder: Path, frames: list[np.ndarray], columns: np.ndarray) -> dict[str, object]:
    journal = Journal.create(folder / "session")

    def append(*arrays: np.ndarray | None) -> None:
        start = journal.next_position
        journal.append(
            [JournalEntry(start + n, Ticked(at_s=0.0), (), array) for n, array in enumerate(arrays)]
        )

    report: dict[str, object] = {
        "event": _quantiles_ms(lambda n: append(None)),
        "frame_4_mib": _quantiles_ms(lambda n: append(frames[n % len(frames)])),
        "map_8000_columns": _quantiles_ms(lambda n: append(columns)),
        "frame_and_map": _quantiles_ms(lambda n: append(frames[n % len(frames)], columns)),
    }
    journal.close()
    start = time.perf_counter()
    findings = check_session(folder / "session")
    report["check_s"] = round(time.perf_counter() - start, 3)
    report["is_whole"] = findings.is_whole
    return report


def _file_a_frame(folder: Path, frames: list[np.ndarray]) -> Callable[[int], None]:
    """A file a frame: written aside, flushed, renamed, and the folder flushed."""
    folder.mkdir()

    def write(number: int) -> None:
        with (folder / "partial").open("wb") as file:
            np.save(file, frames[number % len(frames)])
            file.flush()
            os.fsync(file.fileno())
        (folder / "partial").rename(folder / f"{number}.npy")
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    return write


def _hdf5(folder: Path, frames: list[np.ndarray]) -> Callable[[int], None]:
    """One growing HDF5 file, flushed; a kill during a write can still lose all of it."""
    import h5py

    file = h5py.File(folder / "frames.h5", "w")
    dataset = file.create_dataset(
        "frames", (0, *frames[0].shape), "f4", chunks=(1, *frames[0].shape), maxshape=(None, *frames[0].shape)
    )
    handle = os.open(folder / "frames.h5", os.O_RDONLY)

    def write(number: int) -> None:
        dataset.resize(number + 1, axis=0)
        dataset[number] = frames[number % len(frames)]
        file.flush()
        os.fsync(handle)

    return write


def _zarr(folder: Path, frames: list[np.ndarray]) -> Callable[[int], None]:
    """Zarr 3, a chunk a frame with its CRC-32C; flushed here, which zarr does not do."""
    import zarr

    shape = frames[0].shape
    array = zarr.create_array(
        folder / "frames.zarr",
        shape=(_REPEATS, *shape),
        chunks=(1, *shape),
        dtype="f4",
        compressors=[zarr.codecs.Crc32cCodec()],
    )

    def write(number: int) -> None:
        array[number] = frames[number % len(frames)]
        chunk = folder / "frames.zarr" / "c" / str(number) / "0" / "0"
        for path in (chunk, chunk.parent):
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)

    return write


def main() -> tuple[dict[str, Any], bool]:
    rng = np.random.default_rng(0)
    frames = [rng.poisson(20.0, (1024, 1024)).astype(np.float32) for _ in range(4)]
    columns = np.zeros(8000, COLUMN_DTYPE)
    folder = Path(tempfile.mkdtemp(prefix="bench-journal-", dir="."))
    try:
        report = _journal(folder, frames, columns)
        report["others"] = {
            "file_a_frame_4_mib": _quantiles_ms(_file_a_frame(folder / "files", frames)),
            "hdf5_4_mib": _quantiles_ms(_hdf5(folder, frames)),
            "zarr_4_mib": _quantiles_ms(_zarr(folder, frames)),
        }
    finally:
        shutil.rmtree(folder)
    report["cores"] = os.cpu_count()
    return report, True
