"""Labelled micrographs: known layouts, and any folder that a small TOML file describes."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.results.names import free_name
from drivers.contract.errors import InputError
from drivers.contract.facts import Facts
from drivers.file_context import facts_given
from models.scoring import MEANINGS, Labels

#: Name of the file that describes a folder.
DESCRIPTION = "labelled.toml"

EXAMPLE = """\
[[image]]
set = "mine"               # images of one set are averaged together
file = "image.dm4"         # any file that `columnist analyse` reads, with one image
points = "points.npy"      # (labels, 2), or a .csv of two columns
order = "xy"               # (column, row); or "rc" (row, column)
labels = "labels.npy"      # (labels,), whole numbers, or a .csv
context = { host = "WSe2", dopant = "Ti", energy_kev = 80, detector = "HAADF" }
classes = { 0 = "x2", 1 = "vacancy", 2 = "metal", 3 = "apart" }
"""


@dataclass(frozen=True)
class LabelledImage:
    """One image with labels.

    Parameters
    ----------
    name : str
        Tells images apart in a report: of those that share one, the second and further get a number.
    group : str
        Images of one set are averaged together.
    detector : str
        Its name, for the report; empty if it is not given.
    path : Path
        The image.
    facts : Facts
        The context that the description gives.
    points_path, labels_path : Path
        Two coordinates a label, and the labels.
    is_xy : bool
        Whether the points are (column, row).
    classes : mapping
        What each label means, by its text.
    """

    name: str
    group: str
    detector: str
    path: Path
    facts: Facts
    points_path: Path
    labels_path: Path
    is_xy: bool
    classes: Mapping[str, str]

    @cached_property
    def labels(self) -> Labels:
        """The labels, read when first asked for.

        Raises
        ------
        InputError
            If one of their files is missing or damaged, they do not fit together, or a label has no class.
        """
        points = _table(self.points_path)
        if points.ndim != 2 or points.shape[1] != 2:
            raise InputError(
                f"{self.points_path}: expected two coordinates for each label, (labels, 2), found shape "
                f"{points.shape}; transpose it, or take out further columns"
            )
        labels = _table(self.labels_path).ravel()
        if len(labels) != len(points) or len(points) == 0:
            raise InputError(
                f"{self.labels_path}: expected a label for each of {len(points)} points of "
                f"{self.points_path.name}, found {len(labels)}; take the two files of one image"
            )
        names = [f"{label:g}" for label in labels]
        unknown = sorted(set(names) - set(self.classes))
        if unknown:
            raise InputError(
                f"{self.labels_path}: expected a class for every label, found none for {', '.join(unknown)}; "
                f"known are {', '.join(self.classes)}"
            )
        ordered = points[:, ::-1] if self.is_xy else points
        return Labels(
            np.ascontiguousarray(ordered, dtype=np.float64), np.array([self.classes[name] for name in names])
        )


def find_labelled(folder: Path) -> list[LabelledImage]:
    """Find the labelled images of a folder and of its subfolders.

    A folder with a `labelled.toml` is what that says; a folder named tiwse2 or crwse2 is known.  Whether the
    files of an image are there and whole shows when they are read.

    Raises
    ------
    InputError
        If there are none, or a description cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder with labelled micrographs, found none; check the path")
    found: list[LabelledImage] = []
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if (place / DESCRIPTION).is_file():
            found += _described(place)
        elif place.resolve().name in _KNOWN:
            found += [
                _image(place, entry, place / "README.md") for entry in _KNOWN[place.resolve().name](place)
            ]
    if not found:
        raise InputError(
            f"{folder}: expected labelled micrographs, found neither {DESCRIPTION} nor a folder "
            f"{' or '.join(_KNOWN)}; describe the folder by a {DESCRIPTION} such as\n{EXAMPLE}"
        )
    taken: set[str] = set()
    return [replace(image, name=free_name(image.name, taken)) for image in found]


def _numbers(folder: Path) -> list[str]:
    """Numbers of the images that have points, labels or both."""
    stems = {path.stem for kind in ("points", "labels") for path in folder.glob(f"{kind}_*.npy")}
    return sorted({stem.partition("_")[2] for stem in stems}, key=lambda number: (len(number), number))


def _tiwse2(folder: Path) -> list[dict[str, Any]]:
    """Entries of the Ti-doped WSe2 pairs: label 3 is not the truth about dopants, so it is kept apart."""
    entries = []
    for number in _numbers(folder):
        for detector in ("HAADF", "MAADF"):
            if (folder / f"{detector.lower()}_{number}.dm4").is_file():
                entries.append(
                    {
                        "set": "tiwse2",
                        "file": f"{detector.lower()}_{number}.dm4",
                        "points": f"points_{number}.npy",
                        "labels": f"labels_{number}.npy",
                        "context": {"host": "WSe2", "dopant": "Ti", "energy_kev": 80, "detector": detector},
                        "classes": {"0": "x2", "1": "vacancy", "2": "metal", "3": "apart"},
                    }
                )
    return entries


def _crwse2(folder: Path) -> list[dict[str, Any]]:
    """Entries of the Cr-doped WSe2 images."""
    entries = []
    for number in _numbers(folder):
        entries.append(
            {
                "set": "crwse2",
                "file": f"maadf_denoised_{number}.npy",
                "points": f"points_{number}.npy",
                "labels": f"labels_{number}.npy",
                "context": {"host": "WSe2", "dopant": "Cr", "energy_kev": 80, "detector": "MAADF"},
                "classes": {"0": "metal", "1": "x2", "2": "vacancy", "3": "dopant"},
            }
        )
    return entries


_KNOWN = {"tiwse2": _tiwse2, "crwse2": _crwse2}


_TEXT, _TABLE = (str, "a text"), (Mapping, "a table")

#: What an entry holds: key, type, and the type in words.
_ENTRY: tuple[tuple[str, type, str], ...] = (
    *((key, *_TEXT) for key in ("file", "points", "labels", "set", "order", "name")),
    *((key, *_TABLE) for key in ("context", "classes")),
)


def _described(folder: Path) -> list[LabelledImage]:
    """Images of a folder with a description."""
    path = folder / DESCRIPTION
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected TOML, found {error}; see the example:\n{EXAMPLE}") from error
    entries = tree.get("image")
    if not (isinstance(entries, list) and entries and all(isinstance(one, dict) for one in entries)) or (
        set(tree) != {"image"}
    ):
        raise InputError(
            f"{path}: expected tables [[image]], found {', '.join(tree) or 'nothing'}; as in\n{EXAMPLE}"
        )
    return [_image(folder, entry, path) for entry in entries]


def _image(folder: Path, entry: Mapping[str, Any], origin: Path) -> LabelledImage:
    """Check one entry of a description; its files are read when they are needed."""
    required = {"file", "points", "labels", "context", "classes"}
    if not required <= set(entry) or not set(entry) <= required | {"set", "order", "name"}:
        raise InputError(
            f"{origin}: expected an image with {', '.join(sorted(required))} and perhaps set, order, name; "
            f"found {', '.join(entry)}"
        )
    for key, kind, told in _ENTRY:
        if key in entry and (not isinstance(entry[key], kind) or entry[key] == ""):
            raise InputError(f"{origin}: expected {told} for {key}, found {entry[key]!r}; as in\n{EXAMPLE}")
    classes = {str(key): value for key, value in entry["classes"].items()}
    strange = [str(value) for value in classes.values() if value not in MEANINGS]
    if strange:
        raise InputError(f"{origin}: expected classes {', '.join(MEANINGS)}; found {', '.join(strange)}")
    if entry.get("order", "xy") not in ("xy", "rc"):
        raise InputError(f"{origin}: expected order 'xy' or 'rc', found {entry['order']!r}")
    facts = facts_given(entry["context"], str(origin))
    return LabelledImage(
        name=str(entry.get("name", f"{folder.resolve().name}/{Path(entry['file']).stem}")),
        group=str(entry.get("set", folder.resolve().name)),
        detector=facts.detector.value if facts.detector else "",
        path=folder / entry["file"],
        facts=facts,
        points_path=folder / entry["points"],
        labels_path=folder / entry["labels"],
        is_xy=entry.get("order", "xy") == "xy",
        classes=classes,
    )


def _table(path: Path) -> NDArray[np.float64]:
    """Numbers of a .npy or .csv file."""
    try:
        if path.suffix == ".npy":
            table = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
        else:
            table = np.loadtxt(path, delimiter=",", comments="#", dtype=np.float64)
    except (OSError, ValueError, EOFError) as error:
        remedy = "check its name, or make it anew"
        if path.suffix != ".npy" and isinstance(error, ValueError) and not isinstance(error, UnicodeError):
            remedy = "leave out a line of headings, or begin it with #"
        raise InputError(
            f"{path}: expected numbers in a .npy or .csv file, found {error}; {remedy}"
        ) from error
    if not np.isfinite(table).all():
        bad = int((~np.isfinite(table)).sum())
        raise InputError(f"{path}: expected finite numbers, found {bad} that are not; leave such rows out")
    return table
