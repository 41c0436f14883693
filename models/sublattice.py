"""Which sublattice is the metal: a decision about a whole grain, by all evidence under the context.

Brightness alone can be a tie (CrWSe2 in MAADF).  So two kinds of evidence are added: the ratio of the two
sublattices' contrasts against the expected one, and the populations of defects (`models.grain_contrasts`).
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.contrasts import ExpectedContrast
from models.grain_contrasts import GrainContrasts
from models.lattice import Lattice

#: A margin below this, nominal odds of ten to one, is no decision.
LEAST_MARGIN_NATS = math.log(10)


@dataclass(frozen=True)
class SublatticeDecision:
    """Which sublattice is the metal, by grain; all tensors of shape (G,), on the CPU.

    Parameters
    ----------
    metal : Tensor
        0 or 1, numbered as in `Lattice.sublattice`.
    margin_nats : Tensor
        Log odds of that choice against the other, >= 0; 0 of evidence that is torn.
    brightness_nats, defect_nats : Tensor
        What the contrast ratio and the defect populations add to the log odds of sublattice 1.
    ratio : Tensor
        Measured contrast of sublattice 1 over sublattice 0; nan where it cannot be measured.
    """

    metal: Tensor
    margin_nats: Tensor
    brightness_nats: Tensor
    defect_nats: Tensor
    ratio: Tensor

    @property
    def is_decided(self) -> Tensor:
        """Whether the margin reaches `LEAST_MARGIN_NATS`, shape (G,)."""
        return self.margin_nats >= LEAST_MARGIN_NATS

    def is_metal(self, lattice: Lattice) -> Tensor:
        """Whether each site of the lattice is on the metal sublattice, shape (S,)."""
        return lattice.sublattice == self.metal[lattice.grain]


def with_more_evidence(decision: SublatticeDecision, other: SublatticeDecision) -> SublatticeDecision:
    """A decision about the grains of a lattice, with what another image of the same columns says of them."""
    total = _for_one(decision) + _for_one(other)
    return replace(decision, metal=(total > 0).long(), margin_nats=total.abs())


def _for_one(decision: SublatticeDecision) -> Tensor:
    """Log odds of sublattice 1 being the metal, shape (G,)."""
    return torch.where(decision.metal == 1, decision.margin_nats, -decision.margin_nats)


def decide_by_contrast(grains: list[GrainContrasts], expected: ExpectedContrast) -> SublatticeDecision:
    """Decide for each grain which sublattice is the metal.

    Parameters
    ----------
    grains : list of GrainContrasts
        From `models.grain_contrasts`.
    expected : ExpectedContrast
        Of the context, for instance from kernels of the host and the dopant.

    Returns
    -------
    SublatticeDecision
        A small margin says that the evidence does not decide; there is none if brightness and defects
        contradict each other by more than what is left: one of them is mistaken, and nothing tells which.
    """
    rows = [(*grain.for_one(expected), grain.ratio) for grain in grains]
    brightness, defects, ratio = torch.tensor(rows, dtype=torch.float64).T
    total = brightness + defects
    weaker = torch.minimum(brightness.abs(), defects.abs())
    is_torn = (brightness * defects < 0) & (total.abs() < weaker)
    margin = torch.where(is_torn, 0.0, total.abs())
    return SublatticeDecision((total > 0).long(), margin, brightness, defects, ratio)


def is_brighter(contrast: Tensor, lattice: Lattice) -> Tensor:
    """Whether each site is on the brighter sublattice of its grain, by median contrast (S,), shape (S,).

    That much is known without a context.
    """
    bright = []
    for grain in range(len(lattice.vectors)):
        sides = [contrast[(lattice.grain == grain) & (lattice.sublattice == side)] for side in (0, 1)]
        levels = [float(side.median()) if len(side) else -math.inf for side in sides]
        bright.append(int(levels[1] > levels[0]))
    return lattice.sublattice == torch.tensor(bright)[lattice.grain]
