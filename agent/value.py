"""What the next scan is worth: the information it is expected to bring, in nats, and what it costs.

What is known of a column is its posterior and what each source has said of it.  A further scan moves what a
source has said on along a known curve (`models.fusion`): in a Gaussian yardstick, from one squared separation
of the classes to a larger one.  The step between the two is an independent measurement, whose expected
information is an integral over one number.  Columns alike in posterior and exposure are taken together, so
that 8,000 columns and 20 candidates need some milliseconds.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from agent.assessment import Score
from agent.boxes import Box, inner, is_inside
from agent.information import chances_known, information
from agent.known import Known
from agent.scans import Source
from drivers.contract.context import ColumnClass, Context
from models.fusion import joint_separation, said
from models.fusion_law import FusionLaw

#: Columns are alike if the logarithms of their odds and doses fall into the same bins of these widths.
_ODDS_BIN, _DOSE_BIN = 0.5, 0.1
_MOST_ODDS = 12.0

#: Less entropy than this is not worth looking at.
_LEAST_NATS = 1e-5

#: A column of more than this is in doubt.
_IN_DOUBT_NATS = 0.01

_CHALCOGEN = (ColumnClass.X2, ColumnClass.VAC1, ColumnClass.VAC2)
_METAL = (ColumnClass.METAL, ColumnClass.DOPANT)


#: Sources that a scan is read by, and its dose [e/Å²].
_Exposure = tuple[tuple[Source, ...], float]


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

    @property
    def exposure(self) -> _Exposure:
        """What decides how much it tells of a column in its box."""
        return self.sources, self.dose_e_per_a2


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


def weigh(known: Known, candidates: Sequence[Candidate], *, score: Score | None = None) -> list[Worth]:
    """Weigh what each candidate is worth.

    Parameters
    ----------
    known : Known
    candidates : sequence of Candidate
    score : Score, optional
        Of promises made before.

    Returns
    -------
    list of Worth
        In the candidates' order.
    """
    gains = column_gains(known, candidates)
    correction = 1.0 if score is None else score.correction
    worths = []
    for candidate, gain in zip(candidates, gains, strict=True):
        inside = is_inside(known.register.position_angstrom, inner(candidate.box))
        entropy = known.belief.entropy_nats[inside]
        told = int(((entropy > _IN_DOUBT_NATS) & (gain[inside] > 0.1 * entropy)).sum())
        worths.append(Worth(candidate, correction * float(gain[inside].sum()), told))
    return worths


def column_gains(known: Known, candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Expected information [nats] of each candidate about each column, if it is scanned, (candidates, C)."""
    entropy = known.belief.entropy_nats
    unsure = np.flatnonzero(entropy > _LEAST_NATS)  # the others have nothing to tell
    gains = np.zeros((len(candidates), len(entropy)))
    if not len(unsure):
        return gains
    states = _sort_columns(known, unsure)
    told = {
        # Of alike columns each is told the same part of its entropy.
        key: np.minimum(_expected_information(states, step) / np.maximum(states.entropy_nats, 1e-30), 1.0)
        for key, step in _steps(known, states, candidates).items()
    }
    for number, candidate in enumerate(candidates):
        gains[number, unsure] = told[candidate.exposure][states.of_column] * entropy[unsure]
    return gains


def _steps(
    known: Known, states: _States, candidates: Sequence[Candidate]
) -> dict[_Exposure, NDArray[np.float64]]:
    """Squared separations (U, 2) that candidates add; another box changes nothing about a column."""
    law, is_metal, correlation = known.law, states.is_metal, known.belief.correlation
    contexts = {Source.of(context): context for context in known.register.contexts}
    for candidate in candidates:
        for source, context in zip(candidate.sources, candidate.contexts, strict=True):
            contexts.setdefault(source, context)
    place_of = {source: place for place, source in enumerate(contexts)}
    separation = np.array([known.insight.separation(each, law) for each in contexts.values()])  # (K, 3)
    dose, offered = (
        np.pad(part, ((0, 0), (0, len(contexts) - part.shape[1]))) for part in (states.dose, states.offered)
    )
    before = _reached(dose, separation, is_metal, correlation, law)
    steps: dict[_Exposure, NDArray[np.float64]] = {}
    for sources, next_dose in {candidate.exposure for candidate in candidates}:
        more = dose.copy()
        for place in (place_of[source] for source in sources):
            # A source that was silent on a column before may be so again (foreign, undecided, not found).
            spoken = (dose[:, place] + next_dose) / (offered[:, place] + next_dose + 1e-9)
            more[:, place] += next_dose * np.minimum(spoken, 1.0)
        reached = _reached(more, separation, is_metal, correlation, law)
        steps[sources, next_dose] = np.maximum(reached - before, 0.0)
    return steps


def _sort_columns(known: Known, chosen: NDArray[np.int64]) -> _States:
    """Put together those of the chosen columns that are alike; states are of the chosen, in their order."""
    register = known.register
    is_metal, all_dose = register.is_metal[chosen], register.dose_e_per_a2[:, chosen]
    offered = np.maximum(register.offered_e_per_a2[:, chosen], all_dose)
    chance = known.belief.probability[chosen]
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
    for rows, share, place in _sublattices(states, step):
        gain[rows] = information(share, place)
    return gain


def _sublattices(
    states: _States, step: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]]:
    """States (U,) of each sublattice; shares of its classes, and their places in the next measurement."""
    for rows, classes in ((states.is_metal, _METAL), (~states.is_metal, _CHALCOGEN)):
        share = states.probability[rows][:, list(classes)]
        share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
        place = np.zeros_like(share)
        place[:, 1:] = np.cumsum(np.sqrt(step[rows][:, : len(classes) - 1]), axis=1)
        yield rows, share, place


def spent_evenly(contexts: Sequence[Context], dose_e_per_a2: float, at_once: int) -> Candidate:
    """All that a dose can do: shared evenly among scans that read so many of the detectors at once."""
    everywhere: Box = (-np.inf, -np.inf, np.inf, np.inf)
    scans = math.ceil(len(contexts) / max(at_once, 1))
    return Candidate(tuple(contexts), dose_e_per_a2 / max(scans, 1), everywhere, 0.0)


def attainable_entropy(known: Known, spent: Candidate) -> NDArray[np.float64]:
    """Entropy (C,) expected to be left once a dose is spent (`spent_evenly`)."""
    gain = column_gains(known, [spent])[0]
    return np.asarray(np.maximum(known.belief.entropy_nats - gain, 0.0))


def attainable_chances(known: Known, spent: Candidate, most_entropy_nats: float) -> NDArray[np.float64]:
    """Chance (C,) that a column's entropy is at most this once a dose is spent (`spent_evenly`).

    That is not whether its expected entropy is: most columns end below theirs, a few far above.  One that is
    known so well already may be left alone.
    """
    chances = np.ones(len(known.register))
    unknown = np.flatnonzero(known.belief.entropy_nats > most_entropy_nats)
    if not len(unknown):
        return chances
    states = _sort_columns(known, unknown)
    step = _steps(known, states, [spent])[spent.exposure]
    of_state = np.zeros(len(step))
    for rows, share, place in _sublattices(states, step):
        of_state[rows] = chances_known(share, place, most_entropy_nats)
    chances[unknown] = of_state[states.of_column]
    return chances
