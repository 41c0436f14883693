"""Columns that change under the beam: noticed, not averaged away.

Damage goes one way: X2 to VAC1 to VAC2.  For each such step the looks since a column was last surely
unchanged are compared, together, with those before; when the odds fall to even, they join those before (as in
a cumulative sum test, Page, 1954, 10.2307/2333009).  Where the same source saw the column before, its errors
are in both looks and cancel: only noise tells the looks apart.  Where only other sources did, their errors do
not cancel, and the odds count for less.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import ColumnClass
from models.fusion_law import FusionLaw

#: One-way steps: from, to, and which of `models.fusion.PAIRS` lie between.
STEPS: tuple[tuple[ColumnClass, ColumnClass, tuple[int, ...]], ...] = (
    (ColumnClass.X2, ColumnClass.VAC1, (0,)),
    (ColumnClass.X2, ColumnClass.VAC2, (0, 1)),
    (ColumnClass.VAC1, ColumnClass.VAC2, (1,)),
)

#: A change is claimed when it is ten times as likely as not, if it befalls one column in a thousand.
ALARM_NATS = math.log(1000.0) + math.log(10.0)

#: One source says no more than this for a change: its noise is not Gaussian.
_MOST_OF_A_SOURCE_NATS = 12.0

#: However bright a look, a network's log odds jump by no more than this: it stops at being sure.
_MOST_JUMP_NATS = 40.0

#: Odds from sources that had not seen the column before count this much.
_OTHER_SOURCE = 0.4


@dataclass(frozen=True)
class Watch:
    """What was seen since a column was last surely unchanged; K sources, C columns.

    Parameters
    ----------
    odds : ndarray of shape (C, 3)
        Log odds that each of `STEPS` happened since, >= 0; 0 says that there is no suspicion.
    sums, dose : ndarray of shape (K, C, 5), (K, C)
        As in the register, of the looks since.
    """

    odds: NDArray[np.float64]
    sums: NDArray[np.float32]
    dose: NDArray[np.float64]

    def joined(self, other: "Watch") -> "Watch":
        """Watch over the columns of both."""
        return Watch(
            np.concatenate([self.odds, other.odds]),
            np.concatenate([self.sums, other.sums], axis=1),
            np.concatenate([self.dose, other.dose], axis=1),
        )

    def with_source(self) -> "Watch":
        """Watch with room for one more source."""
        count = len(self.odds)
        return replace(
            self,
            sums=np.concatenate([self.sums, np.zeros((1, count, 5), np.float32)]),
            dose=np.concatenate([self.dose, np.zeros((1, count))]),
        )

    def cleared(self, columns: NDArray[np.int64]) -> "Watch":
        """Watch that starts anew for some columns."""
        odds, sums, dose = self.odds.copy(), self.sums.copy(), self.dose.copy()
        odds[columns], sums[:, columns], dose[:, columns] = 0.0, 0.0, 0.0
        return Watch(odds, sums, dose)


def empty_watch(sources: int, columns: int) -> Watch:
    """Watch over columns that nothing is suspected of."""
    return Watch(
        np.zeros((columns, len(STEPS))),
        np.zeros((sources, columns, 5), np.float32),
        np.zeros((sources, columns)),
    )


def watch_for_changes(
    watch: Watch,
    sums: NDArray[np.float32],
    dose: NDArray[np.float64],
    new_sums: NDArray[np.float32],
    new_dose: NDArray[np.float64],
    probability: NDArray[np.float64],
    separations: Sequence[tuple[float, float, float]],
    law: FusionLaw,
) -> tuple[Watch, NDArray[np.int64]]:
    """Weigh whether columns changed before a scan.

    Parameters
    ----------
    watch : Watch
        Before the scan.
    sums, dose : ndarray
        The register's, before the scan.
    new_sums, new_dose : ndarray
        The scan's, of the same shapes; a dose of 0 where it says nothing.
    probability : ndarray of shape (C, 5)
        Posteriors before the scan, from what is not under suspicion.
    separations : sequence of tuple
        Of each source (`FusionLaw.separation`).
    law : FusionLaw

    Returns
    -------
    watch : Watch
        After the scan, holding what was seen since the last even odds.
    changed : ndarray of shape (m,)
        Columns whose odds reach `ALARM_NATS`.
    """
    before_sums, before_dose = sums - watch.sums, dose - watch.dose
    since_sums, since_dose = watch.sums + new_sums, watch.dose + new_dose
    looked = np.max(new_dose, axis=0, initial=0.0) > 0
    sources = np.maximum((since_dose > 0).sum(axis=0), 1)
    odds = np.zeros_like(watch.odds)
    for step, (old, new, pairs) in enumerate(STEPS):
        for source, separation in enumerate(separations):
            odds[:, step] += _odds(
                (before_sums[source], before_dose[source]),
                (since_sums[source], since_dose[source]),
                probability[:, old],
                (old, new),
                sum(math.sqrt(separation[pair]) for pair in pairs) ** 2,
                law,
            )
    odds = np.maximum(odds / (1 + (sources - 1) * law.correlation)[:, None], 0.0)
    odds = np.where(looked[:, None], odds, watch.odds)
    suspected = np.max(odds, axis=1, initial=0.0)[None] > 0
    recent = Watch(
        odds,
        (since_sums * suspected[:, :, None]).astype(np.float32),
        since_dose * suspected,
    )
    return recent, np.flatnonzero(looked & (odds.max(axis=1, initial=0.0) >= ALARM_NATS))


def _odds(
    before: tuple[NDArray[np.float32], NDArray[np.float64]],
    since: tuple[NDArray[np.float32], NDArray[np.float64]],
    was_old: NDArray[np.float64],
    classes: tuple[ColumnClass, ColumnClass],
    separation: float,
    law: FusionLaw,
) -> NDArray[np.float64]:
    """Log odds that one source gives to a step having happened between its looks before and since, (C,).

    In units in which the error of the source has variance 1, looks of a dose d together are off by that error
    and by noise of variance half dose / d, and the classes lie `sqrt(separation)` apart.
    """
    (old, new), half = classes, law.half_dose_e_per_a2
    (before_sums, before_dose), (since_sums, since_dose) = before, since
    with np.errstate(divide="ignore", invalid="ignore"):
        jump = np.minimum(separation, _MOST_JUMP_NATS * (1 + half / since_dose))
        now = (since_sums[:, new] - since_sums[:, old]) / since_dose
        past = (before_sums[:, new] - before_sums[:, old]) / before_dose
        same = jump * (now - past - jump / 2) / (separation * (half / since_dose + half / before_dose))
        ratio = (since_sums[:, new] - since_sums[:, old]) / (since_dose + half)
    same = np.minimum(same, _MOST_OF_A_SOURCE_NATS)
    # Not seen by this source before: what it says, against what the others said.
    was, was_not = np.log(np.maximum(was_old, 1e-9)), np.log(np.maximum(1 - was_old, 1e-9))
    other = _OTHER_SOURCE * (np.logaddexp(was_not, was + ratio) - np.logaddexp(was, was_not + ratio))
    # Only a column that was of the old class can leave it, and only to what is seen now.
    odds = np.where(before_dose > 0, np.where(ratio > 0, same, np.minimum(same, 0.0)), other)
    possible = (since_dose > 0) & (was_old > 0.5)
    return np.where(possible, np.nan_to_num(odds, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
