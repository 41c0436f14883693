"""Micrograph files: one function from a path to images, each with what the file knows of its context."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.contract.errors import InputError, shown
from drivers.contract.facts import Facts
from drivers.file_formats import SUFFIXES, read_signals
from drivers.file_images import SMALLEST_EDGE_PX, Axis, RawSignal, checked_image, frames_of
from drivers.file_metadata import Tag, facts_by_name, facts_by_path, pixel_size_fact

__all__ = ["SUFFIXES", "Micrograph", "MicrographFile", "Unusable", "read_micrographs"]


@dataclass(frozen=True)
class Micrograph:
    """One image of a file.

    Parameters
    ----------
    label : str
        Tells the images of one file apart, fit for a file name; empty if there is one only.
    image : ndarray of shape (M, N)
        Intensities in the file's own type, contiguous, in the machine's byte order.
    facts : Facts
        What the file knows of the context.
    """

    label: str
    image: NDArray[np.generic]
    facts: Facts


@dataclass(frozen=True)
class Unusable:
    """An image of a file, or a frame of a series, that cannot be used: its label, and why."""

    label: str
    reason: str


@dataclass(frozen=True)
class MicrographFile:
    """The images of a file.

    Parameters
    ----------
    path : Path
    micrographs : tuple of Micrograph
    refused : tuple of str
        A line on everything else in the file that looked like an image and is none.
    unusable : tuple of Unusable
        What is an image, or a frame of a series, and holds nothing to be read.
    """

    path: Path
    micrographs: tuple[Micrograph, ...]
    refused: tuple[str, ...] = ()
    unusable: tuple[Unusable, ...] = ()


def read_micrographs(path: Path | str, *, is_trusted: bool = False) -> MicrographFile:
    """Read every image of a file: a single one, the frames of a series, the detectors of a scan.

    The format follows from the suffix, one of `SUFFIXES`, and is checked against the content.

    Parameters
    ----------
    path : Path or str
    is_trusted : bool
        Leave out the reading in a process of its own (half a second a file) that keeps a damaged HDF5 file
        from hanging this one; for files that this very run has written.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no image that can be used; the message says what was found.
    """
    path = Path(path)
    micrographs: list[Micrograph] = []
    refused: list[str] = []
    unusable: list[Unusable] = []
    for index, signal in enumerate(read_signals(path, is_trusted=is_trusted)):
        name = signal.title or signal.path.strip("/") or f"array {index}"
        try:
            frames, axes = frames_of(signal)
            facts = _facts(signal, axes, shown(path.name))
        except InputError as error:
            refused.append(f"{name}: {error}")
            continue
        for number, frame in enumerate(frames):
            label = name if len(frames) == 1 else f"{name} frame {number:0{len(str(len(frames) - 1))}d}"
            try:
                micrographs.append(Micrograph(label, checked_image(frame), facts))
            except InputError as error:
                if min(frame.shape) < SMALLEST_EDGE_PX:  # a thumbnail or a matrix of numbers, no micrograph
                    refused.append(f"{label}: {error}")
                else:
                    unusable.append(Unusable(label, str(error)))
    if not micrographs:
        found = [*refused, *(f"{one.label}: {one.reason}" for one in unusable)]
        raise InputError(f"{path}: no image to read: {'; '.join(found) or 'the file holds no array'}")
    is_alone = len(micrographs) + len(unusable) == 1
    return MicrographFile(path, _labelled(micrographs, is_alone), tuple(refused), tuple(unusable))


def _facts(signal: RawSignal, axes: tuple[Axis, Axis] | None, origin: str) -> Facts:
    """What the file knows of one signal: its tags, and its pixel size from the axes if it has any."""
    if signal.path:
        facts = facts_by_name(signal.tags, origin, signal.path, signal.others)
    else:
        facts = facts_by_path(signal.tags, origin)
    if axes is None:
        return facts
    rows, columns = (Tag(abs(axis.scale), axis.unit) for axis in axes)
    size, notes = pixel_size_fact(rows, columns, f"{origin}: scale of the axes")
    facts = facts.rebuilt(notes=facts.notes + notes)
    return facts if size is None else facts.rebuilt(pixel_size_angstrom=size)


def _labelled(micrographs: list[Micrograph], is_alone: bool) -> tuple[Micrograph, ...]:
    """Give every image of a file a label in letters, digits, ``-`` and ``_``; the only one gets none."""
    if is_alone:
        return (Micrograph("", micrographs[0].image, micrographs[0].facts),)
    taken: set[str] = set()
    labelled = []
    for micrograph in micrographs:
        plain = re.sub(r"[^\w-]+", "_", micrograph.label).strip("_") or "image"
        label, number = plain, 1
        while label in taken:
            number += 1
            label = f"{plain}_{number}"
        taken.add(label)
        labelled.append(Micrograph(label, micrograph.image, micrograph.facts))
    return tuple(labelled)
