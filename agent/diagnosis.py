"""What `columnist doctor` looks at: each finding says what was seen and how to mend it."""

import argparse
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import zmq

from agent.commands.options import read_settings
from agent.settings import Settings
from agent.settings_file import DEFAULT_FILE
from agent.sockets import bind
from drivers.addresses import endpoint
from drivers.contract.errors import InputError
from drivers.keys import Guard, entries, read_keys

Verdict = Literal["good", "warning", "bad"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    verdict: Verdict
    seen: str
    remedy: str = ""


def examine(arguments: argparse.Namespace) -> list[Finding]:
    """Look at the settings, and then at all that they lean on."""
    try:
        settings = read_settings(arguments)
    except InputError as error:
        remedy = "mend what is named; `columnist config init FILE` writes a file that explains every field"
        return [Finding("settings", "bad", str(error), remedy)]
    findings = [Finding("settings", "good", _where(arguments))]
    checks: tuple[Callable[[Settings], Finding], ...] = (
        _packages,
        _weights,
        _device,
        _kernels,
        _disk,
        _keys,
        _ports,
        _instrument,
    )
    return findings + [check(settings) for check in checks]


def _where(arguments: argparse.Namespace) -> str:
    """Where the settings came from."""
    variables = sorted(name for name in os.environ if name.startswith("COLUMNIST_"))
    file = arguments.config or (DEFAULT_FILE if Path(DEFAULT_FILE).is_file() else "no file")
    return f"read from {file}{', ' if variables else ''}{', '.join(variables)}: sound"


def _packages(settings: Settings) -> Finding:
    """Whether the extras are installed."""
    wanted = [
        *("apscheduler", "structlog", "psutil", "rich", "jinja2", "matplotlib", "scipy", "h5py"),
        *("torch", "safetensors", "rsciio"),
    ]
    lacking = [name for name in wanted if importlib.util.find_spec(name) is None]
    if lacking:
        remedy = "install columnist with its extras: `make setup`, or pip install '.[agent,files,models]'"
        return Finding("packages", "bad", f"not installed: {', '.join(lacking)}", remedy)
    return Finding("packages", "good", f"{len(wanted)} of {len(wanted)} are installed")


def _weights(settings: Settings) -> Finding:
    """Whether the weights load and are those of their card."""
    from models.checkpoint import load_shipped

    try:
        card = load_shipped(settings.analysis.network).card
    except InputError as error:
        return Finding("weights", "bad", str(error), "set analysis.network to one that is shipped")
    return Finding("weights", "good", f"{settings.analysis.network}, sha256 {str(card['sha256'])[:12]}")


def _device(settings: Settings) -> Finding:
    """Whether the analysis can run where it is told to."""
    from models.analysis import load_analyser

    device, cores = settings.analysis.device, os.cpu_count() or 1
    try:
        load_analyser(settings.analysis.network, device=device)
    except InputError as error:
        return Finding("device", "bad", str(error), 'set analysis.device to "cpu"')
    if device == "cpu" and settings.analysis.threads > cores:
        remedy = f"set analysis.threads to {cores}: more than there are cores slow each other down"
        return Finding("device", "warning", f"{settings.analysis.threads} threads on {cores} cores", remedy)
    return Finding("device", "good", f"{device}, {settings.analysis.threads} threads, {cores} cores")


def _kernels(settings: Settings) -> Finding:
    """Whether the simulated microscope has its table of kernels."""
    spec = importlib.util.find_spec("sim_microscope")
    if spec is None or spec.origin is None:
        return Finding("kernels", "warning", "the simulated microscope is not installed", "`make setup`")
    folder = Path(spec.origin).parent / "data"
    lacking = [name for name in ("kernels.npz", "kernels.json") if not (folder / name).is_file()]
    if lacking:
        return Finding("kernels", "warning", f"missing: {', '.join(lacking)}", "`columnist kernels build`")
    size_mib = (folder / "kernels.npz").stat().st_size / 2**20
    return Finding("kernels", "good", f"{size_mib:.1f} MiB, for the simulated microscope")


def _disk(settings: Settings) -> Finding:
    """Whether sessions can be written, and how much room there is."""
    folder = Path(settings.session.folder)
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        seen = f"cannot write below {existing}: {error.strerror}"
        return Finding("disk", "bad", seen, "set session.folder to a folder that may be written to")
    free_gib = shutil.disk_usage(existing).free / 2**30
    seen = f"{free_gib:.1f} GiB free for {folder}"
    if free_gib < settings.watch.disk_free_gib:
        return Finding("disk", "warning", seen, "make room, or set session.folder to another disk")
    return Finding("disk", "good", seen)


def _keys(settings: Settings) -> Finding:
    """Whether the folders of keys that the settings name hold what they should."""
    serving, connecting = settings.publish.keys, settings.source.keys
    try:
        if serving is not None:
            Guard(Path(serving))
        if connecting is not None:
            read_keys(Path(connecting))
    except InputError as error:
        return Finding(
            "keys", "bad", str(error), "`columnist keys --help` says how keys are made and exchanged"
        )
    if serving is None:
        return Finding("keys", "good", "none: only this machine reaches the agent")
    names = ", ".join(f"{entry.name} ({entry.access})" for entry in entries(Path(serving)))
    return Finding("keys", "good", f"those who get in: {names or 'nobody'}")


def _ports(settings: Settings) -> Finding:
    """Whether the agent's own sockets can be bound, all of them at once."""
    kinds = {"maps": zmq.PUB, "snapshot": zmq.ROUTER, "control": zmq.ROUTER}
    with zmq.Context() as context, ExitStack() as bound:
        for name, kind in kinds.items():
            address = getattr(settings.publish, name)
            try:
                socket = bind(context, kind, address, f"publish.{name}")
                bound.callback(socket.close, linger=0)
            except InputError as error:
                return Finding("ports", "bad", str(error), "stop the other program, or set another address")
    return Finding("ports", "good", "those of [publish] are free")


def _instrument(settings: Settings) -> Finding:
    """Whether something listens where the bridge should be."""
    import socket

    host, port = endpoint(settings.source.connect)
    try:
        socket.create_connection((host, port), timeout=2.0).close()
    except OSError:
        remedy = (
            "start the bridge of your instrument, set source.connect to its address, or try "
            "`columnist run --simulate`, which needs none"
        )
        return Finding("instrument", "warning", f"nobody answers at {host}:{port}", remedy)
    return Finding("instrument", "good", f"something listens at {host}:{port}")
