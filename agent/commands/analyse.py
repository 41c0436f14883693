"""`columnist analyse`: from micrograph files to defect maps, tables, pictures and reports."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from agent.commands.options import make_folder
from agent.results.given import Given, read_config
from agent.results.names import JOINT_REPORT, ResultNames, check_results_of
from agent.results.report import Failure, ReportImage, report_html
from agent.results.runs import Done, Failed, analyse_file, describe, find_files
from agent.results.words import share_words, time_words
from agent.results.writing import write_all
from drivers.contract.errors import shown
from drivers.contract.facts import FIELDS, TEXT_FIELDS
from drivers.file_context import OPTIONS
from models.analysis import DEFAULT_MODEL, Analyser, load_analyser
from models.networks.catalogue import NETWORKS

#: Images whose pictures the joint report holds, at most; beyond that it has the table alone.
_MOST_PICTURES = 24

_HELP = {
    "host": "host monolayer, for example WSe2",
    "dopant": "dopant to look for, for example Ti, or none",
    "energy_kev": "beam energy [keV]",
    "detector": "HAADF, MAADF, or INNER-OUTER [mrad]",
    "inner_mrad": "inner semi-angle of the detector [mrad]",
    "outer_mrad": "outer semi-angle of the detector [mrad]",
    "convergence_mrad": "convergence semi-angle of the beam [mrad]",
    "pixel_size_angstrom": "edge of a pixel [Å], to compare the lattice's with",
    "dwell_us": "time at every point [µs], to be written with the map",
    "dose_e_per_a2": "electrons per Å², to be written with the map",
    "beam_current_pa": "beam current [pA], to be written with the map",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist analyse`."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="micrograph files, or folders of them"
    )
    context = parser.add_argument_group("context", "goes before what the files say")
    for field, option in OPTIONS.items():
        context.add_argument(
            option,
            dest=field,
            type=str if field in TEXT_FIELDS else float,
            help=_HELP[field],
        )
    parser.add_argument(
        "--config",
        type=Path,
        help="TOML file with [context], [images.LABEL] and [analysis]; options go before it",
    )
    parser.add_argument("--out", type=Path, default=Path("maps"), help="folder to write to (default: maps)")
    parser.add_argument("--model", choices=list(NETWORKS), help=f"shipped network (default: {DEFAULT_MODEL})")
    parser.add_argument("--weights", type=Path, help="weights of your own (.safetensors), instead of --model")
    parser.add_argument("--device", help="cpu (default), cuda, ...")
    parser.add_argument("--tables-only", action="store_true", help="write no pictures and reports")
    parser.add_argument("--json", action="store_true", help="print one JSON object on all images")


def run(arguments: argparse.Namespace) -> int:
    """Analyse all files; 0 if all succeeded, 1 if some did, 2 if none did.

    Interrupted, it tells what is done before it passes that on.
    """
    config = read_config(arguments.config) if arguments.config else {}
    given = Given.of({field: getattr(arguments, field) for field in FIELDS}, config, str(arguments.config))
    settings = dict(config.get("analysis", {}))
    check_results_of(arguments.out, None)
    found = find_files(arguments.files)
    is_joint = len(found.paths) + len(found.failed) > 1
    names = ResultNames(found.paths, arguments.out, joint=is_joint)
    if found.own:
        _say(f"left out {found.own} pictures and maps of earlier runs")
    for line in (*map(_named, found.failed), *given.hidden):
        _say(line)
    analyser = load_analyser(
        arguments.model or settings.get("model", DEFAULT_MODEL),
        weights=arguments.weights,
        device=arguments.device or settings.get("device", "cpu"),
    )
    made = not arguments.out.exists()
    make_folder(arguments.out)
    done: list[Done] = []
    failed = list(found.failed)
    cut_short: KeyboardInterrupt | None = None
    try:
        for outcome in _outcomes(found.paths, names, given, analyser, arguments):
            if isinstance(outcome, Done):
                done.append(outcome)
            else:
                failed.append(outcome)
    except KeyboardInterrupt as stop:
        cut_short = stop
    finally:
        if made and not any(arguments.out.iterdir()):
            arguments.out.rmdir()
    if (is_joint or len(done) + len(failed) > 1) and done and not arguments.tables_only:
        try:
            _write_report(done, failed, arguments.out, is_cut_short=cut_short is not None)
        except OSError as error:
            failed.append(Failed(arguments.out / JOINT_REPORT, "", f"cannot be written: {error}"))
            _say(_named(failed[-1]))
    _tell(done, failed, arguments, is_cut_short=cut_short is not None)
    if cut_short is not None:
        raise cut_short
    for line in given.unused({one.label for one in done} | {one.label for one in failed if one.label}):
        _say(line)
    return 0 if not failed else 1 if done else 2


def _outcomes(
    paths: Sequence[Path],
    names: ResultNames,
    given: Given,
    analyser: Analyser,
    arguments: argparse.Namespace,
) -> Iterator[Done | Failed]:
    """Analyse file by file below a progress bar."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=len(paths))
        for path in paths:
            for outcome in analyse_file(
                path,
                names,
                given.for_image,
                analyser,
                arguments.out,
                with_pictures=not arguments.tables_only,
                on_step=lambda step: bar.update(task, description=step),
            ):
                if isinstance(outcome, Failed):
                    _say(_named(outcome), bar.console)
                yield outcome
            bar.advance(task)


def _say(line: str, console: Console | None = None) -> None:
    """One line on what is not as it should be."""
    (console or Console(stderr=True)).print(
        f"columnist analyse: {line}", style="red", markup=False, highlight=False, soft_wrap=True
    )


def _named(outcome: Failed) -> str:
    """Error with the file that it is about, once."""
    return (
        outcome.error if outcome.error.startswith(shown(outcome.file)) else f"{outcome.name}: {outcome.error}"
    )


def _write_report(done: Sequence[Done], failed: Sequence[Failed], out: Path, *, is_cut_short: bool) -> None:
    """Write one page on all images."""
    with_pictures = len(done) <= _MOST_PICTURES
    images = [
        ReportImage(
            one.name,
            one.header,
            one.pictures.get("overlay") if with_pictures else None,
            one.pictures.get("patches") if with_pictures else None,
            one.notes,
        )
        for one in done
    ]
    failures = [Failure(one.name, one.error) for one in failed]
    title = f"{len(done)} image{'' if len(done) == 1 else 's'}" + (", cut short" if is_cut_short else "")
    page = report_html(title, images, failures, made_on=time_words(datetime.now(UTC)))
    write_all(out, {"report": (JOINT_REPORT, page.encode())})


def _tell(
    done: Sequence[Done], failed: Sequence[Failed], arguments: argparse.Namespace, *, is_cut_short: bool
) -> None:
    """Print JSON, or a table and where the results lie."""
    if arguments.json:
        failures = [{"file": shown(one.file), "label": one.label, "error": one.error} for one in failed]
        images = [describe(one) for one in done]
        told = {"images": images, "failures": failures, "is_cut_short": is_cut_short}
        print(json.dumps(told, indent=1))
        return
    if not done:
        return
    table = Table()
    table.add_column("image")
    for heading in ("columns", "vac1", "vac2", "dopant", "vac1 of X sites", "Å/px", "margin [nats]"):
        table.add_column(Text(heading), justify="right")
    table.add_column("flags")
    for one in done:
        header = one.header
        table.add_row(
            Text(one.name),
            str(header.columns),
            str(header.counts.vac1),
            str(header.counts.vac2),
            str(header.counts.dopant),
            "{} ({})".format(*share_words(header.concentrations[0])),
            f"{header.scale.pixel_size_angstrom:.4f}",
            f"{header.margin_nats:.1f}",
            ", ".join(flag.kind for flag in header.flags),
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for one in done:
        for flag in one.header.flags:
            console.print(f"{one.name}: {flag.message}", markup=False, highlight=False, soft_wrap=True)
    notes = [
        (shown(one.file.name), note) for one in done for note in (*one.header.settled.facts.notes, *one.notes)
    ]
    for name, note in dict.fromkeys(notes):  # once a file, not once a frame
        line = note if note.startswith(name) else f"{name}: {note}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    print(f"{len(done)} analysed, {len(failed)} failed; results in {arguments.out}")
