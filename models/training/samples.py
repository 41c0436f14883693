"""A data set in memory: what training, calibration and test each see."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from drivers.contract.errors import InputError
from models.contexts import reference_contexts
from models.networks.catalogue import Flag
from models.training.dataset import CALIBRATION_FRAME, FORMAT, FRAMES_A_CYCLE, TEST_FRAME, read_shard

Part = Literal["train", "calibration", "test"]


@dataclass(frozen=True)
class Samples:
    """Columns of one part of a data set; n columns.

    Parameters
    ----------
    contrast : Tensor of shape (n, 8)
        Contrast vectors, float32.
    context : Tensor of shape (n,)
        Number of the context.
    label : Tensor of shape (n,)
        `ColumnClass`.
    log10_dose : Tensor of shape (n,)
        Of the column's frame.
    """

    contrast: Tensor
    context: Tensor
    label: Tensor
    log10_dose: Tensor

    def __len__(self) -> int:
        return len(self.label)


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
    card: dict[str, Any] = json.loads(path.read_text())
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
        arrays = read_shard(folder, number)
        moments = torch.from_numpy(arrays["moments"].astype(np.float32))
        if not bool(moments.isfinite().all()):
            raise InputError(f"{folder}: shard {number} holds features that are not finite; build it anew")
        side = torch.from_numpy(arrays[f"is_{flag}"]).float()[:, None]
        contrast = torch.cat([moments, side, 1 - side], dim=1)
        label = torch.from_numpy(arrays["label"].astype(np.int64))
        dose = torch.from_numpy(arrays["log10_dose"].astype(np.float32))
        turn = torch.from_numpy(arrays["frame"].astype(np.int64)) % FRAMES_A_CYCLE
        held = (turn == CALIBRATION_FRAME) | (turn == TEST_FRAME)
        masks: dict[Part, Tensor] = {
            "train": ~held,
            "calibration": turn == CALIBRATION_FRAME,
            "test": turn == TEST_FRAME,
        }
        for part, mask in masks.items():
            context = torch.full((int(mask.sum()),), number)
            pieces[part].append(Samples(contrast[mask], context, label[mask], dose[mask]))
    return {part: _join(some) for part, some in pieces.items()}


def _join(pieces: list[Samples]) -> Samples:
    """One of many."""
    return Samples(
        torch.cat([piece.contrast for piece in pieces]),
        torch.cat([piece.context for piece in pieces]),
        torch.cat([piece.label for piece in pieces]),
        torch.cat([piece.log10_dose for piece in pieces]),
    )
