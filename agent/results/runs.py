"""From micrograph files to results on disk; one bad file does not stop the rest."""

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agent.results.names import ENDINGS, ResultNames, own_others
from agent.results.nexus import nexus_bytes
from agent.results.pictures import overlay_png, patches_png
from agent.results.report import ReportImage, report_html
from agent.results.tables import csv_text
from agent.results.words import time_words
from agent.results.writing import write_all
from drivers.contract.errors import InputError, shown
from drivers.contract.facts import Facts
from drivers.contract.maps import FrameReference, MapHeader, digest_pixels
from drivers.file_context import noted, settle
from drivers.files import SUFFIXES, Micrograph, read_micrographs
from drivers.own_results import is_own
from models.analysis import Analyser, analyse
from models.mean_patches import mean_patches


@dataclass(frozen=True)
class Done:
    """An image that was analysed and written."""

    file: Path
    label: str
    stem: str
    header: MapHeader
    outputs: dict[str, Path]
    notes: tuple[str, ...] = ()
    pictures: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """File, and which of its images."""
        return image_name(self.file, self.label)


@dataclass(frozen=True)
class Failed:
    """A file or folder, or an image of a file, that could not be analysed."""

    file: Path
    label: str
    error: str

    @property
    def name(self) -> str:
        """File with its path, and which of its images."""
        return f"{shown(self.file)} {self.label}".strip()


Outcome = Done | Failed


@dataclass(frozen=True)
class Found:
    """Files to analyse, folders that hold none, and how many results of earlier runs were left out."""

    paths: list[Path]
    failed: list[Failed]
    own: int


def image_name(file: Path, label: str) -> str:
    """Name of a file, and which of its images."""
    return f"{shown(file.name)} {label}".strip()


def find_files(paths: Sequence[Path]) -> Found:
    """Find the files to analyse: those named, and of folders those that can be read, by name; each once."""
    found: list[Path] = []
    failed: list[Failed] = []
    own = 0
    for path in paths:
        if not path.is_dir() or path.suffix.lower() in SUFFIXES:
            found.append(path)
            continue
        try:
            inside = [
                entry
                for entry in sorted(path.iterdir())
                if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".")
            ]
        except OSError as error:
            failed.append(Failed(path, "", _reason(error)))
            continue
        inputs = [entry for entry in inside if not is_own(entry)]
        own += len(inside) - len(inputs)
        if not inputs:
            seen = "only results of columnist" if inside else "none in this folder"
            failed.append(Failed(path, "", f"expected micrographs ({', '.join(SUFFIXES)}), found {seen}"))
        found += inputs
    once: dict[str, Path] = {}
    for path in found:
        once.setdefault(os.path.realpath(path), path)
    return Found(list(once.values()), failed, own)


def analyse_file(
    path: Path,
    names: ResultNames,
    given: Callable[[str], Sequence[Facts]],
    analyser: Analyser,
    out: Path,
    *,
    with_pictures: bool = True,
    on_step: Callable[[str], None] = lambda step: None,
) -> Iterator[Outcome]:
    """Analyse every image of a file and write its results, all of an image or none.

    A frame of a series that holds nothing to be read is a failure of its own, as a file is.

    Parameters
    ----------
    path : Path
    names : ResultNames
        Gives what is written its names.
    given : callable
        Facts for an image of a label, which go before what the file says; the first counts most.
    analyser : Analyser
    out : Path
        Folder, which exists.
    with_pictures : bool
        Also write pictures and a report.
    on_step : callable
        Is told what is being done.
    """
    try:
        on_step(f"reading {image_name(path, '')}")
        file = read_micrographs(path)
    except ImportError:
        raise  # no fault of the file: an extra is missing, or Ctrl-C came while a module was imported
    except Exception as error:
        yield Failed(path, "", _reason(error) + _earlier(out, names.stem(path, "")))
        return
    for one in file.unusable:
        yield Failed(path, one.label, one.reason)
    for micrograph in file.micrographs:
        on_step(image_name(path, micrograph.label))
        earlier = ""
        try:
            stem = names.stem(path, micrograph.label)
            earlier = _earlier(out, stem)
            facts = given(micrograph.label)
            yield _analyse_image(path, stem, micrograph, facts, analyser, out, with_pictures, file.refused)
        except ImportError:
            raise
        except Exception as error:
            yield Failed(path, micrograph.label, _reason(error) + earlier)


def _earlier(out: Path, stem: str) -> str:
    """What to add to an error if the results of an earlier run stay."""
    is_there = is_own(out / (stem + ENDINGS["nexus"]))
    return f"; results of an earlier run stay in {shown(out / stem)}.*" if is_there else ""


def _reason(error: Exception) -> str:
    """What to tell of an error; one that nobody foresaw is told with its place, to be reported."""
    if isinstance(error, InputError):
        return shown(str(error))
    if isinstance(error, MemoryError):
        return "the memory does not suffice for this image; crop it, or use a machine with more"
    if isinstance(error, OSError):
        return f"cannot be read or written: {shown(str(error))}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"unexpected {type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {error}; "
        "please report this with the file"
    )


def _analyse_image(
    path: Path,
    stem: str,
    micrograph: Micrograph,
    given: Sequence[Facts],
    analyser: Analyser,
    out: Path,
    with_pictures: bool,
    notes: tuple[str, ...],
) -> Done:
    """One image, from its pixels to files on disk."""
    settled = settle(*given, noted(micrograph.facts, *given))
    image = micrograph.image
    reference = FrameReference(
        file=shown(path),
        label=micrograph.label,
        shape=(image.shape[0], image.shape[1]),
        sha256=digest_pixels(image),
    )
    result = analyse(image, settled, analyser, frame=reference)
    contents = {"csv": csv_text(result).encode(), "nexus": nexus_bytes(result, image)}
    pictures: dict[str, bytes] = {}
    if with_pictures:
        name = image_name(path, micrograph.label)
        patches, counts = mean_patches(image, result)
        pictures = {
            "overlay": overlay_png(result, image, name),
            "patches": patches_png(patches, counts, result.header),
        }
        shown_image = ReportImage(name, result.header, pictures["overlay"], pictures["patches"], notes)
        page = report_html(name, [shown_image], made_on=time_words(datetime.now(UTC)))
        contents |= pictures | {"report": page.encode()}
    named = {kind: (stem + ENDINGS[kind], content) for kind, content in contents.items()}
    outputs = write_all(out, named, stale=own_others(out, stem, contents))
    return Done(path, micrograph.label, stem, result.header, outputs, notes, pictures)


def describe(outcome: Done) -> dict[str, object]:
    """Summarise an image for a program to read."""
    header = outcome.header
    settled = header.settled
    return {
        "file": shown(outcome.file),
        "label": outcome.label,
        "outputs": {kind: str(path) for kind, path in outcome.outputs.items()},
        "columns": header.columns,
        "counts": header.counts.model_dump(),
        "concentrations": {
            one.defect: {
                "value": one.value,
                "low": one.low,
                "high": one.high,
                "sites": one.sites,
                "of": one.of,
                "expected_count": one.expected_count,
            }
            for one in header.concentrations
        },
        "sublattice_margin_nats": header.margin_nats,
        "decided": header.is_decided,
        "grains": [grain.model_dump() for grain in header.grains],
        "lattice_px": header.scale.lattice_px,
        "pixel_size_angstrom": header.scale.pixel_size_angstrom,
        "declared_pixel_size_angstrom": header.scale.declared_pixel_size_angstrom,
        "mean_entropy_nats": header.mean_entropy_nats,
        "masked_fraction": header.masked_fraction,
        "detector_evidence_nats": {one.detector: one.log_evidence_nats for one in header.detector_evidence},
        "context": settled.context.model_dump(),
        "sources": {
            name: sourced.source
            for name in type(settled.facts).model_fields
            if name != "notes" and (sourced := getattr(settled.facts, name)) is not None
        },
        "model": header.model.model_dump(),
        "flags": [flag.model_dump() for flag in header.flags],
        "warnings": [flag.message for flag in header.flags] + list(settled.facts.notes) + list(outcome.notes),
    }
