import pytest
import torch

from drivers.contract.context import DETECTORS, Context, Specimen
from models.encoding import encode_contrast
from models.scatter import pool_scatter
from models.templates import find_templates

WSE2 = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=DETECTORS["MAADF"])


def frame(spread, *, count=600, last=0.9):
    """A chalcogen sublattice of whole columns with a given spread, and one column at a given depth."""
    templates, rng = find_templates(WSE2), torch.Generator().manual_seed(2)
    depth = spread * torch.randn(count, generator=rng, dtype=torch.float64)
    depth[-1] = last
    common = templates.common
    moments = templates.whole[common, 0] + depth[:, None] * templates.first[common, 0]
    return encode_contrast(moments.float(), torch.zeros(count, dtype=torch.bool)), templates


def vacancy_odds(logits):
    return float(logits[-1, 1] - logits[-1, 0])


@pytest.fixture
def undecided():
    return torch.zeros(600, 5)


def test_the_same_column_is_a_vacancy_in_a_quiet_frame_and_less_so_in_a_noisy_one(undecided):
    every = torch.ones(600, dtype=torch.bool)
    odds = [vacancy_odds(pool_scatter(undecided, frame(s)[0], every, frame(s)[1])) for s in (0.05, 0.15, 0.3)]
    assert odds[0] > odds[1] > odds[2] > 0


def test_the_evidence_of_the_three_classes_together_stays_the_networks(undecided):
    contrast, templates = frame(0.1)
    logits = undecided + torch.tensor([1.0, -1.0, 0.5, 3.0, -2.0])
    pooled = pool_scatter(logits, contrast, torch.ones(600, dtype=torch.bool), templates)
    assert torch.allclose(pooled[:, :3].logsumexp(1), logits[:, :3].logsumexp(1), atol=1e-5)
    assert torch.equal(pooled[:, 3:], logits[:, 3:])


def test_a_frame_of_few_columns_does_not_tell(undecided):
    contrast, templates = frame(0.1)
    few = torch.arange(600) < 50
    assert torch.equal(pool_scatter(undecided, contrast, few, templates), undecided)


def test_metal_columns_are_left_to_the_network(undecided):
    contrast, templates = frame(0.1)
    on_metal = encode_contrast(contrast[:, :6], torch.ones(600, dtype=torch.bool))
    both, every = torch.cat([contrast, on_metal]), torch.ones(1200, dtype=torch.bool)
    pooled = pool_scatter(torch.zeros(1200, 5), both, every, templates)
    assert torch.equal(pooled[600:], torch.zeros(600, 5))
