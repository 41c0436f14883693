"""Whether a frame's contrasts speak for another detector than the declared one.

The evidence is that of `models.sublattice`: the ratio of the sublattices' contrasts, and the populations and
depths of defects, summed over both possible sublattices of the metal.
"""

from dataclasses import dataclass

from torch import Tensor

from drivers.contract.context import DETECTORS, Context
from models.contrasts import expected_contrast
from models.lattice import Lattice
from models.sublattice import log_evidence


@dataclass(frozen=True)
class DetectorOdds:
    """Log evidence of each reference detector over that of the declared one, by name [nats]."""

    declared: str
    log_odds: dict[str, float]

    @property
    def best(self) -> tuple[str, float]:
        """The detector that fits best, and its log evidence over the declared one's."""
        name = max(self.log_odds, key=lambda key: self.log_odds[key])
        return name, self.log_odds[name]


def weigh_detectors(contrast: Tensor, lattice: Lattice, context: Context) -> DetectorOdds:
    """Compare the declared detector with the other reference detectors at the same energy.

    Parameters
    ----------
    contrast : Tensor of shape (S,)
        From `models.sublattice.measure_contrast`.
    lattice : Lattice
    context : Context
        As declared.
    """
    contrast = contrast.cpu().double()
    grain, sublattice = lattice.grain.cpu(), lattice.sublattice.cpu()
    inner = ~lattice.boundary.cpu()
    evidence = dict.fromkeys(DETECTORS, 0.0)
    for number in range(len(lattice.vectors)):
        of_grain = (grain == number) & inner
        pair = [contrast[of_grain & (sublattice == side)] for side in (0, 1)]
        for name, detector in DETECTORS.items():
            other = Context(
                specimen=context.specimen,
                energy_kev=context.energy_kev,
                detector=detector,
                convergence_mrad=context.convergence_mrad,
            )
            evidence[name] += log_evidence(pair, expected_contrast(other))
    declared = context.detector.name
    return DetectorOdds(declared, {name: value - evidence[declared] for name, value in evidence.items()})
