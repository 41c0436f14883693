"""Fit the constants of `models.fusion` to series of simulated frames, and score them on others."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp

from drivers.contract.context import DETECTORS, Context
from drivers.contract.errors import InputError
from models.channel import separation_seen
from models.checkpoint import Weights
from models.contexts import reference_contexts
from models.contrasts import expected_contrast, x2_contrast
from models.fusion import ON_METAL, PAIRS, SourceErrors, fuse, likelihoods, said, weighted_sum
from models.fusion_law import FusionLaw, context_key
from models.open_depth import conclude
from models.posterior import predict_logits
from models.scatter import Scatter
from models.training.observations import Observations

#: Shares within a sublattice that calibration is asked for: between those of the simulated series and the
#: rarer ones of recorded frames.
SHARES = np.array([0.90, 0.08, 0.02, 0.97, 0.03])

#: Every third series scores, the others fit.  Specimens and energies take turns, too: of fewer than 288
#: series some pairs of energies are not among those that score.
_SCORING = 3

#: Five scans on two detectors.
_SLOTS = 10

#: Doses that scales are given at, and how many columns of a detector and sublattice they are fitted to.
_LOG10_DOSES = np.array([3.3, 3.8, 4.3, 4.9, 5.6])
_FITTED_TO = 60_000

_BINS = 15

#: Fewer columns of a class say nothing of a frame's separation.
_LEAST_OF_A_CLASS = 8


@dataclass(frozen=True)
class Table:
    """Observations by column and slot; C columns, slot 2 k + m is scan k on detector m (HAADF, MAADF).

    Parameters
    ----------
    logs : ndarray of shape (C, 10, 5)
        Log likelihoods as the network says them, nan where not seen.
    dose : ndarray of shape (C, 10)
        In e/Å², nan where not seen.
    context : ndarray of shape (C, 10)
        Number of the context, -1 where not seen.
    label, series : ndarray of shape (C,)
    """

    logs: NDArray[np.float64]
    dose: NDArray[np.float64]
    context: NDArray[np.int64]
    label: NDArray[np.int64]
    series: NDArray[np.int64]

    @property
    def is_metal(self) -> NDArray[np.bool_]:
        """Whether each column stands on the metal sublattice."""
        return np.asarray(ON_METAL[self.label])

    def take(self, keep: NDArray[np.bool_]) -> "Table":
        """Table of some of the columns."""
        return Table(
            self.logs[keep], self.dose[keep], self.context[keep], self.label[keep], self.series[keep]
        )


def tabulate(observations: Observations, weights: Weights) -> Table:
    """Read all observations with a network and line them up by column.

    Raises
    ------
    InputError
        If there are none.
    """
    if not len(observations.label):
        raise InputError("expected observations of series, found none")
    contexts, frame = reference_contexts(), observations.frame
    numbers = observations.context[np.unique(frame)]
    rows = np.split(np.arange(len(frame)), np.flatnonzero(np.diff(frame)) + 1)
    around = [getattr(observations, one.name) for one in fields(Scatter)]
    logs = []
    for row, number, doubt in zip(rows, numbers, observations.doubt[np.unique(frame)], strict=True):
        contrast, is_regular = (
            torch.from_numpy(values[row]) for values in (observations.contrast, observations.is_regular)
        )
        scatter = Scatter(*(torch.from_numpy(values[row]) for values in around))
        logits = predict_logits(weights, contrast, contexts[number], scatter.noise)
        told = conclude(logits, scatter, is_regular, float(doubt))
        is_metal = ON_METAL[observations.label[row]]
        logs.append(likelihoods(told.probability.double().numpy(), told.prior.numpy(), is_metal))
    maadf = np.array([context.detector.name == "MAADF" for context in contexts])[observations.context[frame]]
    slot = 2 * observations.scan[frame] + maadf
    key = observations.series[frame].astype(np.int64) * 2**32 + observations.column
    columns, place = np.unique(key, return_inverse=True)
    table = Table(
        np.full((len(columns), _SLOTS, 5), np.nan),
        np.full((len(columns), _SLOTS), np.nan),
        np.full((len(columns), _SLOTS), -1),
        np.zeros(len(columns), np.int64),
        columns >> 32,
    )
    table.label[place] = observations.label
    table.logs[place, slot] = np.concatenate(logs)
    table.dose[place, slot] = 10 ** observations.log10_dose[frame].astype(np.float64)
    table.context[place, slot] = observations.context[frame]
    return table


def fit(table: Table) -> FusionLaw:
    """Fit all constants, one kind after another, each to the likelihood of the columns' true classes.

    Raises
    ------
    InputError
        If the series show too little of a class on a detector.
    """
    law = FusionLaw(2e4, 0.3, _LOG10_DOSES, {}, {}, 0.0)
    fitting = table.take(table.series % _SCORING != _SCORING - 1)
    law = replace(law, scales=_fit_scales(fitting))
    fitting = calibrated(fitting, law)
    repeats = [[0, 2], [0, 2, 4], [0, 2, 4, 6], [1, 3], [1, 3, 5], [1, 3, 5, 7]]
    law = replace(
        law,
        half_dose_e_per_a2=10
        ** _best(lambda x: _loss_of(fitting, repeats, replace(law, half_dose_e_per_a2=10**x)), (3.0, 6.0)),
    )
    pairs = [[0, 1], [0, 3], [1, 2], [0, 8], [1, 9], [0, 9], [1, 8]]
    law = replace(
        law, correlation=_best(lambda x: _loss_of(fitting, pairs, replace(law, correlation=x)), (0.0, 0.9))
    )
    separations, transfer = _fit_separations(fitting, law)
    return replace(law, separations=separations, transfer=transfer)


def _best(loss: Any, bounds: tuple[float, float]) -> float:
    """Argument of the least loss."""
    return float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.01}).x)


def _fit_scales(table: Table) -> dict[str, NDArray[np.float64]]:
    """Scales of each detector at the law's doses."""
    scales = {}
    for place, name in enumerate(DETECTORS):
        rows = []
        for metal in (False, True):
            seen = ~np.isnan(table.dose) & (table.is_metal == metal)[:, None]
            seen &= np.arange(seen.shape[1]) % 2 == place
            column, slot = np.nonzero(seen)
            step = max(1, len(column) // _FITTED_TO)
            column, slot = column[::step], slot[::step]
            rows.append(
                _fit_scale(table.logs[column, slot], np.log10(table.dose[column, slot]), table.label[column])
            )
        scales[name] = np.array(rows)
    return scales


def _fit_scale(
    logs: NDArray[np.float64], log10_dose: NDArray[np.float64], label: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Factors at the law's doses that make the true classes most likely; held between 0.2 and 3."""

    def loss(at_doses: NDArray[np.float64]) -> float:
        factor = np.exp(np.interp(log10_dose, _LOG10_DOSES, at_doses))[:, None]
        scaled = np.where(np.isfinite(logs), logs * factor, -np.inf)
        # A little weight on 1 decides where there are no columns.
        return cross_entropy(scaled, label) + 1e-5 * float((at_doses**2).sum())

    bounds = [(np.log(0.2), np.log(3.0))] * len(_LOG10_DOSES)
    found = minimize(loss, np.zeros(len(_LOG10_DOSES)), method="L-BFGS-B", bounds=bounds)
    return np.exp(np.asarray(found.x, np.float64))


def _loss_of(table: Table, choices: list[list[int]], law: FusionLaw) -> float:
    """Cross entropy of what slots say together by the law's own figures, mean over choices of slots."""
    losses = []
    for slots in choices:
        seen = table.take(_all_seen(table, slots))
        if len(seen.label):
            sums, dose = _by_source(seen, slots, law)
            fused = weighted_sum(sums, dose, seen.is_metal, law, SourceErrors.of_law(len(sums), law))
            losses.append(cross_entropy(fused, seen.label))
    return float(np.mean(losses))


def _all_seen(table: Table, slots: list[int]) -> NDArray[np.bool_]:
    """Whether each column was seen in all of these slots."""
    return np.asarray(~np.isnan(table.dose[:, slots]).any(axis=1))


def fuse_slots(table: Table, slots: list[int], law: FusionLaw) -> NDArray[np.float64]:
    """What slots of a calibrated table say together of each column by the law, (C, 5).

    Slots of one context are frames of one source; every slot must have seen every column.  How far sources
    stray together is learnt from each series, as `agent.belief` learns it from a session.
    """
    sums, dose = _by_source(table, slots, law)
    fused = np.empty((len(table.label), 5))
    for series in np.unique(table.series):
        own = table.series == series
        fused[own], _ = fuse(sums[:, own], dose[:, own], table.is_metal[own], law)
    return fused


def _by_source(
    table: Table, slots: list[int], law: FusionLaw
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums (K, C, 5) and doses (K, C) of the frames of each source (`models.fusion.fuse`)."""
    total: dict[tuple[int, int], list[int]] = {}
    for slot in slots:
        # A series changes its energy with its last scan.
        total.setdefault((slot % 2, int(slot >= 8)), []).append(slot)
    sums, doses = [], []
    for members in total.values():
        dose = table.dose[:, members]
        logs = np.nan_to_num(table.logs[:, members], nan=np.nan, neginf=0.0)
        sums.append((logs * (dose + law.half_dose_e_per_a2)[:, :, None]).sum(axis=1))
        doses.append(dose.sum(axis=1))
    return np.stack(sums), np.stack(doses)


def calibrated(table: Table, law: FusionLaw) -> Table:
    """Table whose log likelihoods are as sure as they should be by the law."""
    logs, detectors = table.logs.copy(), list(DETECTORS.values())
    for slot in range(logs.shape[1]):
        doses, place = np.unique(table.dose[:, slot], return_inverse=True)
        scales = np.array([law.scale(detectors[slot % 2], float(dose)) for dose in doses])
        factor = scales[place, table.is_metal.astype(np.int64)]
        logs[:, slot] = np.where(np.isfinite(logs[:, slot]), logs[:, slot] * factor[:, None], logs[:, slot])
    return replace(table, logs=logs)


def posterior(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (C, 5) under `SHARES`."""
    logs = logs + np.log(SHARES)
    return np.asarray(np.exp(logs - logsumexp(logs, axis=1, keepdims=True)))


def class_weights(label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights that give the classes their `SHARES` of their sublattice."""
    count = np.maximum(np.bincount(label, minlength=5), 1)
    of_sublattice = np.where(ON_METAL, count[ON_METAL].sum(), count[~ON_METAL].sum())
    return np.asarray((SHARES * of_sublattice / count)[label])


def cross_entropy(logs: NDArray[np.float64], label: NDArray[np.int64]) -> float:
    """Mean of -log P(truth) with the classes in their `SHARES`; one column costs at most 20."""
    truth = posterior(logs)[np.arange(len(label)), label]
    return float(np.average(-np.log(np.maximum(truth, 2e-9)), weights=class_weights(label)))


def _fit_separations(table: Table, law: FusionLaw) -> tuple[dict[str, tuple[float, float, float]], float]:
    """Separations of all reference contexts from those of the series' frames; and the transfer.

    A frame's separation over the part that its dose has said is a power law of the host column's contrast
    and of how much the classes differ, one for each pair and detector.
    """
    contexts = reference_contexts()
    measured = measure_separations(table, law)
    rows: dict[str, list[float]] = {context_key(context): [] for context in contexts}
    residuals: dict[tuple[int, int, int], dict[int, list[float]]] = {}
    for pair in range(len(PAIRS)):
        for place, name in enumerate(DETECTORS):
            chosen = [m for m in measured if m[0] == pair and m[1] % 2 == place]
            if not chosen:
                both = " and ".join(label.name for label in PAIRS[pair])
                raise InputError(
                    f"no frame on {name} shows enough {both} to tell how far apart they are; take more series"
                )
            design = np.array([_features(contexts[m[2]], pair) for m in chosen])
            value = np.log([m[4] for m in chosen])
            power = np.linalg.lstsq(design, value, rcond=None)[0]
            for m, residual in zip(chosen, value - design @ power, strict=True):
                residuals.setdefault((m[3], place, int(m[1] >= 8)), {}).setdefault(pair, []).append(residual)
            for context in contexts:
                if context.detector.name == name:
                    rows[context_key(context)].append(float(np.exp(np.dot(_features(context, pair), power))))
    by_host = {key: (a, b, c) for key, (a, b, c) in rows.items()}
    for context in contexts:  # without a dopant there is none to be told from the metal
        bare = context_key(context).replace(f"-{context.specimen.dopant}", "", 1)
        a, b, _ = by_host[context_key(context)]
        by_host.setdefault(bare, (a, b, 60.0))
    return by_host, _fit_transfer(residuals)


def measure_separations(table: Table, law: FusionLaw) -> list[tuple[int, int, int, int, float]]:
    """Separation by (pair, slot, context, series) that a calibrated frame would have at an endless dose."""
    found = []
    for series in np.unique(table.series):
        own = table.take(table.series == series)
        for slot in range(own.dose.shape[1]):
            seen = own.take(~np.isnan(own.dose[:, slot]))
            if not len(seen.label):
                continue
            logs = seen.logs[:, slot]
            reached = float(said(float(seen.dose[0, slot]), law))
            for pair, (first, second) in enumerate(PAIRS):
                sides = [logs[seen.label == k] for k in (first, second)]
                if min(len(side) for side in sides) >= _LEAST_OF_A_CLASS:
                    v = separation_seen(*[side[:, second] - side[:, first] for side in sides])
                    found.append((pair, slot, int(seen.context[0, slot]), int(series), v / reached))
    return found


def _features(context: Context, pair: int) -> list[float]:
    """Terms of the power law: 1, log contrast of the whole column, log difference of the classes."""
    expected, whole = expected_contrast(context), x2_contrast(context)
    if pair == 2:
        return [
            1.0,
            float(np.log(whole * expected.metal)),
            float(np.log(max(abs(1 - (expected.dopant or 0.0)), 0.02))),
        ]
    step = 1 - expected.vacancy1 if pair == 0 else expected.vacancy1 - expected.vacancy2
    return [1.0, float(np.log(whole)), float(np.log(max(step, 0.02)))]


def _fit_transfer(residuals: dict[tuple[int, int, int], dict[int, list[float]]]) -> float:
    """Slope of one source's residual on that of another of the same series, over all pairs of them."""
    top = bottom = 0.0
    for (series, *source), by_pair in residuals.items():
        for (other_series, *other), others in residuals.items():
            if series != other_series or source == other:
                continue
            for pair in by_pair.keys() & others.keys():
                first, second = float(np.mean(by_pair[pair])), float(np.mean(others[pair]))
                top, bottom = top + first * second, bottom + first * first
    return float(np.clip(top / bottom, 0.0, 1.0)) if bottom else 0.0


def score(table: Table, law: FusionLaw) -> dict[str, Any]:
    """Figures on the series that nothing was fitted to: cross entropy, calibration error, accuracy.

    For each choice of frames: by the law, and by the plain sum and the plain mean of what the network says.
    """
    held_out = table.take(table.series % _SCORING == _SCORING - 1)
    choices = {
        "one HAADF": [0],
        "one MAADF": [1],
        "two HAADF": [0, 2],
        "three HAADF": [0, 2, 4],
        "four HAADF": [0, 2, 4, 6],
        "four MAADF": [1, 3, 5, 7],
        "both at once": [0, 1],
        "both, one after the other": [0, 3],
        "HAADF at two energies": [0, 8],
        "MAADF at two energies": [1, 9],
        "three HAADF, one MAADF": [0, 2, 4, 7],
        "all": list(range(10)),
    }
    figures: dict[str, Any] = {}
    for name, slots in choices.items():
        seen = held_out.take(_all_seen(held_out, slots))
        if not len(seen.label):
            continue
        plain = seen.logs[:, slots]
        with np.errstate(invalid="ignore"):
            ways = {
                "law": fuse_slots(calibrated(seen, law), slots, law),
                "sum": plain.sum(axis=1),
                "mean": plain.mean(axis=1),
            }
        figures[name] = {"columns": len(seen.label)} | {
            way: {
                "cross_entropy": cross_entropy(logs, seen.label),
                "ece": calibration_error(logs, seen.label),
                "accuracy": _accuracy(logs, seen.label),
            }
            for way, logs in ways.items()
        }
    return figures


def calibration_error(logs: NDArray[np.float64], label: NDArray[np.int64]) -> float:
    """Expected calibration error over 15 bins of confidence, the classes in their `SHARES`."""
    probability, weight = posterior(logs), class_weights(label)
    confidence = probability.max(axis=1)
    gap = weight * ((probability.argmax(axis=1) == label) - confidence)
    number = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return float(np.abs(np.bincount(number, gap, _BINS)).sum() / weight.sum())


def _accuracy(logs: NDArray[np.float64], label: NDArray[np.int64]) -> float:
    """Part of the columns told right, the classes in their `SHARES`."""
    return float(np.average(posterior(logs).argmax(axis=1) == label, weights=class_weights(label)))


def as_text(law: FusionLaw, figures: dict[str, Any]) -> str:
    """Constants and figures for the reader."""
    lines = [
        f"half dose {law.half_dose_e_per_a2:.3g} e/Å², correlation {law.correlation:.2f}, "
        f"transfer {law.transfer:.2f}",
        f"{'frames':<28}{'columns':>8}   cross entropy law / sum / mean      ECE law / sum / mean",
    ]
    for name, row in figures.items():
        loss = " / ".join(f"{row[way]['cross_entropy']:.4f}" for way in ("law", "sum", "mean"))
        ece = " / ".join(f"{row[way]['ece']:.4f}" for way in ("law", "sum", "mean"))
        lines.append(f"{name:<28}{row['columns']:>8}   {loss}   {ece}")
    return "\n".join(lines)
