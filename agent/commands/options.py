"""Options that several subcommands share: where the settings come from."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from agent.settings import Settings
from agent.settings_file import DEFAULT_FILE, load_settings, parse_flag
from drivers.contract.errors import InputError


def add_settings_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say where settings come from."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"settings (default: {DEFAULT_FILE} here, if there is one)",
    )
    parser.add_argument(
        "--set", metavar="S.F=V", action="append", default=[], help="one setting, such as policy.expiry_s=60"
    )


def read_settings(
    arguments: argparse.Namespace,
    flags: Mapping[str, object] = {},
    defaults: Mapping[str, object] = {},
) -> Settings:
    """Read the settings: the command's own defaults, file, environment, flags; the last counts.

    Raises
    ------
    InputError
        If one of them is wrong.
    """
    path = arguments.config
    if path is None and Path(DEFAULT_FILE).is_file():
        path = Path(DEFAULT_FILE)
    given = {name: value for name, value in flags.items() if value is not None}
    given |= dict(parse_flag(text) for text in arguments.set)
    return load_settings(path, os.environ, given, defaults)


def make_folder(path: Path) -> None:
    """Make a folder to write to, or raise `InputError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to folder {path} ({error}); choose another with --out") from error
