"""The simulated microscope as a process that a test starts and ends."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sim_microscope.truth import Truth, fetch_truth

#: Time that it may take to serve, on a machine that has never compiled its loops [s].
START_S = 120.0

#: Time that it may take to end once it is asked to [s].
STOP_S = 15.0


@dataclass
class SimulatorProcess:
    """A simulated microscope that serves.

    Parameters
    ----------
    address : str
        Of its bridge.
    session : str
        Its session.
    truth_address : str
        Where it serves the truth.
    process : subprocess.Popen
        It.
    """

    address: str
    session: str
    truth_address: str
    process: subprocess.Popen[str]

    def truth(self, sequence: int) -> Truth:
        """Truth of a frame."""
        return fetch_truth(self.truth_address, sequence)


@contextmanager
def simulator_process(options: Sequence[str] = (), *, start_s: float = START_S) -> Iterator[SimulatorProcess]:
    """Run ``python -m sim_microscope`` on free ports while the block runs.

    Parameters
    ----------
    options : sequence of str
        Of `columnist sim serve`, without the ports: ``("--pace", "fast", "--host", "MoS2")``.
    start_s : float
        Time that it may take to serve.

    Raises
    ------
    RuntimeError
        If it does not serve in time, or did not end by itself; with what it said.
    """
    command = [sys.executable, "-m", "sim_microscope", "--port", "0", "--serve-truth", "0", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines), name="simulator's output", daemon=True)
    reader.start()
    try:
        said: list[str] = []
        serving = _wait_line(lines, r"serving .* on (\S+), session (\S+)", start_s, said)
        truth = _wait_line(lines, r"truth on (\S+)", start_s, said)
        yield SimulatorProcess(serving[1], serving[2], truth[1], process)
    finally:
        _end(process, reader)


def _read(process: subprocess.Popen[str], lines: "queue.SimpleQueue[str | None]") -> None:
    """Pass the output on line by line, and None at its end, so that its pipe never fills up."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line.rstrip())
    lines.put(None)


def _wait_line(
    lines: "queue.SimpleQueue[str | None]", pattern: str, timeout_s: float, said: list[str]
) -> re.Match[str]:
    """Wait for a line of the output."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            line, problem = None, f"did not serve within {timeout_s:g} s"
        else:
            problem = "ended before it served"
        if line is None:
            raise RuntimeError(f"the simulator {problem}; it said: " + "\n".join(said))
        said.append(line)
        if match := re.search(pattern, line):
            return match


def _end(process: subprocess.Popen[str], reader: threading.Thread) -> None:
    """Ask the process to end, and see to it that it does."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError(f"the simulator did not end within {STOP_S:g} s of being asked to") from None
    finally:
        reader.join(5.0)
        if process.stdout is not None:
            process.stdout.close()
