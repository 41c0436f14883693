"""`columnist sessions`: list the recorded sessions, and check them from end to end."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.sessions import SessionSummary, describe, find_sessions, summarise
from agent.settings import SessionSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist sessions`."""
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path(SessionSettings().folder),
        help="folder of sessions, or one session (default: %(default)s)",
    )
    parser.add_argument(
        "--check", action="store_true", help="read every entry and array, and say what is damaged"
    )
    parser.add_argument("--json", action="store_true", help="print the list as JSON")


def run(arguments: argparse.Namespace) -> int:
    """List; the exit status is 1 if a session is damaged."""
    found = [summarise(folder, is_checked=arguments.check) for folder in find_sessions(arguments.folder)]
    if arguments.json:
        print(json.dumps([each.as_json() for each in found], indent=1))
    else:
        _print(found, arguments.folder)
    return 1 if any(each.state == "damaged" for each in found) else 0


def _print(found: list[SessionSummary], folder: Path) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    if not found:
        console.print(f"no sessions in {folder}", markup=False)
        return
    table = Table(box=None)
    table.add_column("session", no_wrap=True, min_width=21)
    table.add_column("source", overflow="ellipsis", no_wrap=True, max_width=40)
    for heading in ("frames", "maps", "commands", "MB"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    table.add_column("state", no_wrap=True, min_width=9)
    for each in found:
        table.add_row(
            each.folder.name,
            each.source,
            *(f"{number:,}" for number in (each.frames, each.maps, each.commands)),
            f"{each.bytes / 1e6:,.1f}",
            each.state,
            style="red" if each.state == "damaged" else None,
        )
    console.print(table)
    for each in found:
        lines = list(describe(each.findings)) if each.findings else [each.problem] if each.problem else []
        for line in lines:
            console.print(line, markup=False, soft_wrap=True)
