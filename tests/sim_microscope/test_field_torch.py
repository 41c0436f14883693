import pytest

from drivers.contract.context import HAADF, MAADF
from sim_microscope.field import Raster, render
from sim_microscope.simulate import load_kernels


@pytest.mark.parametrize("detector", [HAADF, MAADF], ids=lambda d: d.name)
def test_torch_makes_the_same_field(detector, make_context, make_doped):
    import torch

    from sim_microscope.field_torch import render_torch

    kernels, crystal, raster = load_kernels(make_context(detector)), make_doped(), Raster((128, 120), 0.3)
    plain = render(crystal, kernels, raster, source_sigma_angstrom=0.35)
    image = render_torch(crystal, kernels, raster, torch.device("cpu"), source_sigma_angstrom=0.35)
    assert (image.numpy() - plain).std() < 1e-3 * plain.std()
