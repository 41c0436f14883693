"""What the subcommands share: types of options, the progress bar, the device."""

import argparse
import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from drivers.contract.errors import InputError

#: Least time between two lines about one task in a log [s].
LINE_EVERY_S = 30.0


def finite(text: str) -> float:
    """Type of an option that is a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number, found {text!r}")
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


class _Lines(Progress):
    """Progress as a plain line now and then, where standard error is a file or a pipe."""

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Count on, and print a line if the last is `LINE_EVERY_S` old or the task is finished."""
        super().advance(task_id, advance)
        task, now = self._tasks[task_id], self.get_time()
        if task.finished or now - task.fields.get("said_s", task.start_time or 0.0) >= LINE_EVERY_S:
            task.fields["said_s"] = now
            left = "?" if task.time_remaining is None else f"{timedelta(seconds=int(task.time_remaining))}"
            whole = "?" if task.total is None else f"{task.total:g}"
            self.console.print(
                f"{task.description} {task.completed:g}/{whole} in "
                f"{timedelta(seconds=int(task.elapsed or 0))}, left {left}",
                highlight=False,
            )

    def get_renderable(self) -> Group:
        """Nothing is drawn over."""
        return Group()


def progress_bar(console: Console | None = None, get_time: Callable[[], float] | None = None) -> Progress:
    """Return a progress bar with counts and the time left; lines now and then where there is no terminal.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to show it; standard error by default.
    get_time : callable, optional
        Clock [s].
    """
    console = console or Console(stderr=True)
    # Some pieces of work take minutes; a shorter period would forget how long.
    shared: dict[str, Any] = {"console": console, "get_time": get_time, "speed_estimate_period": 600.0}
    if not console.is_terminal:
        return _Lines(**shared, auto_refresh=False)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        **shared,
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
