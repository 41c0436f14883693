"""`columnist serve`: recordings, folders and files as an instrument on the wire."""

import argparse
import sys
from pathlib import Path

from drivers.addresses import CONTROL_PORT
from drivers.bridge import Bridge, Options
from drivers.commands.options import seconds
from drivers.contract.errors import InputError
from drivers.contract.facts import FIELDS, TEXT_FIELDS
from drivers.file_context import OPTIONS, facts_given
from drivers.folder import read_folder
from drivers.microscope import Microscope
from drivers.replay import Options as ReplayOptions
from drivers.replay import ReplayMicroscope
from drivers.session_reader import is_session
from drivers.session_recording import read_session
from drivers.watch import STABLE_S, WatchMicroscope


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    kinds = parser.add_subparsers(dest="instrument", required=True, metavar="INSTRUMENT")
    replay = kinds.add_parser(
        "replay", help="a recorded session, a folder of micrographs, or one file, that answers requests"
    )
    replay.add_argument("path", type=Path, help="folder or file")
    replay.add_argument(
        "--speed", type=_speed, default=1.0, help="N times faster than it was recorded, or max (default 1)"
    )
    replay.add_argument(
        "--at-end",
        choices=("end", "hold", "loop"),
        default=None,
        help="after the last frame: end the session (default for a session), wait for requests "
        "(default for files), or begin again",
    )
    replay.add_argument(
        "--start-with", nargs="+", default=[], metavar="DETECTOR", help="detectors to begin with"
    )
    replay.add_argument(
        "--describe",
        type=Path,
        metavar="TOML",
        help="what the files are (default: columnist.toml beside them)",
    )
    watch = kinds.add_parser("watch", help="a folder that micrographs are written into")
    watch.add_argument("path", type=Path, help="folder")
    watch.add_argument("--present", action="store_true", help="begin with the files that are there already")
    watch.add_argument(
        "--stable-s", type=seconds, default=STABLE_S, help="a file is complete when unchanged for so long"
    )
    for one in (replay, watch):
        _add_context(one)
        _add_socket(one)


def _add_context(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is known of every frame; counts more than what files say")
    for field in FIELDS:
        group.add_argument(OPTIONS[field], dest=field, type=str if field in TEXT_FIELDS else float)


def _add_socket(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where it listens")
    group.add_argument(
        "--listen", default="127.0.0.1", help="address to listen on; others than 127.0.0.1 need --keys"
    )
    group.add_argument(
        "--keys", type=Path, metavar="FOLDER", help="let in only holders of these (`columnist keys`)"
    )
    group.add_argument(
        "--port",
        type=int,
        default=CONTROL_PORT,
        help=f"control port; data is on the next (default {CONTROL_PORT})",
    )
    group.add_argument("--once", action="store_true", help="stop when the session has ended and is delivered")


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted, or until delivered with --once."""
    microscope = build_microscope(arguments)
    bridge = Bridge(
        microscope, Options(host=arguments.listen, port=arguments.port, keys=arguments.keys, unblanks=True)
    )
    print(
        f"serving {bridge.capabilities.instrument} on {bridge.address}, session {bridge.session}", flush=True
    )
    try:
        bridge.run(until_done=arguments.once)
    except KeyboardInterrupt:
        print("stopped", flush=True)
    return 0


def build_microscope(arguments: argparse.Namespace) -> Microscope:
    """Make the instrument that the command line describes.

    Raises
    ------
    InputError
        If there is nothing to serve.
    """
    given = facts_given({field: getattr(arguments, field) for field in FIELDS}, "command line")
    path: Path = arguments.path
    if arguments.instrument == "watch":
        return WatchMicroscope(path, given, takes_present=arguments.present, stable_s=arguments.stable_s)
    if is_session(path):
        if arguments.describe or any(getattr(given, field) is not None for field in FIELDS):
            raise InputError("a recorded session says itself what its frames are; leave the options out")
        recording = read_session(path)
    else:
        recording = read_folder(path, given, description=arguments.describe)
    for note in recording.notes:
        print(note, file=sys.stderr)
    ends = recording.is_series or arguments.once
    options = ReplayOptions(
        speed=arguments.speed,
        at_end=arguments.at_end or ("end" if ends else "hold"),
        detectors=tuple(arguments.start_with),
    )
    microscope = ReplayMicroscope(recording, options)
    if microscope.unplayed:
        print(f"{microscope.unplayed} (or begun with: --start-with)", file=sys.stderr)
    return microscope


def _speed(text: str) -> float:
    """Read a speed: a positive number, or max."""
    if text == "max":
        return float("inf")
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise argparse.ArgumentTypeError(f"expected a positive number or max, found {text!r}")
    return speed
