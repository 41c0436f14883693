import numpy as np
import pytest
import torch

from models.calibration import Calibration
from models.checkpoint import Weights
from models.networks.catalogue import find_recipe
from models.training.samples import load_all, read_card
from models.training.simulated import compare, figures, is_met, score


class Oracle(torch.nn.Module):
    """Reads the class off the made-up moments: right but for `error` of the columns."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def forward(self, contrast: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        sign = 2 * context[:, 19] - 1  # the detector's sign in the made-up data set
        level = sign * contrast[:, 0] / 1.5 + 1  # 0, 1 or 2: the class modulo three
        metal = contrast[:, 6] > 0.5
        distance = (level[:, None] - torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0])).square()
        other = metal[:, None] != torch.tensor([False, False, False, True, True])
        return -self.scale * distance - 50.0 * other


def weights(name: str, scale: float = 10.0) -> Weights:
    find_recipe(name)
    card = {"network": name, "figures": {"train": {"accuracy_reference": 0.9}}}
    return Weights(Oracle(scale), Calibration.none(), card)


def test_an_oracle_scores_high_and_its_confusion_is_all_but_diagonal(made_up_dataset):
    found = figures(score(weights("mlp-simple"), made_up_dataset))
    assert found["accuracy"] > 97
    assert found["accuracy"] == pytest.approx(found["accuracy_whole_range"])  # all at one dose
    assert all(found["confusion"][k][k] > 0.95 for k in range(5))
    assert found["parameters"] == 1
    assert len(found["worst_contexts"]) == 5
    assert min(found["worst_contexts"].values()) <= found["median_context"]


def test_the_comparison_names_what_has_a_limit(made_up_dataset):
    scored = [score(weights(name), made_up_dataset) for name in ("mlp-nocontext", "mlp-simple", "attn-4k")]
    card = read_card(made_up_dataset) | {"frames": 12, "refused": 3, "misread": 1}
    report = compare(scored, "mlp-simple", card, contaminated=scored[1:])
    assert set(report["models"]) == {"mlp-nocontext", "mlp-simple", "attn-4k"}
    assert report["accuracy_min"] <= report["accuracy_best"]
    assert report["worst_context_accuracy"] <= report["accuracy_best"]
    assert (report["fields_unread"], report["fields_misread"]) == (2, 1)
    assert set(report["met"]) <= set(report["limits"])
    assert set(report["contaminated"]) == {"mlp-simple", "attn-4k"}
    assert report["contaminated"]["attn-4k"]["accuracy"] == report["models"]["attn-4k"]["accuracy"]
    # The flag of the network without context is the brighter sublattice's: the oracle reads it wrongly.
    assert report["models"]["mlp-nocontext"]["accuracy"] < 50


def test_the_gap_is_to_the_larger_network_on_the_same_fields(made_up_dataset):
    card = read_card(made_up_dataset) | {"frames": 12, "refused": 0, "misread": 0}
    default, larger = (score(weights(name), made_up_dataset) for name in ("mlp-simple", "mlp-deep"))
    assert compare([default], "mlp-simple", card, larger)["gap_to_feature_limit"] == pytest.approx(0)
    worse = score(weights("mlp-deep", scale=-10.0), made_up_dataset)  # calls what is least like it
    gap = compare([default], "mlp-simple", card, worse)["gap_to_feature_limit"]
    assert gap == pytest.approx(figures(worse)["accuracy"] - figures(default)["accuracy"])
    assert gap < -50


def test_every_column_of_a_data_set_is_scored(made_up_dataset):
    assert len(load_all(made_up_dataset, "metal")) == 576 * 120


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("accuracy_min", 98.7, True),
        ("accuracy_min", 98.6, False),
        ("ece_max", 0.009, True),
        ("ece_max", 0.02, False),
    ],
)
def test_a_figure_is_held_against_its_limit(name, value, met):
    assert is_met(name, value) == met


def test_the_information_criterion_counts_every_column_once_whatever_they_weigh(made_up_dataset):
    scored = score(weights("mlp-simple"), made_up_dataset)
    assert float(scored.samples.weight.mean()) > 5  # a class of a frame weighs much, and has two columns here
    loss = torch.nn.functional.cross_entropy(scored.logits, scored.samples.label.long())
    count = len(scored.samples)
    assert figures(scored)["bic"] == pytest.approx(np.log(count) + 2 * count * float(loss), rel=1e-3)
