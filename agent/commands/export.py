"""`columnist export`: write what a recorded session found as CSV, NeXus and one HTML page."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from agent.exporting import export
from agent.recording import Recording
from agent.retention import mark_exported, newest_digest
from drivers.contract.errors import InputError
from drivers.session_check import check_session
from drivers.session_reader import is_session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist export`."""
    parser.add_argument("session", type=Path, help="folder of the session")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--pictures",
        type=int,
        default=8,
        help="maps that get pictures and a place in the report, evenly spread (default: 8)",
    )
    parser.add_argument(
        "--recover", action="store_true", help="of a damaged session, export the maps that are whole"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Export; the last line printed is the path of the report."""
    if arguments.pictures < 0:
        raise InputError(f"expected --pictures of 0 or more, found {arguments.pictures}")
    if is_session(arguments.out):
        raise InputError(f"{arguments.out} is a session itself; name another folder with --out")
    stop = check_session(arguments.session).whole_facts if arguments.recover else None
    bar = Progress(
        TextColumn("maps"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True), transient=True
    )
    # First of all: what is recorded after the recording is opened may be missing from it, where it is a copy.
    head = newest_digest(arguments.session) if stop is None else ""
    with Recording(arguments.session) as recording, bar:
        task = bar.add_task("", total=None)
        summary = export(
            recording,
            arguments.out,
            stop=stop,
            skip_lost=arguments.recover,
            pictures=arguments.pictures,
            on_map=lambda done, total: bar.update(task, completed=done, total=total),
        )
    kept = _mark(arguments.session, arguments.out, summary, head)
    if arguments.json:
        print(json.dumps(summary, indent=1))
    else:
        print(f"{summary['maps']} maps of {summary['frames']} frames written to {arguments.out}")
        if kept:
            print(f"{kept}: session.delete = exported keeps this session")
        print(summary["files"]["report"])
    return 0


def _mark(session: Path, out: Path, summary: dict[str, Any], head: str) -> str:
    """Note in a session's folder that it was exported, so that it may be deleted; returns why not, if not."""
    if out.resolve().is_relative_to(session.resolve()):
        return "the results lie in the session's own folder and would go with it"
    if not head:
        return "what --recover leaves out is in no export"
    try:
        is_marked = mark_exported(session, summary, head)
    except OSError as error:
        return f"that it was exported cannot be noted beside it ({error})"
    return "" if is_marked else "frames without a map are in no export"
