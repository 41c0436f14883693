"""`columnist kernels`: build the kernel table, or study how it converges."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from drivers.commands.options import count
from drivers.contract.context import ENERGIES_KEV
from drivers.contract.errors import InputError
from drivers.contract.materials import HOSTS, find_host
from sim_microscope.build import (
    ColumnTask,
    PairTask,
    Task,
    assemble_columns,
    assemble_pairs,
    default_species,
    run_tasks,
)
from sim_microscope.column_build import Settings
from sim_microscope.commands.options import find_device, make_folder, progress_bar
from sim_microscope.kernels import DATA_FOLDER, save_table
from sim_microscope.pairs import save_pairs

#: Rank of the basis of the pair terms.
PAIR_RANK = 96

#: Energies of a table [keV]; above, the kernels' grid asks for more than is known of atoms
#: (`sim_microscope.scattering.FREQUENCIES`).
LOWEST_KEV, HIGHEST_KEV = 20, 250


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist kernels`."""
    actions = parser.add_subparsers(dest="action", required=True)
    build = actions.add_parser("build", help="compute column kernels; resumes where it was interrupted")
    build.add_argument(
        "--table",
        type=Path,
        help="folder to write kernels.npz and pairs.npz to, each with its card (default: the shipped table)",
    )
    build.add_argument("--host", action="append", help="host to include, repeatable (default: all)")
    build.add_argument(
        "--energy-kev",
        type=int,
        action="append",
        help="beam energy to include, repeatable (default: 60 80 100)",
    )
    build.add_argument("--work", type=Path, default=Path("out/kernels"), help="folder of finished kernels")
    build.add_argument("--workers", type=count, default=os.cpu_count() or 1, help="processes")
    build.add_argument("--cluster", metavar="ADDRESS", help="Dask scheduler to work on instead")
    build.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto")
    study = actions.add_parser("study", help="show how the kernels converge with their numerics")
    study.add_argument("--out", type=Path, default=Path("out/convergence.md"), help="Markdown file to write")


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; returns the exit status."""
    return build(arguments) if arguments.action == "build" else study(arguments)


def study(arguments: argparse.Namespace) -> int:
    """Run every convergence study and write its table."""
    from sim_microscope.convergence import Row, as_markdown
    from sim_microscope.convergence_peers import STUDIES

    rows: list[Row] = []
    with progress_bar() as progress:
        bar = progress.add_task("studies", total=len(STUDIES))
        for each in STUDIES:
            rows += each()
            progress.advance(bar)
    text = as_markdown(rows)
    make_folder(arguments.out.parent)
    arguments.out.write_text(text)
    print(text)
    return 0


def build(arguments: argparse.Namespace) -> int:
    """Compute what is missing, then write the table."""
    hosts: Sequence[str] = tuple(arguments.host or HOSTS)
    for name in hosts:
        find_host(name)
    energies = tuple(arguments.energy_kev or ENERGIES_KEV)
    if any(not LOWEST_KEV <= energy <= HIGHEST_KEV for energy in energies):
        raise InputError(
            f"energies {list(energies)} keV: expected {LOWEST_KEV} to {HIGHEST_KEV} keV (not volts)"
        )
    if arguments.table is None and (arguments.host or arguments.energy_kev):
        raise InputError(
            "a table of some hosts or energies would take the place of the shipped one, which holds all: "
            "name a folder for it with --table FOLDER"
        )
    settings, device = Settings(), find_device(arguments.device)
    species = default_species(hosts)
    columns = [ColumnTask(name, energy, settings, device) for energy in energies for name in species]
    # The long ones first, so that the last minutes do not run on one core.
    columns.sort(key=lambda task: not task.species.endswith("X2"))
    pairs = [PairTask(name, energy) for energy in energies for name in hosts]
    workers = 1 if device == "gpu" else arguments.workers
    folder = make_folder(arguments.table or DATA_FOLDER)
    column_path, pair_path = folder / "kernels.npz", folder / "pairs.npz"
    _work("columns", columns, arguments.work, workers, arguments.cluster)
    _work("neighbours", pairs, arguments.work, arguments.workers, arguments.cluster)
    save_table(assemble_columns(arguments.work, species, energies, settings), column_path)
    save_pairs(assemble_pairs(arguments.work, hosts, energies, rank=PAIR_RANK), pair_path)
    for path in (column_path, pair_path):
        print(f"{path} ({path.stat().st_size / 2**20:.2f} MiB)")
    return 0


def _work(label: str, tasks: Sequence[Task], folder: Path, workers: int, cluster: str | None) -> None:
    """Run tasks behind a progress bar and say how long they took."""
    start = time.monotonic()
    with progress_bar() as progress:
        bar = progress.add_task(label, total=len(tasks))
        run_tasks(tasks, folder, workers=workers, cluster=cluster, on_done=lambda n: progress.advance(bar, n))
    print(f"{label}: {len(tasks)} pieces of work in {time.monotonic() - start:.0f} s")
