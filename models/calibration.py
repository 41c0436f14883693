"""What makes a network as sure as it should be: a temperature for each context, higher where it is noisy.

A network has learnt from frames of all doses and sees one column: in a noisy frame it is too sure of itself,
in a quiet one not sure enough.  How far whole columns scatter nearby (`models.scatter`) tells the two apart.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.contexts import reference_contexts

#: Spread at which a context's temperature holds as it is.
USUAL_SPREAD = 0.1

#: Spreads are taken as within this factor of the usual one.
_FARTHEST = 5.0


@dataclass(frozen=True)
class Calibration:
    """What a network's logits are divided by: temperature times (spread / usual spread) ** power.

    Parameters
    ----------
    temperature : Tensor of shape (576,)
        By number of the context.
    power : Tensor of shape (2,)
        On the chalcogen and on the metal sublattice; 0 for a network that is not told the spread.
    """

    temperature: Tensor
    power: Tensor

    @classmethod
    def none(cls) -> "Calibration":
        """Logits stay as they are."""
        return cls(torch.ones(len(reference_contexts())), torch.zeros(2))

    def apply(
        self, logits: Tensor, number: Tensor | int, is_metal: Tensor, spread: Tensor | None = None
    ) -> Tensor:
        """Calibrated logits.

        Parameters
        ----------
        logits : Tensor of shape (n, 5)
        number : Tensor of shape (n,) or int
            Of the context.
        is_metal : Tensor of shape (n,)
            Sublattice of each column, bool.
        spread : Tensor of shape (n,), optional
            Around each column; by default the usual one.
        """
        divisor = self.temperature[number]
        if spread is not None:
            divisor = divisor * noise_factor(self.power, is_metal, spread)
        return logits / divisor.to(logits).reshape(-1, 1)


def noise_factor(power: Tensor, is_metal: Tensor, spread: Tensor) -> Tensor:
    """Part (n,) of the divisor that the spread around columns makes."""
    ratio = (spread.float() / USUAL_SPREAD).clamp(1 / _FARTHEST, _FARTHEST)
    return ratio ** power[is_metal.long()]
