"""Tables on disk: arrays in an npz file beside a JSON card, written whole and read whole."""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from drivers.contract.errors import MissingKernelError


def write_arrays(path: Path, card: dict[str, Any], **arrays: NDArray[Any]) -> None:
    """Write arrays to `path` and the card beside it; each file appears whole or not at all.

    The card receives the arrays' digest.
    """
    card = card | {"digest": _digest(arrays)}
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    card_partial = partial.with_name(f"{path.stem}.{os.getpid()}.card")
    card_partial.write_text(json.dumps(card, indent=1) + "\n")
    partial.replace(path)
    card_partial.replace(path.with_suffix(".json"))


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    """Digest of named arrays."""
    content = hashlib.sha256()
    for name in sorted(arrays):
        content.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return content.hexdigest()[:16]


def read_arrays(path: Path, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a card and the named arrays, whole or not at all.

    Raises
    ------
    MissingKernelError
        If a file is absent, cut short or altered, lacks an array, or is not the one that the card describes.
    """
    card_path = path.with_suffix(".json")
    for needed in (path, card_path):
        if not needed.is_file():
            raise MissingKernelError(f"no file {needed}; make the tables with `columnist kernels build`")
    try:
        card = json.loads(card_path.read_text())
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            every = {name: data[name] for name in data.files}
        arrays = {name: every[name] for name in names}
    except (ValueError, KeyError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise MissingKernelError(
            f"{path} or its card is cut short or altered ({error}); "
            "make it again with `columnist kernels build`"
        ) from error
    if not isinstance(card, dict):
        raise MissingKernelError(f"{card_path} is no card; make it again with `columnist kernels build`")
    if card.get("digest") != _digest(every):
        raise MissingKernelError(
            f"{path} is not the table that its card describes: altered, or of another build; "
            "make both again with `columnist kernels build`"
        )
    return card, arrays


def require_shapes(path: Path, arrays: dict[str, NDArray[Any]], **expected: tuple[int, ...]) -> None:
    """Raise `MissingKernelError` unless arrays have the shapes that this code expects."""
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise MissingKernelError(
                f"table {path} has {name} of shape {arrays[name].shape}, this code needs {shape}; "
                "make it again with `columnist kernels build`"
            )
