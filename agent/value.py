"""What the next scan is worth: the information it is expected to bring, in nats, and what it costs.

What is known of a column is its posterior and what each source has said of it.  A further scan moves what a
source has said on along a known curve (`models.fusion`): in a Gaussian yardstick, from one squared separation
of the classes to a larger one.  The step between the two is an independent measurement, whose expected
information is an integral over one number.  Columns alike in posterior and exposure are taken together, so
that 8,000 columns and 20 candidates need some milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.special import xlogy

from agent.assessment import Score
from agent.belief import Belief
from agent.register import Register
from agent.scans import Scan, Source
from drivers.contract.context import ColumnClass, Context
from models.channel import separation_seen
from models.fusion import PAIRS, FusionLaw, joint_separation, said

_NODES, _WEIGHTS = hermegauss(20)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()

#: Columns are alike if the logarithms of their odds and doses fall into the same bins of these widths.
_ODDS_BIN, _DOSE_BIN = 0.5, 0.1
_MOST_ODDS = 12.0

#: Less entropy than this is not worth looking at.
_LEAST_NATS = 1e-5

#: Columns this near to the edge of a scan [Å] are seen in part: nothing is promised of them.
RIM_ANGSTROM = 3.0

#: A column of more than this is in doubt.
_IN_DOUBT_NATS = 0.01

#: Columns of a class that a frame's own separation is read from, at least, expected.
_LEAST_OF_A_CLASS = 5.0

#: A session's sources are at most this much better or worse than the law says [log].
_MOST_FACTOR = 1.5

_CHALCOGEN = (ColumnClass.X2, ColumnClass.VAC1, ColumnClass.VAC2)
_METAL = (ColumnClass.METAL, ColumnClass.DOPANT)

#: (lowest row, lowest column, highest row, highest column) in the stage's frame [Å].
Box = tuple[float, float, float, float]


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
        return tuple(Source(c.detector.name, c.energy_kev) for c in self.contexts)


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
        own = self.logs.get(Source(context.detector.name, context.energy_kev), (np.nan,) * 3)
        seen = np.array(list(self.logs.values())).reshape(-1, len(PAIRS))
        known = np.isfinite(seen)
        mean = np.where(known, seen, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return np.asarray(expected * np.exp(np.where(np.isfinite(own), own, law.transfer * mean)))


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

    @property
    def nats_per_electron(self) -> float:
        """Gain over dose."""
        return self.gain_nats / self.candidate.electrons


@dataclass(frozen=True)
class _States:
    """Columns that are alike, U states; by state unless said otherwise.

    Parameters
    ----------
    of_column : ndarray of shape (C,)
        State of each of the columns that were sorted.
    probability : ndarray of shape (U, 5)
        Mean.
    dose : ndarray of shape (U, K)
        Mean, of each source.
    is_metal : ndarray of shape (U,)
    """

    of_column: NDArray[np.int64]
    probability: NDArray[np.float64]
    dose: NDArray[np.float64]
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
        What is known (`agent.evidence`).
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


def is_inside(position: NDArray[np.floating], box: Box) -> NDArray[np.bool_]:
    """Whether positions (C, 2) lie in a box."""
    return np.asarray(((position >= box[:2]) & (position < box[2:])).all(axis=1))


def inner(box: Box) -> Box:
    """The part of a scan in which columns are seen with their neighbours."""
    low_row, low_column, high_row, high_column = box
    rim = RIM_ANGSTROM
    return (low_row + rim, low_column + rim, high_row - rim, high_column - rim)


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
    known = [Source(c.detector.name, c.energy_kev) for c in contexts]
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
    dose = np.zeros((len(states.dose), len(contexts)))
    dose[:, : states.dose.shape[1]] = states.dose
    before = _reached(dose, separation, states.is_metal, law)
    alike: dict[tuple[tuple[Source, ...], float], NDArray[np.float64]] = {}
    for number, candidate in enumerate(candidates):
        key = (candidate.sources, candidate.dose_e_per_a2)
        if key not in alike:  # another box changes nothing about a column
            more = dose.copy()
            more[:, [known.index(source) for source in candidate.sources]] += candidate.dose_e_per_a2
            step = np.maximum(_reached(more, separation, states.is_metal, law) - before, 0.0)
            # Of alike columns each is told the same part of its entropy.
            part = _expected_information(states, step) / np.maximum(states.entropy_nats, 1e-30)
            alike[key] = np.minimum(part, 1.0)[states.of_column] * belief.entropy_nats[unsure]
        gains[number, unsure] = alike[key]
    return gains


def _sort_columns(register: Register, belief: Belief, chosen: NDArray[np.int64]) -> _States:
    """Put together those of the chosen columns that are alike; states are of the chosen, in their order."""
    is_metal, all_dose = register.is_metal[chosen], register.dose_e_per_a2[:, chosen]
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
    for row in all_dose:
        exposure = np.rint(np.log10(np.maximum(row, 1.0)) / _DOSE_BIN).astype(np.int64)
        _, key = np.unique(key * 128 + exposure, return_inverse=True)
    used, of_column = np.unique(key, return_inverse=True)
    count = np.bincount(of_column, minlength=len(used))

    def mean(values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.bincount(of_column, values, len(used)) / count

    return _States(
        of_column,
        np.stack([mean(column) for column in chance.T], axis=1),
        np.array([mean(row) for row in all_dose]).reshape(len(all_dose), len(used)).T,
        mean(is_metal.astype(np.float64)) > 0.5,
    )


def _reached(
    dose: NDArray[np.float64],
    separation: NDArray[np.float64],
    is_metal: NDArray[np.bool_],
    law: FusionLaw,
) -> NDArray[np.float64]:
    """Squared separations (U, 2) that sources reach together.

    Of METAL and DOPANT, twice, or of the two pairs of a chalcogen column.
    """
    part = said(dose, law)
    reached = np.zeros((len(dose), 2))
    for rows, pairs in ((is_metal, (2, 2)), (~is_metal, (0, 1))):
        for place, pair in enumerate(pairs):
            reached[rows, place] = joint_separation(part[rows] * separation[:, pair], law.correlation)
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


def propose_boxes(
    position: NDArray[np.floating],
    gain: NDArray[np.floating],
    field_box: Box,
    edge_angstrom: float,
    most: int,
) -> list[Box]:
    """Square boxes of one size that hold the most expected gain, best first, none over another's middle.

    Parameters
    ----------
    position : ndarray of shape (C, 2)
    gain : ndarray of shape (C,)
        Expected of each column if it is scanned.
    field_box : Box
        What can be scanned.
    edge_angstrom : float
        Edge of a box; at most that of the field.
    most : int
        Boxes wanted.

    Returns
    -------
    list of Box
        Fewer if fewer hold any gain.
    """
    low, high = np.array(field_box[:2]), np.array(field_box[2:])
    edge = min(edge_angstrom, float((high - low).min()))
    tile = edge / 8
    count = np.maximum(np.ceil((high - low) / tile).astype(int), 8)
    inside = is_inside(position, field_box)
    bins = [np.linspace(low[k], high[k], count[k] + 1) for k in range(2)]
    heat = np.histogram2d(position[inside, 0], position[inside, 1], bins=bins, weights=gain[inside])[0]
    summed = uniform_filter(heat, 8, mode="constant", origin=-4) * 64  # of the box that begins at a tile
    summed = summed[: count[0] - 7, : count[1] - 7]
    boxes: list[Box] = []
    while len(boxes) < most and summed.size and summed.max() > _LEAST_NATS:
        place = np.unravel_index(int(summed.argmax()), summed.shape)
        corner = np.minimum(low + np.array(place) * (high - low) / count, high - edge)
        boxes.append((float(corner[0]), float(corner[1]), float(corner[0] + edge), float(corner[1] + edge)))
        near = [slice(max(0, int(p) - 7), int(p) + 8) for p in place]
        summed[near[0], near[1]] = 0.0
    return boxes
