"""Names of what is written for each image; pure."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from drivers.contract.errors import InputError

#: What is written for an image: kind, and what follows its stem.
ENDINGS = {
    "csv": ".csv",
    "nexus": ".nxs",
    "overlay": "_map.png",
    "patches": "_patches.png",
    "report": ".html",
}


def stems_of(paths: Sequence[Path]) -> list[str]:
    """Give every file a stem of its own: its name's, with the suffix and a number if others share it."""
    shared = Counter(path.stem.lower() for path in paths)
    taken: set[str] = set()
    stems = []
    for path in paths:
        plain = path.stem if shared[path.stem.lower()] == 1 else f"{path.stem}_{path.suffix.lstrip('.')}"
        stem, number = plain, 1
        while stem.lower() in taken:
            number += 1
            stem = f"{plain}_{number}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems


def check_inputs_are_kept(paths: Sequence[Path], stems: Sequence[str], out: Path) -> None:
    """Raise `InputError` if a result would take the place of an input."""
    inputs = {path.resolve() for path in paths}
    written = [out / (stem + ending) for stem in stems for ending in ENDINGS.values()]
    clash = [path for path in [*written, out / "report.html"] if path.resolve() in inputs]
    if clash:
        raise InputError(f"the result {clash[0]} would take the place of an input; choose another --out")
