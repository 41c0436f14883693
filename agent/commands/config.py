"""`columnist config init`: write a settings file that explains itself."""

import argparse
from pathlib import Path

from agent.settings_file import DEFAULT_FILE, template
from drivers.contract.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist config init`."""
    parser.add_argument("file", nargs="?", type=Path, default=Path(DEFAULT_FILE), help="where to write")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


def run(arguments: argparse.Namespace) -> int:
    """Write the file."""
    path: Path = arguments.file
    if path.exists() and not arguments.force:
        raise InputError(f"{path} is there already; name another file, or take --force to write over it")
    path.write_text(template(), encoding="utf-8")
    print(f"wrote {path}: every field with its meaning and default; `columnist doctor` checks it")
    return 0
