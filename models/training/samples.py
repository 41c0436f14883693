"""A data set in memory: what training, calibration and test each see."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivers.contract.context import ColumnClass
from drivers.contract.errors import InputError
from models.contexts import reference_contexts
from models.encoding import CONTRAST_FEATURES
from models.networks.catalogue import Flag
from models.training.dataset import (
    CALIBRATION_FRAME,
    FORMAT,
    FRAMES_A_CYCLE,
    TEST_FRAME,
    read_json,
    read_shard,
)

#: Columns of a class in a frame below which they count for less than others do.
LEAST_OF_A_CLASS = 30

#: Columns of a class in a frame that weigh one each.
_COLUMNS_A_CLASS = 300

Part = Literal["train", "calibration", "test"]


@dataclass(frozen=True)
class Samples:
    """Columns of one part of a data set, in small types: 27 bytes a column; n columns.

    Parameters
    ----------
    contrast : Tensor of shape (n, 8)
        Contrast vectors, float16.
    context : Tensor of shape (n,)
        Number of the context, int16.
    label : Tensor of shape (n,)
        `ColumnClass`, uint8.
    log10_dose : Tensor of shape (n,)
        Of the column's frame, float16.
    weight : Tensor of shape (n,)
        From `column_weights`, float32.
    spread : Tensor of shape (n,)
        How far whole columns scatter around the column (`models.scatter`), float16.
    """

    contrast: Tensor
    context: Tensor
    label: Tensor
    log10_dose: Tensor
    weight: Tensor
    spread: Tensor

    def __len__(self) -> int:
        return len(self.label)

    @property
    def is_metal(self) -> Tensor:
        """Whether each column is on the metal sublattice by its flag, shape (n,)."""
        return self.contrast[:, CONTRAST_FEATURES - 2] > 0.5

    def take(self, chosen: Tensor | slice) -> tuple[Tensor, Tensor, Tensor]:
        """Contrast vectors (float32), context numbers and labels (long) of some columns."""
        return self.contrast[chosen].float(), self.context[chosen].long(), self.label[chosen].long()

    def part(self, mask: Tensor) -> "Samples":
        """The columns that a mask or a slice chooses."""
        return Samples(**{name: values[mask] for name, values in vars(self).items()})


def read_card(folder: Path) -> dict[str, Any]:
    """Card of a finished data set.

    Raises
    ------
    InputError
        If there is none, or it is of another format.
    """
    path = folder / "card.json"
    if not path.is_file():
        raise InputError(
            f"{folder} holds no finished data set (no card.json); build one with "
            f"`columnist dataset build --out {folder}`, which also goes on with an interrupted one"
        )
    card = read_json(path, "delete it and run `columnist dataset build` again with the same options")
    if card.get("format") != FORMAT:
        raise InputError(
            f"{folder} is a data set of format {card.get('format')!r}, this code needs {FORMAT}; "
            "build it anew"
        )
    return card


def load_samples(folder: Path, flag: Flag) -> dict[Part, Samples]:
    """Read a whole data set and part it by frame.

    Parameters
    ----------
    folder : Path
        Of a finished data set.
    flag : {"metal", "bright"}
        Which sublattice the flag of the contrast vectors names.

    Raises
    ------
    InputError
        If the data set is unfinished, or a shard is missing, altered or holds what is not finite.
    """
    read_card(folder)
    pieces: dict[Part, list[Samples]] = {"train": [], "calibration": [], "test": []}
    for number in range(len(reference_contexts())):
        shard, frame = _load_shard(folder, number, flag)
        turn = (frame + 3 * number) % FRAMES_A_CYCLE  # not the same frames of every context
        held = (turn == CALIBRATION_FRAME) | (turn == TEST_FRAME)
        masks: dict[Part, Tensor] = {
            "train": ~held,
            "calibration": turn == CALIBRATION_FRAME,
            "test": turn == TEST_FRAME,
        }
        for part, mask in masks.items():
            pieces[part].append(shard.part(mask))
    return {part: _join(some) for part, some in pieces.items()}


def load_all(folder: Path, flag: Flag) -> Samples:
    """Read a whole data set in one; parameters and errors as `load_samples`."""
    read_card(folder)
    return _join([_load_shard(folder, number, flag)[0] for number in range(len(reference_contexts()))])


def _load_shard(folder: Path, number: int, flag: Flag) -> tuple[Samples, Tensor]:
    """Columns of one context, and the number of the frame that each is from."""
    arrays = read_shard(folder, number)
    # A network without context cannot know what to align to.
    moments = torch.from_numpy(arrays["aligned" if flag == "metal" else "moments"])
    if not bool(moments.isfinite().all()):
        raise InputError(f"{folder}: shard {number} holds features that are not finite; build it anew")
    side = torch.from_numpy(arrays[f"is_{flag}"])[:, None]
    shard = Samples(
        torch.cat([moments, side.half(), (~side).half()], dim=1),
        torch.full((len(moments),), number, dtype=torch.int16),
        torch.from_numpy(arrays["label"]),
        torch.from_numpy(arrays["log10_dose"]),
        column_weights(arrays["label"], arrays["frame"]),
        torch.from_numpy(arrays["spread"]),
    )
    return shard, torch.from_numpy(arrays["frame"].astype(np.int64))


def column_weights(label: NDArray[np.uint8], frame: NDArray[np.integer[Any]]) -> Tensor:
    """Weights of a shard's columns that make every class of every frame count alike.

    Otherwise how rare defects are in a frame would say something about its columns, and networks would learn
    it: they would overlook vacancies in good crystals.  A class of few columns counts as one of
    `LEAST_OF_A_CLASS`.
    """
    of_frame = frame.astype(np.int64) * len(ColumnClass) + label
    count = np.maximum(np.bincount(of_frame), LEAST_OF_A_CLASS)
    return torch.from_numpy((_COLUMNS_A_CLASS / count[of_frame]).astype(np.float32))


def _join(pieces: list[Samples]) -> Samples:
    """One of many."""
    return Samples(**{name: torch.cat([vars(piece)[name] for piece in pieces]) for name in vars(pieces[0])})
