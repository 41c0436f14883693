import numpy as np
import pytest
import torch

from models.frames import frequencies
from models.patch_filter import PatchFilter, learn_filter


@pytest.fixture
def frame(make_honeycomb, draw, rng) -> torch.Tensor:
    truth = make_honeycomb((96, 110), lattice_px=10.0)
    lattice = draw(truth, (96, 110), sigma_px=2.0)
    return torch.from_numpy(lattice + 0.1 * rng.standard_normal((96, 110))).float()


def overlaid_one_by_one(frame: torch.Tensor, filter_: PatchFilter) -> np.ndarray:
    """The filter as its definition has it: every patch projected, overlaps averaged."""
    edge, pixels = filter_.edge, frame.double().numpy()
    components = filter_.components.reshape(-1, edge * edge).double().numpy()
    mean = filter_.mean.double().numpy().ravel()
    total, count = np.zeros(pixels.shape), np.zeros(pixels.shape)
    for row in range(pixels.shape[0] - edge + 1):
        for column in range(pixels.shape[1] - edge + 1):
            here = np.s_[row : row + edge, column : column + edge]
            kept = mean + (components @ (pixels[here].ravel() - mean)) @ components
            total[here] += kept.reshape(edge, edge)
            count[here] += 1
    return total / count


@pytest.mark.parametrize(("edge", "components"), [(9, 5), (16, 12)])
def test_averages_what_components_keep_of_overlapping_patches(frame, edge, components):
    filter_ = learn_filter(frame, edge, components)
    np.testing.assert_allclose(filter_.apply(frame), overlaid_one_by_one(frame, filter_), atol=1e-4)


def test_components_are_those_of_all_patches(frame):
    edge = 8
    patches = frame.unfold(0, edge, 1).unfold(1, edge, 1).reshape(-1, edge * edge).double()
    _, _, rows = torch.linalg.svd(patches - patches.mean(0), full_matrices=False)
    found = learn_filter(frame, edge, 6)
    overlap = torch.linalg.svdvals(rows[:6] @ found.components.reshape(6, -1).double().T)
    torch.testing.assert_close(overlap, torch.ones(6).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.mean.double().ravel(), patches.mean(0), atol=1e-5, rtol=0)


def test_all_components_change_nothing(frame):
    filter_ = learn_filter(frame, 8, 64)
    torch.testing.assert_close(filter_.apply(frame), frame, atol=1e-4, rtol=0)
    assert (filter_.undo(frame) - frame).norm() < 0.01 * frame.norm()


def test_undoing_brings_back_what_was_kept(frame):
    """Also at the edges, where fewer patches overlap."""
    filter_ = learn_filter(frame, 16, 12)
    denoised = filter_.apply(frame)
    found = filter_.undo(denoised)
    low_pass = torch.hypot(*frequencies((96, 110), "cpu")) < 0.15
    wanted, got, before = (
        torch.fft.irfft2(torch.fft.rfft2(one - frame.mean()) * low_pass, s=(96, 110))
        for one in (frame, found, denoised)
    )
    for where in (np.s_[:, :], np.s_[:12, :], np.s_[:, -12:]):
        lost, left = (wanted - before)[where].norm(), (wanted - got)[where].norm()
        assert left < 0.5 * lost
