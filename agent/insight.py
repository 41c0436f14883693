"""How good a session's sources are, as its own maps show: the table of the law is only where to begin."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.scans import Scan, Source
from drivers.contract.context import Context
from models.channel import separation_seen
from models.fusion import PAIRS, said
from models.fusion_law import FusionLaw

#: Columns of a class that a frame's own separation is read from, at least, expected.
_LEAST_OF_A_CLASS = 5.0

#: A session's sources are at most this much better or worse than the law says [log].
_MOST_FACTOR = 1.5


@dataclass(frozen=True)
class Insight:
    """How much better a session's sources are than the law says, as its own maps show.

    Parameters
    ----------
    logs : dict
        By source, the logarithm of separation seen over that of the law, for each of `PAIRS`; nan: not seen.
    """

    logs: dict[Source, tuple[float, float, float]] = field(default_factory=dict)

    def separation(self, context: Context, law: FusionLaw) -> NDArray[np.float64]:
        """Squared separations (3,) of a source at an endless dose; one not seen follows those that were."""
        expected = np.array(law.separation(context))
        own = self.logs.get(Source.of(context), (np.nan,) * 3)
        seen = np.array(list(self.logs.values())).reshape(-1, len(PAIRS))
        known = np.isfinite(seen)
        mean = np.where(known, seen, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return np.asarray(expected * np.exp(np.where(np.isfinite(own), own, law.transfer * mean)))


def learn_insight(insight: Insight, scan: Scan, probability: NDArray[np.floating], law: FusionLaw) -> Insight:
    """Read from a scan how good its sources are.

    Parameters
    ----------
    insight : Insight
        So far.
    scan : Scan
    probability : ndarray of shape (S, 5)
        Posteriors of the scan's columns, by all that is known after it.
    law : FusionLaw

    Returns
    -------
    Insight
        Each source's logarithms averaged with those before, half and half.
    """
    logs = dict(insight.logs)
    for layer in scan.layers:
        expected = law.separation(layer.context)
        before = logs.get(layer.source, (np.nan,) * len(PAIRS))
        seen = []
        for pair, (first, second) in enumerate(PAIRS):
            chosen = layer.is_usable & (scan.is_metal == (pair == 2))
            weights = probability[chosen][:, [first, second]]
            if len(weights) == 0 or weights.sum(axis=0).min() < _LEAST_OF_A_CLASS:
                seen.append(before[pair])
                continue
            ratio = layer.log_likelihood[chosen, second] - layer.log_likelihood[chosen, first]
            reached = separation_seen(ratio, ratio, weights=(weights[:, 0], weights[:, 1]))
            value = np.log(reached / float(said(layer.dose_e_per_a2, law)) / expected[pair])
            value = float(np.clip(value, -_MOST_FACTOR, _MOST_FACTOR))
            seen.append(value if not np.isfinite(before[pair]) else (value + before[pair]) / 2)
        logs[layer.source] = (seen[0], seen[1], seen[2])
    return Insight(logs)
