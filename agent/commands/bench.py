"""`columnist bench`: run one of the scripts in `benchmarks/`."""

import argparse
import inspect
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from drivers.contract.errors import InputError

_FOLDER = Path(__file__).parents[2] / "benchmarks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist bench`."""
    parser.add_argument("name", help="benchmark: " + ", ".join(_names()))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("more", nargs=argparse.REMAINDER, help="options of the benchmark, where it has any")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark's `main`, which returns figures and whether its limits are met; print the figures."""
    if arguments.name not in _names():
        raise InputError(
            f"no benchmark {arguments.name!r} in {_FOLDER}; there are: {', '.join(_names()) or 'none'} "
            "(benchmarks come with a checkout of the source)"
        )
    words = [word for word in arguments.more if word != "--json"]
    benchmark = runpy.run_path(str(_FOLDER / f"{arguments.name}.py"))
    main = benchmark["main"]
    if words and "words" not in inspect.signature(main).parameters:
        if words[0] in ("-h", "--help"):
            print(benchmark["__doc__"].strip())
            return 0
        raise InputError(f"the benchmark {arguments.name} takes no options, found {' '.join(words)}")
    report, is_met = main(tuple(words)) if words else main()
    if arguments.json or "--json" in arguments.more:
        print(json.dumps(report, indent=1))
    else:
        _print(report if isinstance(report, dict) else {"rows": report})
    return 0 if is_met else 1


def _print(report: dict[str, Any]) -> None:
    """Print a table of the figures, with the limits of those that have one."""
    limits, met = report.get("limits", {}), report.get("met", {})
    table = Table(box=None)
    table.add_column("name", no_wrap=True)
    table.add_column("figure", overflow="fold")
    table.add_column("limit", justify="right")
    table.add_column("met")
    for name, figure in _figures({key: one for key, one in report.items() if key not in ("limits", "met")}):
        limit = _words(limits[name]) if name in limits else ""
        verdict = {True: "yes", False: "no", None: ""}[met.get(name)]
        table.add_row(name, Text(_words(figure)), limit, verdict, style="red" if verdict == "no" else None)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _figures(report: dict[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Each figure with its name; of those inside others, `OUTER.INNER`."""
    for key, figure in report.items():
        if isinstance(figure, dict):
            yield from _figures(figure, f"{within}{key}.")
        else:
            yield f"{within}{key}", figure


def _words(figure: Any) -> str:
    """A figure as text; of many rows only how many there are."""
    if figure is None:
        return "-"
    if isinstance(figure, float):
        return f"{figure:.4g}"
    if isinstance(figure, list | tuple):
        is_plain = not any(isinstance(one, dict | list | tuple) for one in figure)
        return ", ".join(map(_words, figure)) if is_plain else f"{len(figure)} rows, which --json prints"
    return str(figure)


def _names() -> list[str]:
    """Names of the benchmarks of this checkout."""
    return sorted(path.stem for path in _FOLDER.glob("[!_]*.py"))
