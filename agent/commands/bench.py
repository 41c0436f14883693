"""`columnist bench`: run one of the scripts in `benchmarks/`."""

import argparse
import inspect
import runpy
from pathlib import Path

from drivers.contract.errors import InputError

_FOLDER = Path(__file__).parents[2] / "benchmarks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist bench`."""
    parser.add_argument("name", help="benchmark: " + ", ".join(_names()))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("more", nargs=argparse.REMAINDER, help="options of the benchmark, where it has any")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark's `main`."""
    if arguments.name not in _names():
        raise InputError(
            f"no benchmark {arguments.name!r} in {_FOLDER}; there are: {', '.join(_names()) or 'none'} "
            "(benchmarks come with a checkout of the source)"
        )
    words = [word for word in arguments.more if word != "--json"]
    as_json = arguments.json or "--json" in arguments.more
    benchmark = runpy.run_path(str(_FOLDER / f"{arguments.name}.py"))
    main = benchmark["main"]
    if not words:
        return int(main(as_json))
    if "words" not in inspect.signature(main).parameters:
        if words[0] in ("-h", "--help"):
            print(benchmark["__doc__"].strip())
            return 0
        raise InputError(f"the benchmark {arguments.name} takes no options, found {' '.join(words)}")
    return int(main(as_json, tuple(words)))


def _names() -> list[str]:
    """Names of the benchmarks of this checkout."""
    return sorted(path.stem for path in _FOLDER.glob("[!_]*.py"))
