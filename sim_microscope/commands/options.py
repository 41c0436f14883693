"""What the subcommands share: types of options, the progress bar, the device."""

import argparse
import math
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from drivers.contract.errors import InputError


def finite(text: str) -> float:
    """Type of an option that is a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number, found {text!r}")
    return value


def count(text: str) -> int:
    """Type of an option that is a number of things, at least one."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return value


def make_folder(path: Path) -> Path:
    """Folder to write to, made if need be.

    Raises
    ------
    InputError
        If it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".columnist-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to folder {path} ({error}); choose another with --out") from error
    return path


def progress_bar() -> Progress:
    """Return a progress bar with counts and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def find_device(wanted: str) -> str:
    """Device for abTEM: "gpu" where CuPy finds one and nobody asked for the CPU."""
    if wanted == "cpu":
        return "cpu"
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises its own types, and which depends on the driver.
        if wanted == "gpu":
            raise InputError(
                f"--device gpu needs CuPy (`pip install cupy-cuda12x`) and a CUDA device ({error})"
            ) from error
        return "cpu"
    return "gpu" if count else "cpu"
