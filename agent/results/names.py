"""Names of what is written for each image, and of what a folder holds that we wrote."""

import json
import os
import re
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path

from drivers.contract.errors import InputError
from drivers.own_results import is_own

#: What is written for an image: kind, and what follows its stem.
ENDINGS = {
    "csv": ".csv",
    "nexus": ".nxs",
    "overlay": "_map.png",
    "patches": "_patches.png",
    "report": ".html",
}

#: The page on all images of a run.
JOINT_REPORT = "report.html"

#: The figures of a session that was exported.
SUMMARY = "summary.json"


class ResultNames:
    """Stems of the results of a run: none is given twice, none lets a result take the place of an input.

    Parameters
    ----------
    paths : sequence of Path
        Inputs, each once.
    out : Path
        Folder of the results.
    joint : bool
        Whether there is a page on all of them, too.

    Raises
    ------
    InputError
        If a result would take the place of an input.
    """

    def __init__(self, paths: Sequence[Path], out: Path, *, joint: bool = True) -> None:
        self._out = out
        self._inputs = {os.path.realpath(path) for path in paths}
        self._of_file = dict(zip(paths, stems_of(paths, joint=joint), strict=True))
        self._taken = {stem.lower() for stem in self._of_file.values()}
        if os.path.realpath(out / JOINT_REPORT) in self._inputs:
            raise _clash(out / JOINT_REPORT)
        for stem in self._of_file.values():
            self._check(stem)

    def stem(self, path: Path, label: str) -> str:
        """The stem of an image of a file; the label is empty if it is the only one.

        Raises
        ------
        InputError
            If a result would take the place of an input.
        """
        if not label:
            return self._of_file[path]
        stem = free_name(f"{self._of_file[path]}_{label}", self._taken)
        self._check(stem)
        return stem

    def _check(self, stem: str) -> None:
        for ending in ENDINGS.values():
            if os.path.realpath(self._out / (stem + ending)) in self._inputs:
                raise _clash(self._out / (stem + ending))


def _clash(path: Path) -> InputError:
    return InputError(f"the result {path} would take the place of an input; choose another --out")


def stems_of(paths: Sequence[Path], *, joint: bool = True) -> list[str]:
    """Give every file a stem of its own: its name's, with the suffix and a number if others share it.

    That of the page on all of them, if there is a `joint` one, counts as another's.
    """
    plain = [_printable(path.stem) for path in paths]
    shared = Counter(stem.lower() for stem in plain)
    if joint:
        shared[Path(JOINT_REPORT).stem] += 1
    taken: set[str] = set()
    return [
        free_name(stem if shared[stem.lower()] == 1 else f"{stem}_{path.suffix.lstrip('.')}", taken)
        for path, stem in zip(paths, plain, strict=True)
    ]


def free_name(plain: str, taken: set[str]) -> str:
    """A name, or the first number after it that is not taken; takes it.  Capitals tell no files apart."""
    stem, number = plain, 1
    while stem.lower() in taken:
        number += 1
        stem = f"{plain}_{number}"
    taken.add(stem.lower())
    return stem


def _printable(name: str) -> str:
    return re.sub("[\ud800-\udfff]", "_", name)


def own_others(out: Path, stem: str, kinds: Container[str]) -> list[str]:
    """Names of what an earlier run wrote for an image besides these kinds, which are now written anew."""
    others = [stem + ending for kind, ending in ENDINGS.items() if kind not in kinds]
    return [name for name in others if is_own(out / name)]


def check_results_of(out: Path, session: str | None) -> None:
    """See to it that a folder holds no results of anything else, for nobody could tell them apart.

    Parameters
    ----------
    out : Path
        Need not exist.
    session : str or None
        Whose results are to be written; None for those of micrograph files.

    Raises
    ------
    InputError
        If the folder holds the summary of another session, or, for a session, what is none or reports of
        micrograph files.
    """
    remedy = "name another folder with --out, or empty this one"
    if (out / SUMMARY).is_file():
        found = _session_of(out / SUMMARY)
        if found is None and session is not None:
            raise InputError(f"{out / SUMMARY} is of no session and would be written over; {remedy}")
        if found != session:
            raise InputError(f"{out} holds results of the session {found}; {remedy}")
    elif session is not None and any(is_own(path) for path in out.glob("*.html")):
        raise InputError(f"{out} holds reports of something else; {remedy}")


def _session_of(summary: Path) -> str | None:
    """Name of the session that a summary is of; None if it is none of ours."""
    try:
        tree = json.loads(summary.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    name = tree.get("session") if isinstance(tree, dict) else None
    return name if isinstance(name, str) else None
