"""`columnist replay`: run a recorded session through the same decisions, and the same analysis, again."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.actions import Action, AnnounceRequest, Notice, RejectFrame
from agent.events import Event, FrameMapped, SessionEnding, SessionOpened
from agent.recording import RecordedEntry, Recording
from agent.replay import Outcome, replay
from agent.steady_analysis import SteadyAnalysis
from drivers.session_check import check_session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist replay`."""
    parser.add_argument("session", type=Path, help="folder of the session")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="make every map again too, and prove that decisions and maps are the same to the bit",
    )
    parser.add_argument(
        "--recover", action="store_true", help="of a damaged session, replay what is whole before the damage"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Replay; the exit status is 1 if anything differs from the record."""
    stop = None
    if arguments.recover:
        findings = check_session(arguments.session)
        stop = findings.whole_entries if arguments.verify else findings.whole_facts
    began_s = time.perf_counter()
    with Recording(arguments.session) as recording:
        outcome = replay(
            recording,
            stop=stop,
            load_analysis=_load_analysis if arguments.verify else None,
            load_weigher=_load_weigher if arguments.verify else None,
            on_entry=(lambda _: None) if arguments.json else _Printer(),
        )
    elapsed_s = time.perf_counter() - began_s
    report = summarise(recording.name, outcome, elapsed_s, is_verified=arguments.verify)
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        print(_conclude(outcome, report))
    return 0 if outcome.difference is None else 1


def summarise(session: str, outcome: Outcome, elapsed_s: float, *, is_verified: bool) -> dict[str, Any]:
    """Return the outcome as plain types."""
    difference = outcome.difference
    return {
        "session": session,
        "entries": outcome.entries,
        "frames": outcome.events["frame_seen"],
        "maps": outcome.events["frame_mapped"],
        "actions": outcome.actions.total(),
        "requests_announced": outcome.actions["announce_request"],
        "commands_sent": outcome.actions["send_command"],
        "is_verified": is_verified,
        "maps_verified": outcome.maps_verified,
        "weighings_verified": outcome.weighings_verified,
        "is_same": difference is None,
        "first_difference": difference and {"entry": difference.position, "what": difference.what},
        "elapsed_s": round(elapsed_s, 3),
    }


def _load_analysis(settings: Any) -> Any:
    from agent.work import ColumnAnalysis

    return SteadyAnalysis(ColumnAnalysis(settings))


def _load_weigher(settings: Any) -> Any:
    from agent.weighing import EvidenceWeigher

    return EvidenceWeigher(settings)


class _Printer:
    """Prints what a reader of a session wants to know of an entry; most entries say nothing."""

    def __init__(self) -> None:
        self._began_s = 0.0

    def __call__(self, entry: RecordedEntry) -> None:
        """Print the lines of an entry, with seconds since the session began."""
        event = entry.event
        if isinstance(event, SessionOpened):
            self._began_s = event.at_s
        for line in _lines_of(event, entry.actions):
            print(f"{event.at_s - self._began_s:10.3f} s  {line}", flush=sys.stdout.isatty())


def _lines_of(event: Event, actions: tuple[Action, ...]) -> Iterator[str]:
    if isinstance(event, SessionOpened):
        yield f"session {event.session} of {event.wall_time}, {event.source}"
    if isinstance(event, FrameMapped):
        counts = event.header.counts
        yield (
            f"frame {event.frame.sequence}: {event.header.columns} columns, {counts.vac1 + counts.vac2} with "
            f"vacancies, {counts.dopant} dopants, entropy {event.header.mean_entropy_nats:.3f} nats"
        )
    for action in actions:
        if isinstance(action, RejectFrame):
            yield f"{action.frame or 'a message'} rejected: {action.reason}"
        elif isinstance(action, AnnounceRequest):
            request = action.request
            yield f"request {request.id} {request.status}: {request.outcome or request.wish.reason}"
        elif isinstance(action, Notice):
            yield action.text
    if isinstance(event, SessionEnding):
        yield f"session ended: {event.reason}"


def _conclude(outcome: Outcome, report: dict[str, Any]) -> str:
    """Return the last lines: what was replayed, and whether it came out the same."""
    done = (
        f"{report['entries']} entries replayed in {report['elapsed_s']:.1f} s: {report['frames']} frames, "
        f"{report['maps']} maps, {report['actions']} actions"
    )
    if outcome.difference is not None:
        return f"{done}\nFIRST DIFFERENCE at entry {outcome.difference.position}, {outcome.difference.what}"
    if report["is_verified"]:
        made = f"{report['maps_verified']} maps and {report['weighings_verified']} weighings made again"
        return f"{done}\nthe same to the bit: all decisions, and {made}"
    return f"{done}\nall decisions are the same; --verify makes the maps again too"
