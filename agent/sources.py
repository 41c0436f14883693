"""Where frames come from: each is a bridge in the end, so that nothing behind here knows which."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.bridge import serving
from drivers.contract.errors import InputError, shown
from drivers.contract.facts import Facts
from drivers.folder import read_folder
from drivers.microscope import Microscope
from drivers.recording import Recording
from drivers.session_reader import is_session
from drivers.session_recording import read_session

#: How long the simulator may take until it serves [s].
_START_S = 120.0

#: How long it may take to end when told to [s].
_END_S = 5.0


@dataclass(frozen=True)
class Source:
    """A bridge to connect to.

    Parameters
    ----------
    address : str
        Of its control socket.
    description : str
        For people and the journal.
    is_ours : bool
        Started for this run: the run ends with it, and every frame can wait to be analysed.
    """

    address: str
    description: str
    is_ours: bool


def read_recording(path: Path) -> Recording:
    """Read a recorded session, or a folder of micrographs, or one file.

    Raises
    ------
    InputError
        If it is none of these.
    """
    return read_session(path) if is_session(path) else read_folder(path, Facts())


@contextmanager
def serve_driver(microscope: Microscope, description: str) -> Iterator[Source]:
    """Serve a driver from this process, on a free port of the loopback."""
    with serving(microscope) as bridge:
        yield Source(bridge.address, shown(description), True)


@contextmanager
def start_simulator(options: Sequence[str], log: Path) -> Iterator[Source]:
    """Run the simulated microscope as a process of its own; it is met on the wire only.

    Parameters
    ----------
    options : sequence of str
        Passed on to ``python -m sim_microscope``.
    log : Path
        Takes what it writes to its standard error.

    Raises
    ------
    InputError
        If it does not begin to serve.
    """
    command = [sys.executable, "-m", "sim_microscope", "--port", "0", *options]
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True) as process,
    ):
        giving_up = threading.Timer(_START_S, process.kill)
        giving_up.start()
        try:
            address = _read_address(process, log)
            giving_up.cancel()
            yield Source(address, "simulated microscope", True)
        finally:
            giving_up.cancel()
            _end(process)


def _read_address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait for the line that names the address."""
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(r"tcp://[\w.\[\]:]+:\d+", line.decode("utf-8", "replace"))
        if found:
            # What it says later must not fill the pipe.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return found.group()
    process.wait()
    said = log.read_text("utf-8", "replace").strip().splitlines()
    if said:
        why = said[-1]
    elif process.returncode == -signal.SIGKILL:
        why = f"it did not serve within {_START_S:g} s; the machine is overloaded"
    else:
        why = f"exit status {process.returncode}"
    raise InputError(f"the simulated microscope did not start: {why}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the process to end, and see to it that it does."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
