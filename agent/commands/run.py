"""`columnist run`: read every frame of an instrument, a simulator, a recording or a folder."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from agent.actions import RejectFrame
from agent.commands.options import add_settings_options, read_settings
from agent.console import show
from agent.lines import show_lines
from agent.recording import Recording
from agent.recovery import Recovered, find_cut_short, folder_read, recover
from agent.session import Ended, Show, name_session, run_session
from agent.settings import Settings
from agent.sockets import open_sockets
from agent.sources import Source, read_recording, serve_driver, start_simulator
from agent.state import Counts
from agent.steady_analysis import SteadyAnalysis
from agent.supervision import Notifier
from drivers.contract.context import DETECTORS, parse_detector
from drivers.contract.errors import InputError, shown
from drivers.replay import Options as ReplayOptions
from drivers.replay import ReplayMicroscope
from drivers.watch import WatchMicroscope

#: Options of the context, by field of the settings; each with its name at the simulated microscope.
CONTEXT = {"host": "--host", "dopant": "--dopant", "energy_kev": "--energy-kev", "detector": "--active"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist run`."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--connect", metavar="ADDRESS", help="a bridge, such as tcp://127.0.0.1:5555 (default)"
    )
    source.add_argument(
        "--simulate", action="store_true", help="start the simulated microscope, and run on it"
    )
    source.add_argument(
        "--replay",
        metavar="FOLDER",
        type=Path,
        help="a recorded session, or a folder of frames, of which those of the first's detector are played",
    )
    source.add_argument(
        "--watch", metavar="FOLDER", type=Path, help="a folder that micrographs are written into"
    )
    parser.add_argument("--frames", metavar="N", type=int, help="stop after this many maps")
    parser.add_argument(
        "--mode", choices=("observe", "advise", "auto"), help="what the agent may do by itself"
    )
    parser.add_argument("--out", metavar="FOLDER", help="where sessions are kept")
    replay = parser.add_argument_group("replay and watch")
    replay.add_argument("--speed", metavar="N", type=float, default=0.0, help="of a replay; 0: full speed")
    replay.add_argument(
        "--at-end",
        choices=("end", "hold", "loop"),
        default="end",
        help="after the last frame: end (default), wait for requests, or begin again",
    )
    replay.add_argument(
        "--present", action="store_true", help="take the files that are in the folder already"
    )
    context = parser.add_argument_group(
        "context", "what the operator says of specimen and optics; with --simulate, what is simulated"
    )
    context.add_argument("--host", help="for example WSe2")
    context.add_argument("--dopant", help="for example Ti, or none")
    context.add_argument("--energy-kev", type=float, help="beam energy [keV]")
    context.add_argument("--detector", help="HAADF, MAADF or INNER-OUTER in mrad")
    parser.add_argument(
        "--continue",
        dest="goes_on",
        action="store_true",
        help="go on with the newest session if it was cut short; else begin a new one",
    )
    parser.add_argument(
        "--supervised",
        action="store_true",
        help="under systemd or the like: --continue --plain, signs of life, no report "
        "(docs/examples/columnist.service)",
    )
    parser.add_argument("--plain", action="store_true", help="lines instead of the live view")
    parser.add_argument("--no-report", action="store_true", help="write no report at the end")
    add_settings_options(parser)
    parser.add_argument(
        "more", nargs="*", metavar="-- OPTION", help="after --: options of the simulated microscope"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run one session; 0 if it ended in order, 1 if its source broke off or none of its frames could be used.

    An instrument's own session that ends in order gives 0 even so: a supervisor is not to begin it again.
    """
    is_live = not (arguments.simulate or arguments.replay or arguments.watch)
    defaults = {} if is_live else {"policy.when_behind": "every"}
    settings = read_settings(arguments, flags_of(arguments), defaults)
    if arguments.more and not arguments.simulate:
        raise InputError(f"expected no further words without --simulate, found {' '.join(arguments.more)}")
    if not arguments.speed >= 0:
        raise InputError(f"expected --speed of 0 (full speed) or more, found {arguments.speed:g}")
    is_supervised = arguments.supervised
    view = show_lines if arguments.plain or is_supervised else show
    recovered = take_up(settings, is_ours=not is_live) if arguments.goes_on or is_supervised else None
    ended = conduct(
        settings,
        lambda name: choose_source(arguments, settings, name, recovered),
        view,
        recovered=recovered,
        notifier=Notifier(os.environ) if is_supervised else None,
    )
    tell_end(ended)
    if settings.session.report and ended.counts.mapped:
        from agent.exporting import write_results

        print(f"report: {write_results(ended.folder)['report']}")
    is_useless = not is_live and ended.counts.rejected > 0 and not ended.counts.mapped
    if is_useless:
        print(f"columnist run: no frame could be used: {first_rejection(ended.folder)}", file=sys.stderr)
    return 1 if ended.finish.is_aborted or is_useless else 0


def first_rejection(folder: Path) -> str:
    """Reason and remedy of the first frame that a session rejected."""
    with Recording(folder) as recording:
        for entry in recording.entries():
            for action in entry.actions:
                if isinstance(action, RejectFrame):
                    return f"{action.reason}; {action.remedy}"
    return "the journal names none"


def tell_end(ended: Ended) -> None:
    """Say what became of a session."""
    print(f"session ended: {ended.finish.reason}")
    print(f"frames and columns: {summary_of(ended.counts)}")
    print(f"recorded in {ended.folder}", flush=True)


def summary_of(counts: Counts) -> str:
    """What became of the frames: those that came were mapped, skipped or rejected, the others never came.

    One that the instrument's driver or the wire refused came too, though the agent has not seen it.
    """
    came = counts.mapped + counts.skipped + counts.rejected
    return (
        f"{came} came: {counts.mapped} mapped, {counts.skipped} skipped, {counts.rejected} rejected; "
        f"{counts.dropped} dropped, {counts.missing} missing; {counts.columns} columns"
    )


def flags_of(arguments: argparse.Namespace) -> dict[str, object]:
    """The settings that have options of their own."""
    flags = {
        "source.connect": arguments.connect,
        "session.max_maps": arguments.frames,
        "session.folder": arguments.out,
        "session.report": False if arguments.no_report or arguments.supervised else None,
        "policy.mode": arguments.mode,
    }
    if not arguments.simulate:
        flags |= {f"context.{name}": getattr(arguments, name) for name in CONTEXT}
    return flags


def simulator_options(arguments: argparse.Namespace) -> list[str]:
    """What the simulated microscope is told: what the operator says is what it shows."""
    words: list[str] = []
    for name, option in CONTEXT.items():
        if getattr(arguments, name) is not None:
            words += [option, str(getattr(arguments, name))]
    if arguments.detector is not None and parse_detector(arguments.detector).name not in DETECTORS:
        words += ["--detectors", *DETECTORS, arguments.detector]  # the microscope has those of its own alone
    return [*words, *arguments.more]


def take_up(settings: Settings, *, is_ours: bool) -> Recovered | None:
    """Return the newest session if it was cut short and can go on; says what is done."""
    try:
        folder = find_cut_short(Path(settings.session.folder))
        recovered = recover(folder, settings, is_ours=is_ours) if folder else None
    except InputError as error:
        print(f"a new session begins: {error}", file=sys.stderr)
        return None
    for note in recovered.notes if recovered else ():
        print(note, file=sys.stderr)
    return recovered


def conduct(
    settings: Settings,
    open_source: Callable[[str], AbstractContextManager[Source]],
    view: Show = show,
    *,
    recovered: Recovered | None = None,
    notifier: Notifier | None = None,
) -> Ended:
    """Make the parts that may refuse to be made, then run a session.

    Parameters
    ----------
    settings : Settings
    open_source : callable
        Starts what frames come from, given the session's name.
    view : callable
        Shows the session.
    recovered : Recovered, optional
        A session to go on with.
    notifier : Notifier, optional
        Tells a supervisor how the session is.

    Raises
    ------
    InputError
        If a port is in use, weights or device are not there, or the source cannot be opened.
    """
    name = recovered.opened.session if recovered else name_session()
    with open_sockets(settings) as sockets:
        # Torch takes seconds to load: what is amiss so far is told before.  Its workers must sleep while
        # they wait: where other programs use the cores too, those that spin hold one another up for seconds.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        from agent.work import ColumnAnalysis

        wanted = settings.analysis
        on_cpu = wanted.rebuilt(device="cpu")
        second = None if wanted.device == "cpu" else lambda: ColumnAnalysis(on_cpu)
        analysis = SteadyAnalysis(ColumnAnalysis(wanted), second)
        weigher = None
        if settings.policy.rule == "value":
            from agent.weighing import EvidenceWeigher

            weigher = EvidenceWeigher(settings.analysis)
        with open_source(name) as source:
            addresses = ", ".join(f"{what} {where}" for what, where in sockets.addresses.items())
            print(f"session {name} on {source.description} at {source.address}", file=sys.stderr)
            print(f"sockets: {addresses}", file=sys.stderr, flush=True)
            try:
                session = run_session(
                    settings,
                    source,
                    sockets,
                    analysis,
                    weigher,
                    name,
                    view,
                    recovered=recovered,
                    notifier=notifier,
                )
                return asyncio.run(session)
            except* InputError as group:
                raise first_of(group) from None


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error inside groups of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def choose_source(
    arguments: argparse.Namespace, settings: Settings, name: str, recovered: Recovered | None
) -> Iterator[Source]:
    """Start what frames come from, if it is not there already."""
    if arguments.simulate:
        log = Path(settings.session.folder) / f"{name}-simulator.log"
        with start_simulator(simulator_options(arguments), log) as source:
            yield source
    elif arguments.replay:
        recording = read_recording(arguments.replay)
        for note in recording.notes:
            print(note, file=sys.stderr)
        options = ReplayOptions(speed=arguments.speed or float("inf"), at_end=arguments.at_end)
        microscope = ReplayMicroscope(recording, options)
        if microscope.unplayed:
            print(f"{microscope.unplayed} (--mode auto --at-end loop lets the agent ask)", file=sys.stderr)
        with serve_driver(microscope, f"recording {arguments.replay}") as source:
            yield source
    elif arguments.watch:
        description = shown(f"watched folder {arguments.watch}")
        before = folder_read(recovered, description) if recovered else None
        watching = WatchMicroscope(arguments.watch, takes_present=arguments.present, before=before)
        with serve_driver(watching, description) as source:
            yield source
    else:
        yield Source(settings.source.connect, "a bridge", False)
