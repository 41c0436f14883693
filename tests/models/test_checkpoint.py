import json

import pytest
import torch

from drivers.contract.errors import InputError
from models.calibration import Calibration
from models.checkpoint import load_shipped, load_weights, save_weights
from models.contexts import context_table
from models.networks.catalogue import NETWORKS, find_recipe


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    network = find_recipe("mlp-simple").make()
    path = tmp_path / "mlp-simple.safetensors"
    save_weights(
        path,
        "mlp-simple",
        network,
        Calibration(torch.linspace(0.5, 2, 576), torch.tensor([0.4, 0.2])),
        {"seed": 7},
    )
    return path, network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_come_back_as_they_were_written(tmp_path, name):
    network = find_recipe(name).make().eval()
    path = tmp_path / "w.safetensors"
    save_weights(path, name, network, Calibration.none(), {})
    contrast, context = torch.randn(9, 8), context_table()[:9]
    assert torch.equal(load_weights(path).network(contrast, context), network(contrast, context))


def test_the_card_says_how_and_the_network_is_ready_to_use(saved):
    weights = load_weights(saved[0])
    assert weights.card["seed"] == 7
    assert weights.card["network"] == "mlp-simple"
    assert not weights.network.training
    assert torch.equal(weights.calibration.temperature, torch.linspace(0.5, 2, 576))
    assert torch.equal(weights.calibration.power, torch.tensor([0.4, 0.2]))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def alter(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def card_with(**changes):
    def change(path):
        card_path = path.with_suffix(".json")
        card_path.write_text(json.dumps(json.loads(card_path.read_text()) | changes))

    return change


BROKEN = {
    "truncated": (truncate, "not those of their card"),
    "altered": (alter, "not those of their card"),
    "missing": (lambda path: path.unlink(), r"found no \S+\.safetensors; fetch both"),
    "without card": (lambda path: path.with_suffix(".json").unlink(), r"found no \S+\.json; fetch both"),
    "card cut short": (lambda path: path.with_suffix(".json").write_text('{"net'), "card"),
    "card of nothing": (lambda path: path.with_suffix(".json").write_text("[]"), "card"),
    "card deeply nested": (lambda path: path.with_suffix(".json").write_text("[" * 50_000), "card"),
    "a list for a network": (card_with(network=["mlp-simple"]), "no network"),
    "other features": (card_with(features_format=99), "features_format 99"),
    "other contexts": (card_with(contexts=12), "contexts 12"),
    "other network": (card_with(network="mlp-deep"), "do not fit the network 'mlp-deep'"),
    "unknown network": (card_with(network="resnet"), "no network 'resnet'"),
}


@pytest.mark.parametrize(("break_it", "told"), BROKEN.values(), ids=BROKEN)
def test_broken_weights_are_refused_with_the_reason(saved, break_it, told):
    break_it(saved[0])
    with pytest.raises(InputError, match=told):
        load_weights(saved[0])


def test_weights_that_are_not_shipped_are_named_as_such():
    with pytest.raises(InputError, match="no network"):
        load_shipped("resnet")
