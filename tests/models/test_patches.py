import math

import numpy as np
import pytest
import torch

from models.patches import cut_patches, disc_map, is_whole, kernel_prefilter, sample_coefficients

HEXAGON = torch.tensor([[10.0, 0.0], [5.0, 75**0.5]])


def test_the_disc_of_an_unsheared_lattice_is_a_circle_of_half_the_patch():
    assert torch.allclose(disc_map(HEXAGON), torch.eye(2) * 10 * math.sqrt(3) / 2, atol=1e-5)


def test_the_disc_passes_the_same_crystal_points_however_the_scan_is_sheared():
    affine = torch.tensor([[1.1, 0.1], [-0.05, 0.95]])
    disc = disc_map(HEXAGON @ affine)
    neighbour = (HEXAGON[0] + HEXAGON[1]) / 3 @ affine
    assert float(torch.linalg.vector_norm(neighbour @ torch.linalg.inv(disc))) == pytest.approx(
        2 / 3, abs=1e-5
    )


@pytest.mark.parametrize(
    ("cycles_per_px", "error"), [(0.0, 2e-3), (0.125, 2e-3), (0.25, 3e-3), (0.3125, 6e-3)]
)
def test_plane_waves_are_sampled_between_pixels(cycles_per_px, error):
    shape = (64, 64)
    column = torch.arange(64.0)
    image = torch.cos(2 * math.pi * cycles_per_px * column + 0.3).expand(shape).contiguous()
    coefficients = torch.fft.irfft2(torch.fft.rfft2(image) * kernel_prefilter(shape, "cpu"), s=shape)
    positions = torch.stack([torch.full((200,), 30.3), torch.linspace(20, 40, 200)], dim=1)
    values = sample_coefficients(coefficients[..., None], positions)[:, 0]
    truth = torch.cos(2 * math.pi * cycles_per_px * positions[:, 1] + 0.3)
    assert float((values - truth).abs().max()) < error


def test_a_patch_shows_the_column_in_its_middle_and_the_neighbours_at_their_distance():
    row, column = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    image = torch.exp(-((row - 31.6) ** 2 + (column - 30.2) ** 2) / 8)
    (patch,) = cut_patches(image, torch.tensor([[31.6, 30.2]]), disc_map(HEXAGON), size=33)
    assert patch.shape == (33, 33)
    assert np.unravel_index(int(patch.argmax()), (33, 33)) == (16, 16)
    assert float(patch[16, 16]) == pytest.approx(1, abs=0.01)
    side = 10 * math.sqrt(3)
    assert float(patch[16, 20]) == pytest.approx(math.exp(-((4 * side / 33) ** 2) / 8), abs=0.01)


def test_columns_nearer_to_the_edge_than_their_disc_are_not_whole():
    positions = torch.tensor([[8.7, 50.0], [8.6, 50.0], [50.0, 90.3], [50.0, 90.4]])
    assert is_whole(positions, disc_map(HEXAGON), (100, 100)).tolist() == [True, False, True, False]
