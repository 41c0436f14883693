"""All six networks: what holds whatever the architecture."""

import pytest
import torch

from drivers.contract.errors import InputError
from models.contexts import context_table
from models.networks.catalogue import NETWORKS, find_recipe


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    contrast = torch.randn(257, 8, generator=generator)
    context = context_table()[torch.randint(576, (257,), generator=generator)]
    return contrast, context


def trained_a_little(name: str, batch) -> torch.nn.Module:
    """The network after some steps, so that running means are not what they started as."""
    torch.manual_seed(0)
    network = find_recipe(name).make()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    label = (batch[0][:, 0] > 0).long()
    for _ in range(5):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(*batch), label).backward()
        optimiser.step()
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_column_does_not_depend_on_its_batch(name, batch):
    network, (contrast, context) = trained_a_little(name, batch), batch
    with torch.no_grad():
        whole = network(contrast, context)
        order = torch.randperm(257, generator=torch.Generator().manual_seed(2))
        permuted = network(contrast[order], context[order])
        split = torch.cat([network(contrast[k : k + 1], context[k : k + 1]) for k in range(257)])
        padding = 100 * torch.ones(50, 8)
        padded = network(torch.cat([contrast, padding]), torch.cat([context, context[:50]]))[:257]
    for other in (permuted[torch.argsort(order)], split, padded):
        torch.testing.assert_close(other, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_five_finite_logits_a_column(name, batch):
    network = trained_a_little(name, batch)
    with torch.no_grad():
        logits = network(*batch)
    assert logits.shape == (257, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_context_is_read_by_all_but_the_one_without(name, batch):
    network, (contrast, context) = trained_a_little(name, batch), batch
    with torch.no_grad():
        same = torch.equal(network(contrast, context), network(contrast, context.flip(0)))
    assert same == (name == "mlp-nocontext")


def test_all_six_take_less_than_a_mebibyte():
    parameters = [p.numel() for r in NETWORKS.values() for p in r.make().state_dict().values()]
    assert 4 * sum(parameters) < 2**20


def test_the_reference_is_twenty_times_larger_than_the_simple_one_and_not_shipped():
    sizes = [
        sum(p.numel() for p in find_recipe(name).make().parameters())
        for name in ("reference-features", "mlp-simple")
    ]
    assert sizes[0] > 20 * sizes[1]
    assert "reference-features" not in NETWORKS


def test_an_unknown_network_is_refused_and_the_known_are_named():
    with pytest.raises(InputError, match="mlp-simple"):
        find_recipe("resnet")
