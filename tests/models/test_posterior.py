import math

import pytest
import torch

from drivers.contract.context import HAADF, Context, Specimen
from drivers.contract.errors import InputError
from models.calibration import USUAL_SPREAD, Calibration
from models.checkpoint import Weights
from models.contexts import context_number
from models.networks.catalogue import find_recipe
from models.posterior import (
    averaged,
    entropy_nats,
    infer_posterior,
    learn_prior,
    predict_logits,
)

WSE2 = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
MEANS = torch.tensor([0.0, -3.0, -6.0, 0.0, -4.0])


def frame_of(counts: tuple[int, ...], seed: int = 0, spread: float = 1.0):
    """Logits of columns of one brightness and a known side under equal shares, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.repeat_interleave(torch.arange(5), torch.tensor(counts))
    feature = MEANS[label] + spread * torch.randn(len(label), generator=generator)
    logits = -0.5 * ((feature[:, None] - MEANS) / spread).square()
    other_side = (label >= 3)[:, None] != (torch.arange(5) >= 3)
    return logits.masked_fill(other_side, -50.0), label


@pytest.fixture
def weights() -> Weights:
    torch.manual_seed(0)
    return Weights(find_recipe("mlp-simple").make().eval(), Calibration.none(), {})


@pytest.mark.parametrize("counts", [(950, 40, 10, 990, 10), (600, 300, 100, 700, 300)], ids=["few", "many"])
def test_the_prior_of_a_frame_is_learnt_from_it(counts):
    logits, label = frame_of(counts)
    truth = torch.bincount(label, minlength=5) / len(label)
    assert torch.allclose(learn_prior(logits).float(), truth, atol=0.015)


def test_the_learnt_prior_classifies_better_than_equal_shares():
    logits, label = frame_of((1900, 80, 10, 1990, 10))
    learnt = (infer_posterior(logits).label == label).float().mean()
    equal = (infer_posterior(logits, prior=torch.full((5,), 0.2)).label == label).float().mean()
    assert learnt > equal + 0.01


def test_a_frame_without_defects_gets_a_small_share_of_them_but_not_none():
    prior = learn_prior(frame_of((1000, 0, 0, 1000, 0), spread=0.5)[0])
    assert 0 < float(prior[1]) < 0.004
    assert 0 < float(prior[4]) < 0.001


def test_few_columns_leave_the_shares_near_those_of_other_frames():
    """They count as 20 columns, of the sublattices that the frame shows."""
    prior = learn_prior(frame_of((9, 1, 0, 10, 0), spread=0.1)[0])
    assert float(prior[1]) == pytest.approx((1 + 20 * 0.035 / 2) / 40, rel=0.05)
    assert float(prior[3:].sum()) == pytest.approx(0.5, abs=0.01)
    one_side = learn_prior(frame_of((30, 0, 0, 0, 0), spread=0.1)[0])
    assert float(one_side[3:].sum()) < 0.01


def test_entropy_runs_from_zero_to_log_five():
    rows = torch.tensor([[1.0, 0, 0, 0, 0], [0.2] * 5, [0.5, 0.5, 0, 0, 0]])
    assert entropy_nats(rows).tolist() == pytest.approx([0, math.log(5), math.log(2)])


def test_the_temperature_of_the_context_divides_the_logits(weights):
    contrast = torch.randn(6, 8)
    plain = predict_logits(weights, contrast, WSE2)
    temperature = torch.ones(576)
    temperature[context_number(WSE2)] = 2.0
    hot = Weights(weights.network, Calibration(temperature, torch.zeros(2)), {})
    torch.testing.assert_close(predict_logits(hot, contrast, WSE2), plain / 2)


def test_noisy_surroundings_make_a_column_less_sure_by_the_power_of_its_sublattice(weights):
    contrast = torch.randn(4, 8)
    contrast[:, 6] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    law = Calibration(torch.ones(576), torch.tensor([1.0, 0.5]))
    spread = USUAL_SPREAD * torch.tensor([1.0, 4.0, 1.0, 4.0])
    told = predict_logits(Weights(weights.network, law, {}), contrast, WSE2, spread)
    plain = predict_logits(weights, contrast, WSE2)
    torch.testing.assert_close(told, plain / torch.tensor([1.0, 4.0, 1.0, 2.0])[:, None])


BAD = {
    "empty frame": (torch.zeros(0, 8), "empty frame"),
    "NaN": (torch.tensor([[0.0] * 8, [math.nan] * 8]), "1 of 2 columns with NaN"),
    "infinity": (torch.full((1, 8), math.inf), "finite"),
    "moments alone": (torch.zeros(3, 6), "shape"),
}


@pytest.mark.parametrize(("contrast", "told"), BAD.values(), ids=BAD)
def test_features_that_cannot_be_used_are_refused(weights, contrast, told):
    with pytest.raises(InputError, match=told):
        predict_logits(weights, contrast, WSE2)


def test_an_unknown_context_is_no_reason_to_take_another(weights):
    with pytest.raises(InputError, match="60, 80, 100 keV"):
        predict_logits(
            weights, torch.zeros(1, 8), Context(specimen=WSE2.specimen, energy_kev=300.0, detector=HAADF)
        )


def test_alternatives_are_averaged_with_their_priors_and_the_entropy_is_that_of_the_average():
    surely = [
        infer_posterior(frame_of(counts, seed=1)[0]) for counts in ((90, 10, 0, 90, 10), (60, 40, 0, 95, 5))
    ]
    made = averaged([(0.25, surely[0]), (0.75, surely[1])])
    assert torch.allclose(made.probability, 0.25 * surely[0].probability + 0.75 * surely[1].probability)
    assert torch.allclose(made.prior, 0.25 * surely[0].prior + 0.75 * surely[1].prior)
    assert torch.allclose(made.entropy_nats, entropy_nats(made.probability))
    assert made.prior.sum() == pytest.approx(1.0)
