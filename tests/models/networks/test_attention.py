import torch

from models.networks.attention import MOMENTUM, FeatureAttention


def test_attention_in_training_is_softmax_of_the_mean_product_of_queries_and_keys():
    torch.manual_seed(0)
    layer, features = FeatureAttention(), torch.randn(64, 31)
    query, key = layer.query(features), layer.key(features)
    scores = torch.einsum("bi,bj->ij", query, key) / 64 / 31**0.5
    expected = layer.value(features) @ torch.softmax(scores, dim=1).T
    torch.testing.assert_close(layer(features), expected)


def test_the_running_attention_approaches_that_of_the_batches():
    torch.manual_seed(0)
    layer, features = FeatureAttention(), torch.randn(64, 31)
    start = layer.running.clone()
    layer(features)
    first = (layer.running - start) / MOMENTUM + start
    for _ in range(200):
        layer(features)
    torch.testing.assert_close(layer.running, first, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layer.running.sum(1), torch.ones(31))


def test_evaluation_leaves_the_running_attention_alone():
    layer = FeatureAttention().eval()
    before = layer.running.clone()
    layer(torch.randn(8, 31))
    assert torch.equal(layer.running, before)
