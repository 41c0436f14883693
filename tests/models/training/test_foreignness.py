import pytest
import torch

from models.foreignness import TAIL
from models.training.foreignness import fit_familiar
from models.training.samples import load_samples


def test_the_tail_scores_above_one_and_what_training_never_saw_scores_far_above(made_up_dataset):
    parts = load_samples(made_up_dataset, "metal")
    familiar, train = fit_familiar(parts["train"], parts["calibration"]), parts["train"]
    contrast, context, _ = train.take(slice(None))
    moments, is_metal = contrast[:, :6], contrast[:, 6] > 0.5
    assert float((familiar.score(moments, is_metal, context) > 1).float().mean()) == pytest.approx(
        TAIL, abs=0.01
    )
    strange = torch.full((3, 6), 8.0)
    assert (familiar.score(strange, torch.tensor([True, False, True]), 100) > 3).all()
