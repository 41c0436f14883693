import pytest
import torch

from models.foreignness import TAIL
from models.training.foreignness import fit_familiar
from models.training.samples import load_samples


def test_the_tail_scores_above_one_and_what_training_never_saw_scores_far_above(made_up_dataset):
    parts = load_samples(made_up_dataset, "metal")
    familiar = fit_familiar(parts["train"], parts["calibration"])
    for part, tolerance in (("calibration", 0.02), ("test", 0.3)):  # held for the scale, and never seen
        contrast, context, _ = parts[part].take(slice(None))
        scores = familiar.score(contrast[:, :6], contrast[:, 6] > 0.5, context)
        assert float((scores > 1).float().mean()) == pytest.approx(TAIL, rel=tolerance)
    strange = torch.full((3, 6), 8.0)
    assert (familiar.score(strange, torch.tensor([True, False, True]), 100) > 3).all()
