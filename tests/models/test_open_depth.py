"""What is said of columns where the depth of a frame's defects is open."""

import pytest
import torch

from drivers.contract.context import ColumnClass
from models.open_depth import conclude
from models.scatter import Scatter

#: Standard deviation of each class, over the single vacancy's depth.
SPREAD = 0.25


def make_frame(second, counts=(700, 120, 180), scale=1.0):
    """Logits that say nothing, a scatter, and labels of a chalcogen sublattice whose defects are scaled."""
    label = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    lies = scale * torch.tensor([0.0, 1.0, second])[label]
    depth = lies + SPREAD * torch.randn(len(label), generator=torch.Generator().manual_seed(3))
    even = torch.ones(len(label))
    scatter = Scatter(
        depth=depth,
        centre=0.0 * even,
        spread=SPREAD * even,
        tail=0.02 * even,
        noise=SPREAD * even,
        second=second * even,
        say=0.8 * even,
    )
    logits = torch.tensor([0.0, 0.0, 0.0, -50.0, -50.0]).repeat(len(label), 1)
    return logits, scatter, label


def loss(posterior, label):
    return float(-posterior.probability[torch.arange(len(label)), label].log().mean())


@pytest.mark.parametrize("scale", [0.85, 1.15])
def test_a_frame_whose_defects_lie_elsewhere_is_less_wrong_where_that_is_reckoned_with(scale):
    logits, scatter, label = make_frame(1.4, scale=scale)
    every = torch.ones(len(label), dtype=torch.bool)
    sure, open_ = (conclude(logits.clone(), scatter, every, doubt) for doubt in (0.0, 0.1))
    assert loss(open_, label) < 0.9 * loss(sure, label)


def test_where_classes_lie_far_apart_doubt_of_the_depth_changes_nothing():
    logits, scatter, label = make_frame(3.0)
    every = torch.ones(len(label), dtype=torch.bool)
    sure, open_ = (conclude(logits.clone(), scatter, every, doubt) for doubt in (0.0, 0.03))
    assert (sure.label == open_.label).float().mean() > 0.99
    assert torch.allclose(sure.prior, open_.prior, atol=0.01)


def test_next_to_no_doubt_is_none():
    logits, scatter, label = make_frame(1.4)
    every = torch.ones(len(label), dtype=torch.bool)
    sure, nearly = (conclude(logits.clone(), scatter, every, doubt) for doubt in (0.0, 0.019))
    assert torch.equal(sure.probability, nearly.probability)


def test_no_column_is_a_dopant_where_there_is_none():
    logits, scatter, label = make_frame(1.4)
    every = torch.ones(len(label), dtype=torch.bool)
    made = conclude(logits, scatter, every, 0.1, is_doped=False)
    assert (made.probability[:, ColumnClass.DOPANT] == 0).all()
    assert torch.allclose(made.probability.sum(1), torch.ones(len(label)), atol=1e-5)
