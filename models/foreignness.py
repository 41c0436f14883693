"""How foreign a column is to everything in training: contamination and holes are unknown, not dopants.

Under a context, the moments of each class in training scatter about a mean.  A column's score is its
Mahalanobis distance to the nearest class of its own sublattice, over the distance that one in a hundred
columns of frames exceeds which the fit did not see: above 1 it is rarer than that, above about 2 it is like
nothing in training.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from drivers.contract.context import Context
from drivers.contract.errors import InputError
from models.contexts import context_number, reference_contexts
from models.encoding import MOMENTS
from models.fusion import ON_METAL
from models.posterior import check_contrast

#: Part of training's columns that score above 1, in every context.
TAIL = 0.01


@dataclass(frozen=True)
class Familiar:
    """What training's columns look like; C contexts.

    Parameters
    ----------
    mean : Tensor of shape (C, 5, 6)
        Mean moments of each class.
    whiten : Tensor of shape (C, 6, 6)
        Turns deviations, as rows, into such of covariance one; the classes of a context share it.
    scale : Tensor of shape (C,)
        Distance that `TAIL` of the columns exceed.
    """

    mean: Tensor
    whiten: Tensor
    scale: Tensor

    def score(self, moments: Tensor, is_metal: Tensor, number: Tensor | int) -> Tensor:
        """Scores (S,) of moments (S, 6) and sublattices (S,) under the context(s) of a number or (S,)."""
        return distance(moments, is_metal, self.mean[number], self.whiten[number]) / self.scale[number]


def distance(moments: Tensor, is_metal: Tensor, mean: Tensor, whiten: Tensor) -> Tensor:
    """Mahalanobis distance to the nearest class of the column's sublattice, shape (S,).

    Parameters
    ----------
    moments : Tensor of shape (S, 6)
    is_metal : Tensor of shape (S,)
        bool.
    mean : Tensor of shape (5, 6) or (S, 5, 6)
    whiten : Tensor of shape (6, 6) or (S, 6, 6)
    """
    exactly = "donot_use_mm_for_euclid_dist"
    if mean.ndim == 2:
        away = torch.cdist(moments @ whiten, mean @ whiten, compute_mode=exactly)  # (S, 5)
    else:
        away = torch.cdist(moments[:, None] @ whiten, mean @ whiten, compute_mode=exactly)[:, 0]  # (S, 5)
    other_side = is_metal[:, None] != torch.from_numpy(ON_METAL).to(is_metal.device)
    return away.masked_fill(other_side, torch.inf).amin(1)


def score_foreignness(familiar: Familiar, contrast: Tensor, context: Context) -> Tensor:
    """Foreignness of the columns of a frame, shape (S,), >= 0.

    Parameters
    ----------
    familiar : Familiar
        From `load_shipped_familiar`.
    contrast : Tensor of shape (S, 8)
        From `models.encoding.encode_contrast`.
    context : Context
        One of `models.contexts.reference_contexts`.

    Raises
    ------
    InputError
        If there are no columns, features are not finite, or the context is unknown.
    """
    check_contrast(contrast)
    number = context_number(context)
    return familiar.score(contrast[:, :MOMENTS], contrast[:, MOMENTS] > 0.5, number)


def save_familiar(path: Path, familiar: Familiar, card: dict[str, Any]) -> None:
    """Write ``path`` (safetensors, half precision) beside its card (.json)."""
    tensors = {"mean": familiar.mean.half(), "whiten": familiar.whiten.half(), "scale": familiar.scale.half()}
    content = save({key: value.contiguous() for key, value in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps(card | {"tail": TAIL, "sha256": digest}, indent=1) + "\n")


def load_familiar(path: Path) -> Familiar:
    """Read what `save_familiar` wrote.

    Raises
    ------
    InputError
        If it is missing, cut short, altered, or made for other contexts.
    """
    card_path = path.with_suffix(".json")
    if not path.is_file() or not card_path.is_file():
        raise InputError(
            f"expected {path} with its card beside it; make it with `columnist derive foreignness`"
        )
    content = path.read_bytes()
    try:
        digest = json.loads(card_path.read_text())["sha256"]
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("it is not the file that its card describes")
        tensors = {key: value.float() for key, value in load(content).items()}
        familiar = Familiar(tensors["mean"], tensors["whiten"], tensors["scale"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is cut short or altered ({error}); fetch it again") from error
    if len(familiar.scale) != len(reference_contexts()):
        raise InputError(
            f"{path} holds {len(familiar.scale)} contexts, this code has {len(reference_contexts())}; "
            "make it again with `columnist derive foreignness`"
        )
    return familiar


@cache
def load_shipped_familiar() -> Familiar:
    """What comes with the package."""
    return load_familiar(Path(str(files("models") / "weights" / "foreignness.safetensors")))
