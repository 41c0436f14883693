"""How well labels can be told from their own micrographs: a yardstick for `columnist evaluate labelled`.

Run by `columnist bench labels [--json] [--data FOLDER]`.  A logistic regression is fitted to the labels
themselves: to patches around the labelled columns (the disc of the moments and a tenth more, principal
components of their pixels), in five folds, so that each column is judged by labels of others.  Number of
components and threshold are then chosen to look best.  How much of that is the micrograph's own says a second
one: fitted to the moments of the columns of the same detector's other micrographs, its threshold chosen to
look best.  Nothing of this is kept or used; another classifier may do better.  Where two detectors recorded
one scan, `benchmarks.rig.other_detector` asks the other of the columns that map and labels disagree over.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from agent.results.labelled import LabelledImage, find_labelled
from benchmarks.rig.other_detector import disagreements
from drivers.files import read_micrographs
from models.analysis import load_analyser
from models.frames import blur, sample_bilinear, standardise
from models.reading import Reading, read_columns

#: What is told apart: name of the figure, the common class and the rare ones.
TASKS = (("f1_vac1", "x2", ("vac1", "vac2", "vacancy")), ("f1_dopant", "metal", ("dopant",)))

#: Principal components of a patch that are tried.
COMPONENTS = (6, 12, 25)

FOLDS = 5

#: A column and a label nearer than this to each other are the same [px].
_RADIUS_PX = 2.5

#: Points along an edge of a patch, its reach over the disc of the moments, and the blur of a pixel [px].
_POINTS, _REACH, _BLUR_PX = 15, 1.1, 1.0


def main(words: tuple[str, ...] = ()) -> tuple[dict[str, Any], bool]:
    parser = argparse.ArgumentParser(prog="columnist bench labels")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="labelled micrographs")
    options = parser.parse_args(words)
    images = find_labelled(options.data)
    columns = [read_labelled(image) for image in images]
    report = {}
    for image, own in zip(images, columns, strict=True):
        others = [
            theirs
            for other, theirs in zip(images, columns, strict=True)
            if other is not image and (other.group, other.detector) == (image.group, image.detector)
        ]
        report[image.name] = best_of(own, others)
    for name, found in disagreements(images, load_analyser()).items():
        report[name]["by_other_detector"] = found
    return report, True


@dataclass(frozen=True)
class Columns:
    """Labelled columns of an image that were found; S of them.

    Parameters
    ----------
    patches : ndarray of shape (S, P)
        From `patches_of`.
    moments : ndarray of shape (S, 6)
        As the classifiers get them, before alignment.
    meaning : ndarray of shape (S,)
        What the labels say.
    """

    patches: NDArray[np.float64]
    moments: NDArray[np.float64]
    meaning: NDArray[np.str_]

    def of_task(self, common: str, rare: tuple[str, ...]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which columns a task is about (S,), and which of those are rare."""
        is_rare = np.isin(self.meaning, rare)
        chosen = is_rare | (self.meaning == common)
        return chosen, is_rare[chosen]


def read_labelled(image: LabelledImage) -> Columns:
    """Read an image's labelled columns, those near its edges left out."""
    pixels = read_micrographs(image.path).micrographs[0].image
    reading = read_columns(pixels)
    distance, nearest = cKDTree(reading.lattice.positions.numpy()).query(image.labels.points)
    found = (distance < _RADIUS_PX) & reading.whole.numpy()[nearest]
    at = nearest[found]
    moments = reading.moments.double().numpy()
    return Columns(patches_of(pixels, reading)[at], moments[at], np.asarray(image.labels.meaning)[found])


def best_of(own: Columns, others: list[Columns]) -> dict[str, Any]:
    """Best F1 of each task that regressions reach, on an image's own labels and on those of others."""
    best: dict[str, Any] = {}
    for name, common, rare in TASKS:
        chosen, is_rare = own.of_task(common, rare)
        if is_rare.sum() < 2 * FOLDS:
            continue
        tried = [judged(own.patches[chosen], is_rare, count) for count in COMPONENTS]
        best[name] = {"labelled": int(is_rare.sum()), "best": max(tried)}
        tasks = [other.of_task(common, rare) for other in others]
        if any(those.any() for _, those in tasks):
            moments = [other.moments[some] for other, (some, _) in zip(others, tasks, strict=True)]
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            model.fit(np.concatenate(moments), np.concatenate([those for _, those in tasks]))
            score = model.decision_function(own.moments[chosen])
            best[name]["best_by_others"] = best_f1(score, is_rare)
    return best


def patches_of(pixels: NDArray[Any], reading: Reading) -> NDArray[np.float64]:
    """Values (S, P) of the blurred frame, undone if it was denoised, at points around each site."""
    edge = torch.linspace(-_REACH, _REACH, _POINTS)
    grid = torch.stack(torch.meshgrid(edge, edge, indexing="ij"), -1).reshape(-1, 2)
    grid = grid[grid.square().sum(1) <= _REACH**2] @ reading.disc.T  # (P, 2)
    at = reading.lattice.positions[:, None] + grid
    frame = standardise(pixels)
    if reading.patch_filter is not None:
        frame = reading.patch_filter.undo(frame)
    values = sample_bilinear(blur(frame, _BLUR_PX), at.reshape(-1, 2))
    return np.asarray(values.reshape(at.shape[:2]).double().numpy())


def judged(patches: NDArray[np.float64], is_rare: NDArray[np.bool_], components: int) -> float:
    """F1 at the best threshold, every column judged by labels of other folds."""
    regression = LogisticRegression(max_iter=1000)
    model = make_pipeline(PCA(components, random_state=0), StandardScaler(), regression)
    score = cross_val_predict(model, patches, is_rare, cv=FOLDS, method="decision_function")
    return best_f1(score, is_rare)


def best_f1(score: NDArray[np.float64], is_rare: NDArray[np.bool_]) -> float:
    """F1 at the threshold that looks best."""
    right = np.cumsum(is_rare[np.argsort(-score)])
    return float((2 * right / (np.arange(1, len(right) + 1) + is_rare.sum())).max())
