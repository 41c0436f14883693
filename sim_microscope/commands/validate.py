"""`columnist validate physics`: kernels against full multislice and frozen phonons."""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from drivers.commands.options import count
from drivers.contract.context import DETECTORS
from sim_microscope.aberrations import Aberrations
from sim_microscope.column_ratios import column_ratios
from sim_microscope.commands.options import make_folder, progress_bar
from sim_microscope.kernels import default_table, load_table
from sim_microscope.pairs import default_pairs, load_pairs
from sim_microscope.validation import (
    CASES,
    SOURCE_SIGMA_ANGSTROM,
    TARGETS,
    Case,
    Comparison,
    compare,
    compare_stock,
    make_case,
)
from sim_microscope.validation_phonons import THERMAL_COLUMNS, compare_thermal

#: Aberrations whose transfer ratio is checked on the first case; 2.3 rad at the aperture's rim.
_ABERRATIONS = Aberrations(defocus_angstrom=30.0)

#: Probe positions at which abTEM as it comes is asked.
_STOCK_PROBES = 48


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist validate`."""
    parser.add_argument("what", choices=["physics"])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on standard output")
    parser.add_argument(
        "--out", type=Path, default=Path("out/validate-physics"), help="folder for figure and JSON"
    )
    parser.add_argument("--table", type=Path, help="folder of another kernel table")
    parser.add_argument("--workers", type=count, default=os.cpu_count() or 1)
    parser.add_argument(
        "--configurations", type=count, default=64, help="frozen phonons a repeat, a power of two"
    )
    parser.add_argument("--repeats", type=count, default=4, help="independent repeats of them")


def run(arguments: argparse.Namespace) -> int:
    """Run every comparison; status 1 if a target is missed."""
    start = time.monotonic()
    table = load_table(arguments.table / "kernels.npz") if arguments.table else default_table()
    pairs = load_pairs(arguments.table / "pairs.npz") if arguments.table else default_pairs()
    make_folder(arguments.out)
    cases, shown = [], None
    jobs = [make_case(*names) for names in CASES]
    with progress_bar() as progress:
        bar = progress.add_task("multislice probes", total=sum(job.points[0] * job.points[1] for job in jobs))
        for job in jobs:
            results = compare(
                job, table, workers=arguments.workers, on_done=lambda probes: progress.advance(bar, probes)
            )
            shown = shown or (job, results)
            cases += [_figures(job, name, *both) for name, both in results.items()]
        bar = progress.add_task("probes, aberrated", total=jobs[0].points[0] * jobs[0].points[1])
        aberrated = compare(
            jobs[0],
            table,
            workers=arguments.workers,
            aberrations=_ABERRATIONS,
            on_done=lambda probes: progress.advance(bar, probes),
        )
        stock = compare_stock(jobs[0], table, probes=_STOCK_PROBES)
        bar = progress.add_task("frozen phonons", total=len(THERMAL_COLUMNS))
        thermal = compare_thermal(
            table,
            configurations=arguments.configurations,
            repeats=arguments.repeats,
            workers=arguments.workers,
            on_done=lambda: progress.advance(bar),
        )
    report: dict[str, Any] = {
        f"worst_rms_{name.lower()}": max(c["rms_relative"] for c in cases if c["detector"] == name)
        for name in DETECTORS
    }
    report["worst_thermal"] = max(figure["difference_relative_to_peak"] for figure in thermal)
    report["targets"] = TARGETS
    report["met"] = {key: report[key] <= limit for key, limit in TARGETS.items()}
    report |= {
        "ratios": column_ratios(table, pairs),
        "cases": cases,
        "aberrated": {name: both[0].figures for name, both in aberrated.items()},
        "aberrations": str(_ABERRATIONS),
        "stock_abtem": stock,
        "thermal": thermal,
        "source_sigma_angstrom": SOURCE_SIGMA_ANGSTROM,
        "seconds": round(time.monotonic() - start, 1),
        "machine": f"{platform.machine()}, {arguments.workers} workers",
    }
    assert shown is not None
    _draw(*shown, arguments.out / "field.png")
    text = json.dumps(report, indent=1)
    (arguments.out / "physics.json").write_text(text + "\n")
    print(text if arguments.json else _table(report))
    return 0 if all(report["met"].values()) else 1


def _figures(case: Case, detector: str, full: Comparison, columns_alone: Comparison) -> dict[str, Any]:
    """Figures of one crystal and detector."""
    specimen = case.crystal.specimen
    return {
        "host": specimen.host,
        "dopant": specimen.dopant,
        "energy_kev": case.energy_kev,
        "detector": detector,
        "columns": len(case.crystal.states),
        "probes": case.points[0] * case.points[1],
        **full.figures,
        "rms_relative_columns_alone": columns_alone.figures["rms_relative"],
    }


def _table(report: dict[str, Any]) -> str:
    """Report as lines to read."""
    lines = [f"{'crystal':12} {'keV':>4} {'detector':8} {'rms':>8} {'constant':>9} {'columns alone':>14}"]
    for case in report["cases"]:
        lines.append(
            f"{case['host']}+{case['dopant']:6} {case['energy_kev']:4} {case['detector']:8} "
            f"{case['rms_relative']:8.4f} {case['constant_relative']:9.4f} "
            f"{case['rms_relative_columns_alone']:14.4f}"
        )
    for key, limit in TARGETS.items():
        lines.append(f"{key}: {report[key]:.4f} (target {limit}) {'met' if report['met'][key] else 'MISSED'}")
    lines += [f"{name}: {json.dumps(values)}" for name, values in report["ratios"].items()]
    return "\n".join(lines)


def _draw(case: Case, results: dict[str, tuple[Comparison, Comparison]], path: Path) -> None:
    """Draw kernels, reference and their difference, a row a detector."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 7.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    rows, columns = case.period_angstrom
    for line, (name, (full, _)) in zip(axes, results.items(), strict=True):
        low, high = full.reference.min(), full.reference.max()
        span = high - low
        pictures = (
            ("kernels", full.kernels, "gray", low, high),
            ("multislice", full.reference, "gray", low, high),
            (
                "difference, % of the contrast",
                (full.kernels - full.reference) / span * 100,
                "RdBu_r",
                -1.0,
                1.0,
            ),
        )
        for axis, (title, image, colours, least, most) in zip(line, pictures, strict=True):
            drawn = axis.imshow(
                image,
                cmap=colours,
                vmin=least,
                vmax=most,
                extent=(0, columns, rows, 0),
                interpolation="bicubic",
            )
            axis.set_title(f"{name}: {title}", size=10)
            axis.set_xlabel("Å", size=8)
            figure.colorbar(drawn, ax=axis, shrink=0.8)
    specimen = case.crystal.specimen
    figure.suptitle(
        f"1H-{specimen.host} with {specimen.dopant}, vacancies and a double vacancy, {case.energy_kev} keV, "
        f"at rest, {SOURCE_SIGMA_ANGSTROM:g} Å source",
        size=11,
    )
    figure.savefig(path)
