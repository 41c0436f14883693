"""Weights on disk: safetensors beside a JSON card that says how they were made; checked before use."""

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from drivers.contract.errors import InputError
from models.calibration import Calibration
from models.contexts import reference_contexts
from models.networks.catalogue import NETWORKS, find_recipe

#: Raised when the features of a column change their meaning: older weights are then refused.
FEATURES_FORMAT = 4

#: Prefix of the tensors that belong to the network, among those of a file.
_NETWORK = "network."


@dataclass(frozen=True)
class Weights:
    """A trained network and what calibrates it.

    Parameters
    ----------
    network : Module
        In evaluation mode.
    calibration : Calibration
        Of its logits.
    card : dict
        How the network was trained.
    """

    network: nn.Module
    calibration: Calibration
    card: dict[str, Any]


def save_weights(
    path: Path, name: str, network: nn.Module, calibration: Calibration, card: dict[str, Any]
) -> None:
    """Write ``path`` (safetensors) and its card (the same with .json), each at once or not at all.

    Parameters
    ----------
    path : Path
        Ends in .safetensors.
    name : str
        One of `NETWORKS`.
    network : Module
    calibration : Calibration
    card : dict
        Anything that JSON can hold; what is checked on loading is added.
    """
    tensors = {_NETWORK + key: value.contiguous().cpu() for key, value in network.state_dict().items()}
    content = save(tensors | {name: value.cpu() for name, value in vars(calibration).items()})
    full = {
        "network": name,
        "features_format": FEATURES_FORMAT,
        "contexts": len(reference_contexts()),
        "sha256": hashlib.sha256(content).hexdigest(),
        **card,
    }
    write_at_once(path, content)
    write_at_once(path.with_suffix(".json"), (json.dumps(full, indent=1) + "\n").encode())


def load_weights(path: Path) -> Weights:
    """Read what `save_weights` wrote.

    Raises
    ------
    InputError
        If a file is missing, cut short or altered, or was made for other features, contexts or networks.
    """
    card_path = path.with_suffix(".json")
    missing = [file.name for file in (path, card_path) if not file.is_file()]
    if missing:
        raise InputError(
            f"expected weights {path} with their card {card_path.name} beside them, found no "
            f"{' and no '.join(missing)}; fetch both again, or train anew with `columnist train`"
        )
    content = path.read_bytes()
    try:
        card = json.loads(card_path.read_text())
        name, digest = str(card["network"]), card["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"the card {card_path} is cut short or altered ({error}); fetch it again") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(
            f"the weights {path} are not those of their card: cut short, altered or of another training; "
            "fetch both again, or train anew with `columnist train`"
        )
    for key, expected in (("features_format", FEATURES_FORMAT), ("contexts", len(reference_contexts()))):
        if card.get(key) != expected:
            raise InputError(
                f"the weights {path} were made for {key} {card.get(key)!r}, this code needs {expected}; "
                "take weights of this version, or train anew with `columnist train`"
            )
    network = find_recipe(name).make()
    try:
        tensors = load(content)
        calibration = Calibration(tensors.pop("temperature"), tensors.pop("power"))
        network.load_state_dict({key.removeprefix(_NETWORK): value for key, value in tensors.items()})
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise InputError(f"the weights {path} do not fit the network {name!r}: {error}") from error
    return Weights(network.eval(), calibration, card)


def load_shipped(name: str) -> Weights:
    """Weights that come with the package.

    Raises
    ------
    InputError
        If there is no network of that name, or none was trained and shipped.
    """
    find_recipe(name)
    folder = Path(str(files("models") / "weights"))
    shipped = [known for known in NETWORKS if (folder / f"{known}.safetensors").is_file()]
    if name not in shipped:
        raise InputError(
            f"no weights of {name!r} are shipped; there are {', '.join(shipped) or 'none'}: "
            "take one of these, or train it with `columnist train`"
        )
    return load_weights(folder / f"{name}.safetensors")


def write_at_once(path: Path, content: bytes) -> None:
    """Write a file at once or not at all."""
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    partial.replace(path)
