"""Figures of an evaluation: reliability, confidence, UMAP, attention, accuracy and entropy."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from drivers.contract.context import ColumnClass
from models.encoding import CONTEXT_FEATURES
from models.networks.attention import AttentionNetwork, FeatureAttention
from models.training.evaluation import REFERENCE_DOSE
from models.training.simulated import Scored

_NAMES = tuple(label.name for label in ColumnClass)

#: Columns that an embedding shows, and bins of confidence.
_EMBEDDED, _BINS = 4000, 15

_FEATURE_NAMES = (
    *(f"Z{n}" for n in (0, 2, 4, 6, 8, 10)),
    "metal",
    "chalc.",
    *(f"{block}{shell}" for block in "MXD" for shell in "KLMNOP"),
    "HAADF",
    "MAADF",
    "60",
    "80",
    "100",
)


def draw_all(scored: list[Scored], report: dict[str, Any], folder: Path) -> None:
    """Write every figure into a folder as PNG."""
    draw_reliability(scored).savefig(folder / "reliability.png")
    draw_confidence(scored).savefig(folder / "confidence.png")
    draw_bars(report).savefig(folder / "accuracy-entropy.png")
    draw_dose(report).savefig(folder / "dose.png")
    draw_embeddings(scored).savefig(folder / "umap.png")
    attending = [one for one in scored if isinstance(one.weights.network, AttentionNetwork)]
    if attending:
        draw_attention(attending).savefig(folder / "attention.png")


def draw_reliability(scored: list[Scored]) -> Figure:
    """Accuracy against confidence at the reference noise, every class of every field alike."""
    figure, axes = _panels(len(scored))
    for panel, one in zip(axes, scored, strict=True):
        confidence, right, weight = _confidence(one)
        edges = np.linspace(0, 1, _BINS + 1)
        number = np.clip((confidence * _BINS).astype(int), 0, _BINS - 1)
        total = np.bincount(number, weight, _BINS)
        seen = total > 0
        accuracy = np.bincount(number, weight * right, _BINS)[seen] / total[seen]
        mean = np.bincount(number, weight * confidence, _BINS)[seen] / total[seen]
        panel.plot([0, 1], [0, 1], color="0.7", lw=1)
        panel.bar((edges[:-1] + 0.5 / _BINS)[seen], accuracy, 0.9 / _BINS, color="tab:blue", alpha=0.5)
        panel.plot(mean, accuracy, ".", color="black")
        panel.set(title=one.name, xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    return figure


def draw_confidence(scored: list[Scored]) -> Figure:
    """How often which confidence is given, right and wrong."""
    figure, axes = _panels(len(scored))
    for panel, one in zip(axes, scored, strict=True):
        confidence, right, weight = _confidence(one)
        for is_right, colour in ((True, "tab:blue"), (False, "tab:red")):
            chosen = right == is_right
            panel.hist(
                confidence[chosen],
                bins=40,
                range=(0.2, 1),
                weights=weight[chosen] / weight.sum(),
                color=colour,
                alpha=0.6,
                label="right" if is_right else "wrong",
            )
        panel.set(title=one.name, xlabel="confidence", ylabel="part of columns", yscale="log")
        panel.legend(frameon=False)
    return figure


def draw_bars(report: dict[str, Any]) -> Figure:
    """Test accuracy and posterior entropy of every network at the reference noise."""
    figure = Figure(figsize=(9, 3.5), layout="constrained", dpi=120)
    names = list(report["models"])
    for position, (key, label) in enumerate(
        (("accuracy", "accuracy [%]"), ("entropy_nats", "entropy [nats]"))
    ):
        panel = figure.add_subplot(1, 2, position + 1)
        values = [report["models"][name][key] for name in names]
        panel.bar_label(panel.bar(names, values, color="tab:blue"), fmt="%.3g", fontsize=7)
        panel.set(ylabel=label)
        if key == "accuracy":
            panel.set_ylim(min(60.0, *values), 102)
        panel.tick_params(axis="x", rotation=40)
    return figure


def draw_dose(report: dict[str, Any]) -> Figure:
    """Accuracy against dose."""
    figure = Figure(figsize=(5, 3.5), layout="constrained", dpi=120)
    panel = figure.add_subplot()
    for name, model in report["models"].items():
        bands = model["accuracy_by_dose"]
        panel.plot(list(bands), list(bands.values()), "o-", label=name)
    panel.set(xlabel="dose [e/Å²]", ylabel="accuracy [%]")
    panel.legend(frameon=False, fontsize=7)
    return figure


def draw_embeddings(scored: list[Scored]) -> Figure:
    """UMAP of the moments, and of each network's logits, coloured by class."""
    figure, axes = _panels(len(scored) + 1)
    generator = torch.Generator().manual_seed(0)
    label = scored[0].samples.label
    chosen = torch.multinomial(scored[0].samples.weight, min(_EMBEDDED, len(label)), generator=generator)
    _scatter(axes[0], scored[0].samples.contrast[chosen, :6], label[chosen], "moments")
    for panel, one in zip(axes[1:], scored, strict=True):
        _scatter(panel, one.logits[chosen], one.samples.label[chosen], f"logits of {one.name}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def draw_attention(scored: list[Scored]) -> Figure:
    """Attention among the features in the third layer."""
    figure, axes = _panels(len(scored), edge=5.0)
    for panel, one in zip(axes, scored, strict=True):
        network = one.weights.network
        assert isinstance(network, AttentionNetwork)
        third = network.attention[-1]
        assert isinstance(third, FeatureAttention)
        image = panel.imshow(third.running.numpy(), cmap="magma")
        panel.set_xticks(range(len(_FEATURE_NAMES)), _FEATURE_NAMES, rotation=90, fontsize=5)
        panel.set_yticks(range(len(_FEATURE_NAMES)), _FEATURE_NAMES, fontsize=5)
        panel.set(title=one.name, xlabel=f"looked at ({CONTEXT_FEATURES} of context)", ylabel="feature")
        figure.colorbar(image, ax=panel, shrink=0.7)
    return figure


def _scatter(panel: Axes, rows: Tensor, label: Tensor, title: str) -> None:
    """Embed rows in two dimensions."""
    import umap

    # One process, as a seeded embedding is not reproducible with more.
    points = umap.UMAP(n_neighbors=30, random_state=0, n_jobs=1).fit_transform(rows.float().numpy())
    for number, name in enumerate(_NAMES):
        own = label.numpy() == number
        panel.scatter(points[own, 0], points[own, 1], s=1, label=name)
    panel.set(title=title, xticks=[], yticks=[])


def _panels(count: int, edge: float = 3.0) -> tuple[Figure, list[Axes]]:
    """Panels side by side, at most four in a row."""
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(edge * columns, edge * rows + 0.3), layout="constrained", dpi=120)
    return figure, [figure.add_subplot(rows, columns, k + 1) for k in range(count)]


def _confidence(one: Scored) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Confidence of each column at the reference noise, whether it is right, and its weight."""
    chosen = one.samples.log10_dose >= REFERENCE_DOSE
    confidence, guess = torch.softmax(one.logits[chosen], 1).max(1)
    right = guess == one.samples.label[chosen]
    return confidence.double().numpy(), right.numpy(), one.samples.weight[chosen].double().numpy()
