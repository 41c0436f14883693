"""What the next scan is worth: the information it is expected to bring, in nats, and what it costs.

What is known of a column is its posterior and what each source has said of it.  A further scan moves what a
source has said on along a known curve (`models.fusion`): in a Gaussian yardstick, from one squared separation
of the classes to a larger one.  The step between the two is an independent measurement, whose expected
information is an integral over one number.  Columns alike in posterior and exposure are taken together, so
that 8,000 columns and 20 candidates need some milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.special import xlogy

from agent.assessment import Score
from agent.belief import Belief
from agent.boxes import Box, inner, is_inside
from agent.insight import Insight
from agent.register import Register
from agent.scans import Source
from drivers.contract.context import ColumnClass, Context
from models.fusion import FusionLaw, joint_separation, said

_NODES, _WEIGHTS = hermegauss(20)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()

#: Columns are alike if the logarithms of their odds and doses fall into the same bins of these widths.
_ODDS_BIN, _DOSE_BIN = 0.5, 0.1
_MOST_ODDS = 12.0

#: Less entropy than this is not worth looking at.
_LEAST_NATS = 1e-5

#: A column of more than this is in doubt.
_IN_DOUBT_NATS = 0.01

_CHALCOGEN = (ColumnClass.X2, ColumnClass.VAC1, ColumnClass.VAC2)
_METAL = (ColumnClass.METAL, ColumnClass.DOPANT)


@dataclass(frozen=True)
class Candidate:
    """A scan that the instrument could do next.

    Parameters
    ----------
    contexts : tuple of Context
        One of each detector that is read at once.
    dose_e_per_a2 : float
    box : Box
        What is scanned.
    scan_s, settling_s : float
        Time of the scan, and until it can begin.
    """

    contexts: tuple[Context, ...]
    dose_e_per_a2: float
    box: Box
    scan_s: float
    settling_s: float = 0.0

    @property
    def electrons(self) -> float:
        """What it puts onto the specimen."""
        low_row, low_column, high_row, high_column = self.box
        return self.dose_e_per_a2 * (high_row - low_row) * (high_column - low_column)

    @property
    def seconds(self) -> float:
        """What it takes altogether."""
        return self.scan_s + self.settling_s

    @property
    def sources(self) -> tuple[Source, ...]:
        """Detectors and energies."""
        return tuple(Source.of(context) for context in self.contexts)


@dataclass(frozen=True)
class Worth:
    """What a candidate is expected to bring.

    Parameters
    ----------
    candidate : Candidate
    gain_nats : float
        Sum over the columns in its box but for the rim, corrected by the score.
    columns : int
        Columns in doubt in its box of which it is expected to tell a tenth of their entropy or more.
    """

    candidate: Candidate
    gain_nats: float
    columns: int


@dataclass(frozen=True)
class _States:
    """Columns that are alike, U states; by state unless said otherwise.

    Parameters
    ----------
    of_column : ndarray of shape (C,)
        State of each of the columns that were sorted.
    probability : ndarray of shape (U, 5)
        Mean.
    dose, offered : ndarray of shape (U, K)
        Mean, of each source: of what it spoke, and of all that went over the column.
    is_metal : ndarray of shape (U,)
    """

    of_column: NDArray[np.int64]
    probability: NDArray[np.float64]
    dose: NDArray[np.float64]
    offered: NDArray[np.float64]
    is_metal: NDArray[np.bool_]

    @property
    def entropy_nats(self) -> NDArray[np.float64]:
        """Of each state's mean."""
        return np.asarray(-xlogy(self.probability, self.probability).sum(axis=1))


def weigh(
    register: Register,
    belief: Belief,
    candidates: Sequence[Candidate],
    law: FusionLaw,
    *,
    insight: Insight | None = None,
    score: Score | None = None,
) -> list[Worth]:
    """Weigh what each candidate is worth.

    Parameters
    ----------
    register, belief
        What is known.
    candidates : sequence of Candidate
    law : FusionLaw
    insight : Insight, optional
        How good this session's sources are.
    score : Score, optional
        Of promises made before.

    Returns
    -------
    list of Worth
        In the candidates' order.
    """
    gains = column_gains(register, belief, candidates, law, insight=insight)
    correction = 1.0 if score is None else score.correction
    worths = []
    for candidate, gain in zip(candidates, gains, strict=True):
        inside = is_inside(register.position_angstrom, inner(candidate.box))
        entropy = belief.entropy_nats[inside]
        told = int(((entropy > _IN_DOUBT_NATS) & (gain[inside] > 0.1 * entropy)).sum())
        worths.append(Worth(candidate, correction * float(gain[inside].sum()), told))
    return worths


def column_gains(
    register: Register,
    belief: Belief,
    candidates: Sequence[Candidate],
    law: FusionLaw,
    *,
    insight: Insight | None = None,
) -> NDArray[np.float64]:
    """Expected information [nats] of each candidate about each column, if it is scanned, (candidates, C)."""
    if not len(register) or not candidates:
        return np.zeros((len(candidates), len(register)))
    insight = insight or Insight()
    contexts = list(register.contexts)
    known = [Source.of(context) for context in contexts]
    for candidate in candidates:
        for context, source in zip(candidate.contexts, candidate.sources, strict=True):
            if source not in known:
                contexts.append(context)
                known.append(source)
    unsure = np.flatnonzero(belief.entropy_nats > _LEAST_NATS)  # the others have nothing to tell
    gains = np.zeros((len(candidates), len(register)))
    if not len(unsure):
        return gains
    states = _sort_columns(register, belief, unsure)
    separation = np.array([insight.separation(context, law) for context in contexts])  # (K, 3)
    dose, offered = (
        np.pad(part, ((0, 0), (0, len(contexts) - part.shape[1]))) for part in (states.dose, states.offered)
    )
    before = _reached(dose, separation, states.is_metal, belief.correlation, law)
    alike: dict[tuple[tuple[Source, ...], float], NDArray[np.float64]] = {}
    for number, candidate in enumerate(candidates):
        key = (candidate.sources, candidate.dose_e_per_a2)
        if key not in alike:  # another box changes nothing about a column
            more, next_dose = dose.copy(), candidate.dose_e_per_a2
            for place in (known.index(source) for source in candidate.sources):
                # A source that was silent on a column before may be so again (foreign, undecided, not found).
                spoken = (dose[:, place] + next_dose) / (offered[:, place] + next_dose + 1e-9)
                more[:, place] += next_dose * np.minimum(spoken, 1.0)
            reached = _reached(more, separation, states.is_metal, belief.correlation, law)
            step = np.maximum(reached - before, 0.0)
            # Of alike columns each is told the same part of its entropy.
            part = _expected_information(states, step) / np.maximum(states.entropy_nats, 1e-30)
            alike[key] = np.minimum(part, 1.0)[states.of_column] * belief.entropy_nats[unsure]
        gains[number, unsure] = alike[key]
    return gains


def _sort_columns(register: Register, belief: Belief, chosen: NDArray[np.int64]) -> _States:
    """Put together those of the chosen columns that are alike; states are of the chosen, in their order."""
    is_metal, all_dose = register.is_metal[chosen], register.dose_e_per_a2[:, chosen]
    offered = np.maximum(register.offered_e_per_a2[:, chosen], all_dose)
    chance = belief.probability[chosen]
    logs = np.log(np.maximum(chance, 1e-12))
    first = np.where(
        is_metal,
        logs[:, ColumnClass.DOPANT] - logs[:, ColumnClass.METAL],
        logs[:, ColumnClass.VAC1] - logs[:, ColumnClass.X2],
    )
    second = np.where(is_metal, 0.0, logs[:, ColumnClass.VAC2] - logs[:, ColumnClass.VAC1])
    key = is_metal.astype(np.int64)
    for odds in (first, second):
        bin_ = np.rint(np.clip(odds, -_MOST_ODDS, _MOST_ODDS) / _ODDS_BIN).astype(np.int64)
        key = key * 64 + bin_ + 32
    for row in (*all_dose, *np.where(offered > 1.01 * all_dose, offered, 0.0)):
        exposure = np.rint(np.log10(np.maximum(row, 1.0)) / _DOSE_BIN).astype(np.int64)
        _, key = np.unique(key * 128 + exposure, return_inverse=True)
    used, of_column = np.unique(key, return_inverse=True)
    count = np.bincount(of_column, minlength=len(used))

    def mean(values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.bincount(of_column, values, len(used)) / count

    def means(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([mean(row) for row in rows]).reshape(len(rows), len(used)).T

    return _States(
        of_column,
        np.stack([mean(column) for column in chance.T], axis=1),
        means(all_dose),
        means(offered),
        mean(is_metal.astype(np.float64)) > 0.5,
    )


def _reached(
    dose: NDArray[np.float64],
    separation: NDArray[np.float64],
    is_metal: NDArray[np.bool_],
    correlation: float,
    law: FusionLaw,
) -> NDArray[np.float64]:
    """Squared separations (U, 2) that sources reach together.

    Of METAL and DOPANT, twice, or of the two pairs of a chalcogen column.
    """
    part = said(dose, law)
    reached = np.zeros((len(dose), 2))
    for rows, pairs in ((is_metal, (2, 2)), (~is_metal, (0, 1))):
        for place, pair in enumerate(pairs):
            reached[rows, place] = joint_separation(part[rows] * separation[:, pair], correlation)
    return reached


def _expected_information(states: _States, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected information [nats] of a measurement that adds squared separations (U, 2), shape (U,)."""
    gain = np.zeros(len(step))
    for rows, classes in ((states.is_metal, _METAL), (~states.is_metal, _CHALCOGEN)):
        share = states.probability[rows][:, list(classes)]
        share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
        place = np.zeros_like(share)
        place[:, 1:] = np.cumsum(np.sqrt(step[rows][:, : len(classes) - 1]), axis=1)
        gain[rows] = _information(share, place)
    return gain


def _information(share: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mutual information of classes of shares (U, L) and a number of unit scatter about their places (U, L).

    That is the mean, over the classes and the number, of how much more likely it makes the true class.
    """
    gain = np.zeros(len(share))
    logs = np.log(np.maximum(share, 1e-30))
    busy = np.flatnonzero((share.max(axis=1) < 1 - _LEAST_NATS / 10) & (place[:, -1] > 0))
    share, place, logs = share[busy], place[busy], logs[busy]
    total = np.zeros(len(busy))
    for truth in range(share.shape[1]):
        apart = place[:, truth, None] - place  # (U, L)
        ratio = -apart[:, :, None] * _NODES - (apart**2 / 2)[:, :, None]  # log likelihoods over the truth's
        largest = (logs[:, :, None] + ratio).max(axis=1)
        evidence = largest + np.log(np.exp(logs[:, :, None] + ratio - largest[:, None]).sum(axis=1))
        total -= share[:, truth] * (evidence * _WEIGHTS).sum(axis=1)
    gain[busy] = np.maximum(total, 0.0)
    return gain


def attainable_entropy(
    register: Register,
    belief: Belief,
    contexts: Sequence[Context],
    dose_left_e_per_a2: float,
    law: FusionLaw,
    *,
    insight: Insight | None = None,
) -> NDArray[np.float64]:
    """Entropy (C,) expected to be left once a dose is spent, shared evenly among sources read in turn."""
    everywhere: Box = (-np.inf, -np.inf, np.inf, np.inf)
    each = dose_left_e_per_a2 / max(len(contexts), 1)
    best = Candidate(tuple(contexts), each, everywhere, 0.0)
    gain = column_gains(register, belief, [best], law, insight=insight)[0]
    return np.asarray(np.maximum(belief.entropy_nats - gain, 0.0))
