"""`columnist demo`: the whole of it in under a minute, on a simulated microscope.

A doped specimen is scanned; the agent maps every frame, asks for another detector when the columns stay too
uncertain, and carries that out by itself, within its limits.
"""

import argparse
from contextlib import AbstractContextManager
from pathlib import Path

from agent.commands.options import add_settings_options, read_settings
from agent.commands.run import conduct, tell_end
from agent.exporting import write_results
from agent.recording import Recording
from agent.session import Ended
from agent.sources import Source, start_simulator

#: What is scanned: a monolayer that one detector alone leaves some columns of uncertain.
SPECIMEN = ("--host", "MoS2", "--dopant", "V", "--vac1", "0.04", "--dopant-fraction", "0.04", "--seed", "7")
SCAN = ("--energy-kev", "80", "--fov-nm", "8", "--pixels", "512", "--dwell-us", "1", "--current-pa", "60")

#: Settings of the demo, below what the user sets.
SETTINGS: dict[str, object] = {
    "policy.mode": "auto",
    "policy.when_behind": "every",
    "analysis.threads": 1,  # the simulated microscope needs the other core
    "session.max_maps": 24,
    "publish.maps": "tcp://127.0.0.1:0",
    "publish.snapshot": "tcp://127.0.0.1:0",
    "publish.control": "tcp://127.0.0.1:0",
}

#: What a demo must have shown.
LEAST_MAPS, LEAST_REQUESTS = 20, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist demo`."""
    parser.add_argument("--out", default="out/demo", metavar="FOLDER", help="where the session is kept")
    add_settings_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; 1 if it has not shown what it should."""
    settings = read_settings(arguments, {"session.folder": arguments.out}, SETTINGS)

    def open_source(name: str) -> AbstractContextManager[Source]:
        return start_simulator([*SPECIMEN, *SCAN], Path(settings.session.folder) / f"{name}-simulator.log")

    ended = conduct(settings, open_source)
    tell_end(ended)
    carried_out = count_carried_out(ended)
    written = write_results(ended.folder)
    print(f"requests carried out: {carried_out}")
    for kind in ("overlay", "summary", "report"):
        print(f"{kind}: {written[kind]}", flush=True)
    return 0 if ended.counts.mapped >= LEAST_MAPS and carried_out >= LEAST_REQUESTS else 1


def count_carried_out(ended: Ended) -> int:
    """Requests that the instrument confirmed, as the journal has them."""
    with Recording(ended.folder) as recording:
        return sum(
            action.kind == "announce_request" and action.request.status == "confirmed"
            for entry in recording.entries()
            for action in entry.actions
        )
