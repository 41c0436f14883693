import math

import pytest
import torch

from models.patches import cut_patches, kernel_taps
from models.zernike import ORDERS, radial_polynomial, table_entry, zernike_moments


def test_the_polynomials_are_orthonormal_over_the_disc():
    edge = (torch.arange(800) + 0.5) / 400 - 1
    radius = torch.hypot(edge[:, None], edge[None, :]).double()
    basis = torch.stack([radial_polynomial(n, radius) for n in ORDERS]).flatten(1)
    gram = basis @ basis.T * (2 / 800) ** 2 / math.pi
    assert torch.allclose(gram, torch.eye(len(ORDERS), dtype=gram.dtype), atol=0.01)


def test_a_constant_has_the_moments_one_and_zero_even_on_a_disc_of_fourteen_pixels():
    moments = zernike_moments(
        torch.ones(64, 64),
        kernel_taps((64, 64), torch.tensor([[30.3, 31.9]])),
        table_entry((64, 64), torch.eye(2) * 7.0, "cpu"),
    )
    assert torch.allclose(moments[0], torch.tensor([1.0, 0, 0, 0, 0, 0]), atol=3e-3)


@pytest.mark.parametrize("sheared", [False, True], ids=["round", "sheared"])
def test_moments_are_those_of_a_finely_resampled_patch(rng, sheared):
    image = torch.nn.functional.interpolate(
        torch.tensor(rng.normal(size=(1, 1, 24, 24))).float(), size=(96, 96), mode="bicubic"
    )[0, 0]
    disc = torch.tensor([[14.0, 1.5], [1.5, 12.0]]) if sheared else torch.eye(2) * 13.0
    positions = torch.tensor(rng.uniform(30, 66, (20, 2))).float()
    size = 160
    patches = cut_patches(image, positions, disc, size)
    edge = (torch.arange(size) + 0.5) * 2 / size - 1
    radius = torch.hypot(edge[:, None], edge[None, :])
    kernels = torch.stack([radial_polynomial(n, radius) for n in ORDERS]) * (2 / size) ** 2 / math.pi
    expected = torch.einsum("sij,nij->sn", patches, kernels)
    moments = zernike_moments(image, kernel_taps((96, 96), positions), table_entry((96, 96), disc, "cpu"))
    assert torch.allclose(moments, expected, atol=0.01)
