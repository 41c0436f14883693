import pytest
import torch

from drivers.contract.errors import InputError
from models.calibration import Calibration
from models.checkpoint import Weights
from models.networks.catalogue import find_recipe
from models.training.conditions import Ranges
from models.training.pixels import Patches, PatchNetwork, compare, make_patches, train_patches


@pytest.fixture(scope="module")
def patches() -> Patches:
    """Two frames of one context: one to learn from, one for the test."""
    found = make_patches(331, 3, 2)
    return Patches(
        *(torch.cat(values) for values in zip(*(vars(one).values() for one in found), strict=True))
    )


def test_patches_hold_what_moments_are_taken_of(patches):
    assert patches.image.shape[1:] == (16, 16)
    assert patches.is_test.any()
    assert not patches.is_test.all()
    # The first moment is the mean over the disc, which fills 78 % of the patch.
    mean = patches.image.float().mean((1, 2))
    correlation = torch.corrcoef(torch.stack([mean, patches.contrast[:, 0]]))[0, 1]
    assert float(correlation) > 0.8


def test_the_network_learns_classes_from_patches_and_is_compared_on_other_frames(patches):
    network = train_patches(patches.part(~patches.is_test), 80, 0)
    every = Patches(**(vars(patches) | {"is_reference": torch.ones_like(patches.is_test)}))
    weights = Weights(find_recipe("mlp-simple").make().eval(), Calibration.none(), {"network": "mlp-simple"})
    found = compare(network, weights, every)
    assert found["accuracy"] > 60
    assert found["gap"] == pytest.approx(found["accuracy"] - found["default_accuracy"])
    assert found["columns_tested"] == int(patches.is_test.sum())


def test_the_network_reads_context_and_flag():
    network = PatchNetwork().eval()
    image, flag = torch.rand(4, 16, 16), torch.eye(2)[[0, 1, 0, 1]]
    with torch.no_grad():
        plain = network(image, flag, torch.zeros(4, 23))
        assert not torch.allclose(plain, network(image, flag, torch.ones(4, 23)))
        assert not torch.allclose(plain, network(image, 1 - flag, torch.zeros(4, 23)))


def test_nothing_to_test_with_is_said(patches):
    none = Patches(**(vars(patches) | {"is_reference": torch.zeros_like(patches.is_test)}))
    weights = Weights(find_recipe("mlp-simple").make().eval(), Calibration.none(), {"network": "mlp-simple"})
    with pytest.raises(InputError, match="no test frame has the reference noise"):
        compare(PatchNetwork().eval(), weights, none)


def test_frames_that_kernels_cannot_make_are_left_out(monkeypatch):
    monkeypatch.setattr("models.training.pixels._RANGES", Ranges(pixels=128, defocus_angstrom=1e6))
    assert make_patches(330, 3, 2) == []
