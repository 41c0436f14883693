from dataclasses import replace

import numpy as np
import pytest

from drivers.contract.context import HAADF, MAADF
from sim_microscope.field import Raster, render
from sim_microscope.motif_images import motif_images
from sim_microscope.motifs import all_motifs, motif_crystal
from sim_microscope.simulate import load_kernels


@pytest.mark.parametrize("detector", [HAADF, MAADF], ids=lambda d: d.name)
def test_motif_images_are_cut_from_fields(detector, make_context):
    kernels = load_kernels(make_context(detector))
    images = motif_images(kernels, size=12)
    assert images.shape == (34, 12, 12)
    edge = np.sqrt(3) * 3.32
    step = edge / 12
    for motif, image in zip(all_motifs(), images, strict=True):
        crystal, cell = motif_crystal(kernels.context.specimen, motif, repeats=12)
        center = crystal.positions[0]
        fractional = (crystal.positions - center) @ np.linalg.inv(cell)
        around = replace(crystal, positions=(fractional - np.round(fractional)) @ cell)
        raster = Raster((12, 12), step, (step / 2 - edge / 2, step / 2 - edge / 2))
        field = render(around, kernels, raster)
        assert (image - field).std() < 0.01 * field.std(), motif.name
