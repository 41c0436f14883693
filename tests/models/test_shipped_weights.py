from importlib.resources import files
from pathlib import Path

import pytest
import torch

from drivers.contract.context import HAADF, Context, Specimen
from models.checkpoint import load_shipped
from models.foreignness import load_shipped_familiar, score_foreignness
from models.networks.catalogue import NETWORKS
from models.posterior import infer_posterior, predict_logits

FOLDER = Path(str(files("models") / "weights"))
WSE2 = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
SHIPPED = [name for name in NETWORKS if (FOLDER / f"{name}.safetensors").is_file()]


def test_all_six_are_shipped_and_small():
    assert list(NETWORKS) == SHIPPED
    assert sum(path.stat().st_size for path in FOLDER.glob("*.safetensors")) < 2**20


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_load_and_their_card_says_on_how_much_they_were_trained(name):
    card = load_shipped(name).card
    assert card["data"]["columns"] > 1e7
    assert card["epochs"] * 0.8 * card["data"]["columns"] > 3e7  # columns that the network saw
    assert card["figures"]["test"]["ece"] < 0.01


def test_context_doubles_what_is_known():
    figures = {name: load_shipped(name).card["figures"]["test"] for name in SHIPPED}
    assert figures["mlp-simple"]["accuracy"] > 0.97
    assert figures["mlp-simple"]["accuracy"] > figures["mlp-nocontext"]["accuracy"] + 0.2
    assert figures["mlp-simple"]["entropy_nats"] < 0.2 * figures["mlp-nocontext"]["entropy_nats"]


def test_what_lies_far_from_every_class_is_foreign_and_its_classes_still_probabilities():
    contrast = torch.tensor([[4.0] * 6 + [1.0, 0.0], [-20.0] * 6 + [0.0, 1.0]])
    probability = infer_posterior(predict_logits(load_shipped("mlp-simple"), contrast, WSE2)).probability
    assert probability.sum(1).tolist() == pytest.approx([1, 1])
    assert (score_foreignness(load_shipped_familiar(), contrast, WSE2) > 2).all()
