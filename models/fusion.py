"""How evidence about one column adds up over frames: a law whose constants simulated series give.

A source is one detector at one beam energy.  Of what a source says of a column, part is noise, new in every
frame, and part is error that the next frame repeats: a neighbourhood unlike training's, contamination, the
network's own mistakes.  If the noise of a dose d has the variance of the error where d is the half dose h,
then n frames of a source, with doses d1 ... dn and D in all, say together

    sum of l_i (d_i + h) / (D + h)

l_i being the log likelihoods of one frame: many faint frames add up, many bright ones are averaged.  A source
of total dose D says the part q = D / (D + h) of all that it could ever say.  What two sources are off by is
correlated by r, so each is weighted by what is its own (generalised least squares over the square roots of q;
never below zero).  How far it is correlated the whole columns of a specimen show themselves: under carbon, or
where one scan is jittery, all sources stray together.  See docs/decisions/0060 and 0083.

NumPy only, so that the agent can import it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import ColumnClass, Detector
from models.fusion_law import FusionLaw

#: Pairs of classes that have to be told apart: X2 and VAC1, VAC1 and VAC2, METAL and DOPANT.
PAIRS: tuple[tuple[ColumnClass, ColumnClass], ...] = (
    (ColumnClass.X2, ColumnClass.VAC1),
    (ColumnClass.VAC1, ColumnClass.VAC2),
    (ColumnClass.METAL, ColumnClass.DOPANT),
)

#: Whether each class stands on the metal sublattice.
ON_METAL = np.array([label in (ColumnClass.METAL, ColumnClass.DOPANT) for label in ColumnClass])

#: Shares within a sublattice to start from: over 30 labelled frames 2.3 to 5.4 % single vacancies and 0.04 to
#: 0.19 % dopants (shared/data/README.md, which has none for double vacancies: a tenth of the single ones).
_VACANCY1, _VACANCY2, _DOPANT = 0.035, 0.0035, 0.001
START_SHARES = np.array([1 - _VACANCY1 - _VACANCY2, _VACANCY1, _VACANCY2, 1 - _DOPANT, _DOPANT])

#: Whole columns that count as much as the law's own figures, beside those that show a specimen's.
_LAW_COLUMNS = 50.0

#: No source that speaks is taken for weaker than this, over the mean.
_LEAST_STRENGTH = 0.1

#: Columns far out, which decide, stray together more than most by this factor; and the most that is believed.
_FAR_OUT, _MOST_CORRELATION = 1.3, 0.9

#: No frame says more than this for or against a class of a column [nats].
MOST_NATS = 25.0


def likelihoods(
    probability: NDArray[np.floating], prior: NDArray[np.floating], is_metal: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Log likelihoods (n, 5) of posteriors (n, 5) that a frame's prior (5,) went into.

    The largest of each column is 0, the classes of the other sublattice are -inf: which sublattice a column
    stands on is decided for a grain, not for a column.
    """
    logs = np.log(np.maximum(probability, 1e-30)) - np.log(np.maximum(prior, 1e-12))
    logs = np.where(is_metal[:, None] == ON_METAL, logs, -np.inf)
    logs = logs - logs.max(axis=1, keepdims=True)
    return np.where(np.isfinite(logs), np.maximum(logs, -MOST_NATS), -np.inf)


def calibrate(
    log_likelihood: NDArray[np.float64],
    is_metal: NDArray[np.bool_],
    detector: Detector,
    dose_e_per_a2: float | None,
    law: FusionLaw,
) -> NDArray[np.float64]:
    """Log likelihoods of one frame, made as sure as they should be at its dose.

    Those of a frame of unknown dose stay as the network's own calibration has them.
    """
    if dose_e_per_a2 is None:
        return log_likelihood
    factor = law.scale(detector, dose_e_per_a2)[is_metal.astype(np.int64)][:, None]
    return np.where(np.isfinite(log_likelihood), log_likelihood * factor, -np.inf)


def said(dose_e_per_a2: NDArray[np.floating] | float, law: FusionLaw) -> NDArray[np.float64]:
    """Part of what a source can ever say that it has said by a total dose."""
    dose = np.asarray(dose_e_per_a2, np.float64)
    return np.asarray(dose / (dose + law.half_dose_e_per_a2))


def source_weights(strength: NDArray[np.floating], correlation: float) -> NDArray[np.float64]:
    """Weights of sources with correlated errors.

    Parameters
    ----------
    strength : ndarray of shape (..., K)
        Squared separation of each source, up to a common factor; 0 for a source that has said nothing.
    correlation : float
        Of the errors of two sources, the same for any two.

    Returns
    -------
    ndarray of shape (..., K)
        1 for a source alone, 1 / (1 + correlation) for each of two equal ones; 0 for one that is so faint
        that it says less than the others' errors imply about it.
    """
    root = np.sqrt(np.asarray(strength, np.float64))
    active = root > 0
    weights = np.zeros_like(root)
    for _ in range(root.shape[-1]):
        count = active.sum(axis=-1, keepdims=True)
        total = np.where(active, root, 0.0).sum(axis=-1, keepdims=True)
        common = correlation / (1 + np.maximum(count - 1, 0) * correlation) * total
        weights = np.where(active, (1 - common / np.where(active, root, 1.0)) / (1 - correlation), 0.0)
        lowest = (weights < 0) & (weights == weights.min(axis=-1, keepdims=True))
        if not lowest.any():
            break
        active &= ~lowest
    return np.asarray(np.maximum(weights, 0.0))


@dataclass(frozen=True)
class SourceErrors:
    """What a specimen's whole columns show of its K sources.

    Parameters
    ----------
    strength : ndarray of shape (K,)
        Squared separation that each claims for an endless dose, over their mean.
    correlation : float
        Of what two sources are off by; 0 to 0.9.
    """

    strength: NDArray[np.float64]
    correlation: float

    @classmethod
    def of_law(cls, sources: int, law: FusionLaw) -> "SourceErrors":
        """What is taken of sources before any column shows it."""
        return cls(np.ones(sources), law.correlation)

    def weights(self, part: NDArray[np.floating], is_metal: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Weights (C, K) of sources that have said parts (C, K) of what they can of columns (C,).

        Whole chalcogen columns show nothing of how well metals are told.
        """
        return source_weights(part * np.where(is_metal[:, None], 1.0, self.strength), self.correlation)


def is_taken_for_whole(fused: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which columns of log likelihoods (C, 5) are taken for X2 while the shares are those to start from."""
    return np.asarray((fused + np.log(START_SHARES)).argmax(axis=1) == ColumnClass.X2)


def source_errors(ratio: NDArray[np.floating], part: NDArray[np.floating], law: FusionLaw) -> SourceErrors:
    """Learn from whole columns how sure sources are and how far they stray together.

    Parameters
    ----------
    ratio : ndarray of shape (n, K)
        Log likelihood of VAC1 over that of X2 by each source, of n columns that are taken for X2; nan where a
        source said nothing.  Calibrated ones of a separation v are -v / 2 in the mean.
    part : ndarray of shape (n, K)
        What each source has said of what it can (`said`).
    law : FusionLaw
        Equal sources and its correlation count as `_LAW_COLUMNS` columns.
    """
    seen = np.isfinite(ratio)
    count = seen.sum(axis=0)
    claimed = -2 * np.where(seen, ratio, 0.0).sum(axis=0) / np.maximum((part * seen).sum(axis=0), 1e-9)
    usual = float((count * claimed).sum() / max(count.sum(), 1))
    if usual <= 0:
        return SourceErrors.of_law(ratio.shape[1], law)
    strength = np.maximum((count * claimed / usual + _LAW_COLUMNS) / (count + _LAW_COLUMNS), _LEAST_STRENGTH)
    total, columns, pairs = 0.0, 0.0, 0
    for first in range(ratio.shape[1]):
        for second in range(first):
            both = ratio[:, [first, second]][seen[:, [first, second]].all(axis=1)].astype(np.float64)
            if len(both) < 2 or not (both.std(axis=0) > 0).all():
                continue
            total += len(both) * _FAR_OUT * float(np.corrcoef(both.T)[0, 1])
            columns, pairs = columns + len(both), pairs + 1
    pairs = max(pairs, 1)
    correlation = (total / pairs + _LAW_COLUMNS * law.correlation) / (columns / pairs + _LAW_COLUMNS)
    return SourceErrors(strength, float(np.clip(correlation, 0.0, _MOST_CORRELATION)))


def weighted_sum(
    sums: NDArray[np.floating],
    dose: NDArray[np.floating],
    is_metal: NDArray[np.bool_],
    law: FusionLaw,
    errors: SourceErrors,
) -> NDArray[np.float64]:
    """Log likelihoods (C, 5) of K sources together, each weighted for what is its own; as `fuse`."""
    weights = errors.weights(said(dose, law).T, is_metal).T  # (K, C)
    per_source = weights / (dose + law.half_dose_e_per_a2)
    logs = np.einsum("kc,kcl->cl", per_source, sums.astype(np.float64))
    return np.where(is_metal[:, None] == ON_METAL, logs, -np.inf)


def fuse(
    sums: NDArray[np.floating], dose: NDArray[np.floating], is_metal: NDArray[np.bool_], law: FusionLaw
) -> tuple[NDArray[np.float64], float]:
    """Fuse all evidence by the law; fitted and applied here.

    Parameters
    ----------
    sums : ndarray of shape (K, C, 5)
        Of every source, the sum of its frames' log likelihoods, each times its dose and half dose; finite.
    dose : ndarray of shape (K, C)
        Of these frames together [e/Å²].
    is_metal : ndarray of shape (C,)
    law : FusionLaw

    Returns
    -------
    log_likelihood : ndarray of shape (C, 5)
        -inf for the other sublattice's classes.
    correlation : float
        Of what two sources are off by, as the columns show it.
    """
    first = weighted_sum(sums, dose, is_metal, law, SourceErrors.of_law(len(sums), law))
    if len(sums) < 2:
        return first, law.correlation
    is_whole = is_taken_for_whole(first)
    whole, spent = sums[:, is_whole].astype(np.float64), dose[:, is_whole]
    ratio = (whole[:, :, ColumnClass.VAC1] - whole[:, :, ColumnClass.X2]) / (spent + law.half_dose_e_per_a2)
    errors = source_errors(np.where(spent > 0, ratio, np.nan).T, said(spent, law).T, law)
    return weighted_sum(sums, dose, is_metal, law, errors), errors.correlation


def joint_separation(separation: NDArray[np.floating], correlation: float) -> NDArray[np.float64]:
    """Squared separation (...) that sources of squared separations (..., K) reach together."""
    return np.asarray((source_weights(separation, correlation) * separation).sum(axis=-1))
