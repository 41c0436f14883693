"""The six networks by name, with the paper's batches and epochs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from drivers.contract.errors import InputError
from models.networks.attention import AttentionNetwork
from models.networks.mlp import DeepMlp, SimpleMlp

Flag = Literal["metal", "bright"]


@dataclass(frozen=True)
class Recipe:
    """How a network is made and trained (Dan et al., arXiv 2606.09419).

    Parameters
    ----------
    make : callable
        The untrained network.
    batch, epochs : int
        Defaults of training.
    flag : {"metal", "bright"}
        Which sublattice the flag of the contrast vector names: the metal's, as decided under the context; or,
        for a network without context, the brighter one, since nothing more is known then.
    """

    make: Callable[[], nn.Module]
    batch: int
    epochs: int
    flag: Flag = "metal"


NETWORKS: dict[str, Recipe] = {
    "mlp-nocontext": Recipe(lambda: SimpleMlp(with_context=False), 4096, 20, "bright"),
    "mlp-simple": Recipe(lambda: SimpleMlp(with_context=True), 4096, 20),
    "mlp-deep": Recipe(DeepMlp, 4096, 20),
    "attn-4k": Recipe(AttentionNetwork, 4_096, 10),
    "attn-200k": Recipe(AttentionNetwork, 204_800, 10),
    "attn-400k": Recipe(AttentionNetwork, 409_600, 10),
}


#: Networks that are trained to find out how far the features reach, and not shipped: twenty times larger.
REFERENCES: dict[str, Recipe] = {
    "reference-features": Recipe(lambda: SimpleMlp(with_context=True, widths=(256, 256, 128)), 4096, 20),
}


def find_recipe(name: str) -> Recipe:
    """Look a network up by name, one of the six or a reference.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    known = NETWORKS | REFERENCES
    if name not in known:
        raise InputError(f"no network {name!r}; there are {', '.join(known)}")
    return known[name]
