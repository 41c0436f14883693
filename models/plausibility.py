"""Whether a frame's contrasts fit the declared context, or speak for another detector or host.

Detectors are compared by the evidence of `models.grain_contrasts`: the ratio of the sublattices' contrasts,
and the populations and depths of defects, summed over both possible sides of the metal.  Hosts are told by
the ratio alone: how far it lies, either way round, from the expected one.  The limits follow from simulated
frames of all contexts (decision 0022).
"""

import math
from dataclasses import dataclass
from functools import cache

from drivers.contract.context import DETECTORS, Context, Specimen
from drivers.contract.errors import InputError
from drivers.contract.materials import HOSTS
from models.contrasts import expected_contrast
from models.grain_contrasts import GrainContrasts

#: Log evidence of another detector over the declared one above which the context is contradicted [nats].
CONTRADICTED_NATS = math.log(10)

#: Logarithm of the measured contrast ratio over the expected one, either way round, above which the host is
#: doubtful, and above which it is impossible.
_DOUBTFUL, _IMPOSSIBLE = 0.35, 0.6


@dataclass(frozen=True)
class ContextEvidence:
    """What the contrasts of a frame say of the context it is read under.

    Parameters
    ----------
    context : Context
    log_odds : dict
        Log evidence of each reference detector over that of the declared one [nats].
    ratio : float
        Contrast of the brighter sublattice over the dimmer one in the largest grain; nan if not measurable.
    misfit : dict
        By host: size of the logarithm of measured over expected ratio, the better way round.
    exchanged : tuple of str
        Detectors under which the sublattices would have each other's place.
    """

    context: Context
    log_odds: dict[str, float]
    ratio: float
    misfit: dict[str, float]
    exchanged: tuple[str, ...] = ()

    @property
    def contradiction(self) -> str | None:
        """What to tell if another detector fits much better."""
        name = max(self.log_odds, key=lambda key: self.log_odds[key])
        if self.log_odds[name] <= CONTRADICTED_NATS:
            return None
        return (
            f"{self.context.detector.name} is declared, but the contrasts of the columns fit {name} better, "
            f"by {self.log_odds[name]:.1f} nats; check which detector this is"
        )

    @property
    def hinge(self) -> str | None:
        """What to tell if the frame fits another detector about as well, with the sublattices exchanged."""
        names = [name for name in self.exchanged if self.log_odds[name] > -CONTRADICTED_NATS]
        if self.contradiction is not None or not names:
            return None
        return (
            f"the frame fits {' and '.join(names)} about as well as {self.context.detector.name}, which is "
            "declared, and then each column would be of the other sublattice: what is there does not tell "
            "them apart, so make sure which detector this is"
        )

    @property
    def host_doubt(self) -> str | None:
        """What to tell if the ratio of the sublattices hardly fits the host."""
        return self._misfit_text() if self.misfit[self.context.specimen.host] > _DOUBTFUL else None

    def check_host(self) -> None:
        """Raise `InputError` if the host cannot be this lattice."""
        if self.misfit[self.context.specimen.host] > _IMPOSSIBLE:
            raise InputError(self._misfit_text())

    def _misfit_text(self) -> str:
        own = self.context.specimen.host
        expected = expected_contrast(self.context).metal
        fitting = [host for host, value in self.misfit.items() if value < _DOUBTFUL / 2 and host != own]
        return (
            f"{own} hardly fits: one sublattice is {self.ratio:.2f} times as bright as the other; "
            f"expected at {self.context.energy_kev:g} keV in {self.context.detector.name} is "
            f"{max(expected, 1 / expected):.2f}; check host, energy and detector"
            + (f" (this ratio fits {', '.join(fitting)})" if fitting else "")
        )


def weigh_contexts(
    grains: list[GrainContrasts], context: Context, *, is_doped: bool = True
) -> ContextEvidence:
    """Weigh the declared context against other detectors and hosts.

    Parameters
    ----------
    grains : list of GrainContrasts
        Of a frame, the largest first.
    context : Context
        One of `models.contexts.reference_contexts`.
    is_doped : bool
        Whether there may be dopants.
    """
    specimen = context.specimen if is_doped else Specimen(host=context.specimen.host)
    expected = {name: expected_contrast(_changed(context, specimen, name)) for name in DETECTORS}
    evidence = {name: sum(grain.for_context(one) for grain in grains) for name, one in expected.items()}
    declared, ratio = context.detector.name, grains[0].ratio
    ratio = max(ratio, 1 / ratio) if ratio > 0 else math.nan
    second = {name: sum(grains[0].for_one(one)) > 0 for name, one in expected.items()}
    return ContextEvidence(
        context,
        {name: value - evidence[declared] for name, value in evidence.items()},
        ratio,
        {host: _misfit(ratio, _changed(context, Specimen(host=host), declared)) for host in HOSTS},
        tuple(name for name, side in second.items() if side != second[declared]),
    )


@cache
def _changed(context: Context, specimen: Specimen, detector: str) -> Context:
    """The context with another specimen and detector."""
    return Context(
        specimen=specimen,
        energy_kev=context.energy_kev,
        detector=DETECTORS[detector],
        convergence_mrad=context.convergence_mrad,
    )


def _misfit(ratio: float, context: Context) -> float:
    """Size of the logarithm of a ratio over the expected one, the better way round; 0 if not measurable."""
    if not math.isfinite(ratio):
        return 0.0
    expected = abs(math.log(expected_contrast(context).metal))
    return abs(math.log(ratio) - expected)
