"""Score the sublattice decision on simulated frames, and fit its constants to them and to nothing else."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from drivers.contract.context import ColumnClass
from drivers.contract.errors import InputError
from models.contexts import reference_contexts
from models.contrasts import ExpectedContrast, expected_contrast
from models.grain_contrasts import MOST_EFFECTIVE, GrainContrasts
from models.reading import Reading, read_columns
from models.sublattice import LEAST_MARGIN_NATS
from models.training.columns import match_truth, metal_side
from models.training.conditions import Ranges, draw_frame
from models.training.pools import reading_pool
from sim_microscope.simulate import Frame

#: As `Ranges`, but with defects as rare as in real specimens and a microscope known less well: the annulus to
#: 8 % and the focus to 2.5 nm, which the expected contrasts know nothing of.
RANGES = Ranges(
    pixels=256,
    annulus=0.08,
    defocus_angstrom=25.0,
    dilute=1.0,
    vacancy1=(0.008, 0.12),
    vacancy2=(0.0003, 0.03),
    dopant=(0.0001, 0.03),
)

#: A sublattice of fewer columns, away from boundaries and known to the truth, says nothing.
LEAST_COLUMNS = 20

#: Caps on the number of independent columns that are tried.
_CAPS = (25, 50, 100, 200, 400, 800, 1600)


@dataclass(frozen=True)
class Sample:
    """The largest grain of one simulated frame.

    Parameters
    ----------
    context : int
        Number of the context.
    pair : tuple of ndarray
        Contrasts of the columns of sublattice 0 and 1.
    classes : tuple of ndarray
        Their `ColumnClass`.
    metal : int
        The sublattice that is the metal's in truth.
    """

    context: int
    pair: tuple[NDArray[np.float64], NDArray[np.float64]]
    classes: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    metal: int

    @property
    def expected(self) -> ExpectedContrast:
        """What the context leads to expect."""
        return expected_contrast(reference_contexts()[self.context])


def draw_sample(seed: int, index: int) -> Sample | None:
    """Simulate and read one frame of a context drawn at random; None where too little is read.

    So is a frame whose defocus, one in a thousand, is more than kernels carry.
    """
    number = int(np.random.default_rng([seed, index]).integers(len(reference_contexts())))
    try:
        frame = draw_frame(reference_contexts()[number], RANGES, [seed, index, 1])
        reading = read_columns(frame.image)
    except InputError:
        return None
    sample = _sample(number, frame, reading)
    return sample if min(len(side) for side in sample.pair) >= LEAST_COLUMNS else None


def _sample(number: int, frame: Frame, reading: Reading) -> Sample:
    """What the decision sees of the largest grain, with its truth."""
    lattice = reading.lattice
    match, _ = match_truth(frame, reading)
    contrast = reading.contrast.double().numpy()
    inner = ((lattice.grain == 0) & ~lattice.boundary).numpy() & (match >= 0)
    side = lattice.sublattice.numpy()
    first, second = inner & (side == 0), inner & (side == 1)
    classes = frame.crystal.classes[match]
    return Sample(
        number,
        (contrast[first], contrast[second]),
        (classes[first], classes[second]),
        int(metal_side(frame, reading, match)[0]),
    )


def study(
    frames: int, seed: int, *, workers: int, on_done: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Simulate frames; score the shipped constants on all of them; fit each constant.

    Returns
    -------
    dict
        Plain data, for JSON.

    Raises
    ------
    InputError
        If no frame can be read.
    """
    samples, refused = [], 0
    with reading_pool(workers) as pool:
        futures = [pool.submit(draw_sample, seed, index) for index in range(frames)]
        for future in futures:
            sample = future.result()
            refused += sample is None
            if sample is not None:
                samples.append(sample)
            on_done()
    if not samples:
        raise InputError(f"none of {frames} frames shows enough columns of a lattice; take more --frames")
    return {
        "frames": frames,
        "seed": seed,
        "refused": refused,
        "ranges": RANGES.as_card(),
        "shipped": score(samples),
        "fitted": fit(samples),
        "caps": {str(cap): score(samples, most_effective=cap) for cap in _CAPS},
    }


def score(samples: list[Sample], most_effective: float | None = None) -> dict[str, Any]:
    """Right decisions, and whether the margins are the log odds that they say they are.

    `log_loss` is the mean of -log P(truth), P by the margin: smaller is better calibrated; a coin has 0.693.
    """
    evidence = np.array([_evidence(sample, most_effective) for sample in samples])
    right = evidence > 0
    decided = np.abs(evidence) >= LEAST_MARGIN_NATS
    bands: list[dict[str, Any]] = []
    for low, high in ((0, 1), (1, 2.3), (2.3, 5), (5, 10), (10, 30), (30, math.inf)):
        band = (np.abs(evidence) >= low) & (np.abs(evidence) < high)
        if band.any():
            promised = float(np.mean(1 / (1 + np.exp(-np.abs(evidence[band])))))
            bands.append(
                {
                    "margin_nats": [low, None if math.isinf(high) else high],
                    "frames": int(band.sum()),
                    "right": float(right[band].mean()),
                    "promised": promised,
                }
            )
    return {
        "right": float(right.mean()),
        "decided": float(decided.mean()),
        "right_of_decided": float(right[decided].mean()) if decided.any() else None,
        "log_loss": float(np.mean(np.logaddexp(0, -evidence))),
        "bands": bands,
    }


def _evidence(sample: Sample, most_effective: float | None) -> float:
    """Log odds that the decision gives to the truth."""
    pair = [torch.from_numpy(side) for side in sample.pair]
    cap = MOST_EFFECTIVE if most_effective is None else most_effective
    grain = GrainContrasts(pair, most_effective=cap)
    brightness, defects = grain.for_one(sample.expected)
    total = brightness + defects
    return total if sample.metal == 1 else -total


def fit(samples: list[Sample]) -> dict[str, Any]:
    """The constants that the frames' truth gives.

    `ratio`: logarithm of measured over expected contrast of M over X2; `depth`: the same of how much dimmer
    than X2 the single vacancies of a frame are; each with mean, deviation and a deviation robust to outliers,
    or None if no frame shows it.
    `outliers`: whole columns further than four spreads from their sublattice's median, and how far these lie.
    """
    ratios, depths, outliers, far = [], [], [], []
    for sample in samples:
        expected = sample.expected
        metal, chalcogen = sample.pair[sample.metal], sample.pair[1 - sample.metal]
        classes = sample.classes[1 - sample.metal]
        whole = chalcogen[classes == ColumnClass.X2]
        levels = [float(np.median(metal)), float(np.median(chalcogen))]
        if min(levels) <= 0:
            continue
        ratios.append(math.log(levels[0] / levels[1]) - math.log(expected.metal))
        vacancies = chalcogen[classes == ColumnClass.VAC1]
        depth = 1 - float(np.median(vacancies)) / levels[1] if len(vacancies) >= 5 else 0.0
        if depth > 0:
            depths.append(math.log(depth / (1 - expected.vacancy1)))
        relative = np.sort(whole / levels[1]) - 1
        spread = relative[int(0.84 * (len(relative) - 1))]
        beyond = np.abs(relative) > 4 * spread
        outliers.append(float(beyond.mean()))
        far += np.abs(relative[beyond]).tolist()
    return {
        "ratio": _summary(ratios),
        "depth": _summary(depths),
        "outliers": {
            "fraction": float(np.mean(outliers)) if outliers else None,
            "distance": float(np.sqrt(np.mean(np.square(far)))) if far else None,
        },
    }


def _summary(values: list[float]) -> dict[str, float] | None:
    """Number, mean, deviation, and deviation from the 16th and 84th of a hundred; None of nothing."""
    if not values:
        return None
    array = np.array(values)
    low, high = np.quantile(array, [0.16, 0.84])
    return {
        "frames": len(array),
        "mean": float(array.mean()),
        "deviation": float(array.std()),
        "robust_deviation": float((high - low) / 2),
    }


def as_text(figures: dict[str, Any]) -> str:
    """Figures for the reader."""
    lines = [f"{figures['frames']} simulated frames, seed {figures['seed']}, {figures['refused']} refused"]
    fitted = figures["fitted"]
    for name in ("ratio", "depth"):
        f = fitted[name]
        if f is None:
            lines.append(f"log {name}, measured over expected: no frame shows it")
            continue
        lines.append(
            f"log {name}, measured over expected: mean {f['mean']:+.3f}, deviation {f['deviation']:.3f} "
            f"(robust {f['robust_deviation']:.3f}), {f['frames']} frames"
        )
    far = fitted["outliers"]
    distance = "none" if far["distance"] is None else f"{far['distance']:.2f}"
    fraction = "none" if far["fraction"] is None else f"{far['fraction']:.2%}"
    lines.append(f"outliers: {fraction} of whole columns, rms distance {distance}")
    lines.append("columns counted   right   decided   right of decided   log loss")
    for name, row in [("shipped", figures["shipped"]), *figures["caps"].items()]:
        of_decided = "-" if row["right_of_decided"] is None else f"{row['right_of_decided']:.2%}"
        lines.append(
            f"{name:>15} {row['right']:>7.2%} {row['decided']:>9.2%} {of_decided:>18} "
            f"{row['log_loss']:>10.4f}"
        )
    lines.append("shipped margins: [nats] frames, right, promised")
    for band in figures["shipped"]["bands"]:
        low, high = band["margin_nats"]
        lines.append(
            f"  {low:g} to {'more' if high is None else f'{high:g}'}: {band['frames']}, "
            f"{band['right']:.2%}, {band['promised']:.2%}"
        )
    return "\n".join(lines)
