"""Micrograph files as a recording: a folder of them, or one, with or without a description in TOML."""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from drivers.contract.context import DETECTORS
from drivers.contract.errors import InputError, shown
from drivers.contract.facts import Facts
from drivers.file_context import facts_given
from drivers.files import SUFFIXES, Micrograph, read_micrographs
from drivers.frame_facts import combine, frame_facts
from drivers.own_results import is_own
from drivers.recording import Held, Recording, scan_s

#: The description that is looked for in a folder.
DESCRIPTION = "columnist.toml"

#: Bytes of pixels that stay in memory.  The rest is read again when its turn comes, a whole file at a time,
#: and one such file stays beside them.
KEPT_BYTES = 512 * 2**20


def read_folder(path: Path, given: Facts | None = None, *, description: Path | None = None) -> Recording:
    """Read what the files of a folder, or one file, hold.

    What is known of a frame is taken from, in this order: `given`, the description, the file itself, the
    file's name.  A file called ``haadf_2.dm4`` is the HAADF frame of position 2: a name of one of the
    reference detectors, ``_`` or ``-``, and the position; ``maadf_2.dm4`` shows the same position.  Any other
    file is a position of its own.  Where no description lists the frames of a folder, pictures and maps that
    we wrote are left out.

    Parameters
    ----------
    path : Path
    given : Facts, optional
        Counts most, as the options of a command line do.
    description : Path, optional
        By default ``columnist.toml`` in the folder, if there is one; `docs/bridge.md` shows it.

    Raises
    ------
    InputError
        If nothing there can be read, or the description is wrong.
    """
    if not path.exists():
        raise InputError(f"{path}: expected a folder of micrographs or a file, found nothing")
    given = given or Facts()
    folder = path if path.is_dir() else path.parent
    if description is None and path.is_dir() and (folder / DESCRIPTION).is_file():
        description = folder / DESCRIPTION
    common, entries = _described(description) if description else (Facts(), None)
    notes: list[str] = []
    if entries is None:
        files = sorted(folder.iterdir(), key=_in_order) if path.is_dir() else [path]
        files = [file for file in files if file.suffix.lower() in SUFFIXES]
        inputs = [file for file in files if not (path.is_dir() and is_own(file))]
        if own := len(files) - len(inputs):
            notes.append(f"{own} pictures and maps of earlier runs are left out")
        entries = [(file.name, None, Facts()) for file in inputs]
    kept = _Kept()
    frames: list[Held] = []
    for name, position, facts in entries:
        try:
            held, left_out = _frames_of(folder / name, position, combine(given, facts, common), kept)
        except InputError as error:
            if description is not None:
                raise
            notes.append(f"{shown(name)} is left out: {shown(error)}")
        else:
            frames += held
            notes += [f"{line}; it is left out" for line in left_out]
    if not frames:
        raise InputError(
            f"{path}: expected micrographs ({', '.join(SUFFIXES)}), found none that can be played"
            + (f": {'; '.join(notes)}" if notes else "")
        )
    return Recording(shown(path.resolve().name), tuple(frames), is_series=False, notes=tuple(notes))


class _Kept:
    """Loads pixels, and keeps as many of them in memory as the bound allows, and the file read last."""

    def __init__(self) -> None:
        self._left_bytes = KEPT_BYTES
        self._last: tuple[tuple[Path, int, int], tuple[Micrograph, ...]] | None = None

    def loader(self, file: Path, number: int, micrograph: Micrograph) -> Callable[[], NDArray[Any]]:
        image = micrograph.image
        shape = image.shape
        if image.nbytes <= self._left_bytes:
            self._left_bytes -= image.nbytes
            own = image.copy()  # a frame of a series is a view, which would keep the whole series
            return lambda: own

        def load() -> NDArray[Any]:
            micrographs = self._read(file)
            if number >= len(micrographs) or micrographs[number].image.shape != shape:
                raise InputError(f"{file.name} has changed since it was first read; start the replay again")
            return micrographs[number].image

        return load

    def _read(self, file: Path) -> tuple[Micrograph, ...]:
        """Read a file, unless it is the one read last and looks as it did then."""
        try:
            status = file.stat()
        except OSError as error:
            raise InputError(f"{file}: expected the file that was there before ({error})") from error
        look = (file, status.st_size, status.st_mtime_ns)
        if self._last is None or self._last[0] != look:
            self._last = None  # before the next: never two at once
            self._last = (look, read_micrographs(file).micrographs)
        return self._last[1]


def frames_of_file(file: Path, given: Facts) -> tuple[tuple[Held, ...], tuple[str, ...]]:
    """Return the images of one file, loaded, and a line on each of its frames that cannot be used.

    Raises
    ------
    InputError
        If it holds none that can be used.
    """
    return _frames_of(file, None, given, _Kept())


def _frames_of(
    file: Path, position: str | None, given: Facts, kept: _Kept
) -> tuple[tuple[Held, ...], tuple[str, ...]]:
    """The images of a file, and a line on each of its frames that cannot be used."""
    found = read_micrographs(file)
    micrographs = found.micrographs
    named, place = facts_by_file_name(file)
    place = position or place
    # Several detectors in one file saw the same position; several frames of one are a series.
    detectors = {micrograph.facts.detector for micrograph in micrographs}
    is_series = len(detectors) < len(micrographs)
    held = []
    for number, micrograph in enumerate(micrographs):
        source = f"{shown(file.name)} {micrograph.label}".strip()
        shape = (micrograph.image.shape[0], micrograph.image.shape[1])
        facts = frame_facts(
            combine(given, _with_angles(micrograph.facts, named), named), shape, source=source
        )
        held.append(
            Held(
                position=f"{place} {number}" if is_series and len(micrographs) > 1 else place,
                facts=facts,
                shape=shape,
                lasts_s=scan_s(facts, shape),
                load=kept.loader(file, number, micrograph),
            )
        )
    return tuple(held), tuple(f"{shown(file.name)} {one.label}: {one.reason}" for one in found.unusable)


def facts_by_file_name(file: Path) -> tuple[Facts, str]:
    """Return the detector that a file's name tells, with the reference instrument's angles, and the rest."""
    matched = re.fullmatch(r"([A-Za-z]+)[_-](.+)", file.stem)
    if matched is None or matched[1].upper() not in DETECTORS:
        return Facts(), file.stem
    return facts_given({"detector": matched[1].upper()}, f"name of {shown(file.name)}"), matched[2]


def _with_angles(facts: Facts, named: Facts) -> Facts:
    """Forget a detector's bare name where the file's name tells one with its angles."""
    if facts.inner_mrad is not None or named.detector is None:
        return facts
    return facts.rebuilt(detector=None)


def _described(path: Path) -> tuple[Facts, list[tuple[str, str | None, Facts]] | None]:
    """Read a description: a table ``context`` of all frames, and tables ``frame`` of each."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected a description in TOML: {error}") from error
    unknown = sorted(set(tree) - {"context", "frame"})
    if unknown:
        raise InputError(f"{path}: expected the tables context and frame, found {', '.join(unknown)}")
    common = facts_given(_table(tree.get("context", {}), path), f"{path.name}: context")
    if "frame" not in tree:
        return common, None
    if not isinstance(tree["frame"], list):
        raise InputError(f"{path}: expected [[frame]], a table for each frame, found [frame]")
    return common, [_described_frame(_table(frame, path), path) for frame in tree["frame"]]


def _described_frame(table: Mapping[str, object], path: Path) -> tuple[str, str | None, Facts]:
    rest = dict(table)
    file, position = rest.pop("file", None), rest.pop("position", None)
    if not isinstance(file, str) or Path(file).name != file:
        raise InputError(f"{path}: expected file = the name of a file in the folder, found {file!r}")
    return file, None if position is None else str(position), facts_given(rest, f"{path.name}: {file}")


def _table(value: object, path: Path) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a table, found {value!r}")
    return value


def _in_order(file: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort by position, numbers by their value, then by name: haadf_2, maadf_2, haadf_11."""
    _, position = facts_by_file_name(file)
    parts = re.findall(r"\d+|\D+", position)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], file.name
