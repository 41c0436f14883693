import numpy as np
import pytest
import torch

from drivers.contract.errors import InputError
from models.frames import at_nearest, blur, middle_of, sample_bilinear, standardise


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.full((64, 64), 3.0), "constant 3"),
        (np.full((64, 64), np.nan), "4096 of 4096 pixels that are NaN"),
        (np.where(np.eye(64) > 0, np.inf, np.arange(64.0)), "64 of 4096 pixels"),
        (np.zeros((0, 0)), "at least 32 x 32 pixels, found 0 x 0"),
        (np.random.default_rng(0).random((16, 300)), "found 16 x 300"),
        (np.zeros((64, 64, 3)), r"found shape \(64, 64, 3\)"),
        (np.zeros((64, 64), dtype=complex), "real intensities, found values of type complex128"),
    ],
    ids=["constant", "all NaN", "some infinite", "empty", "tiny", "colour", "complex"],
)
def test_a_frame_that_cannot_be_used_says_what_was_found_and_how_to_mend_it(image, says):
    with pytest.raises(InputError, match=says) as caught:
        standardise(image)
    assert ";" in str(caught.value)


def test_gain_and_offset_end_at_the_door(rng):
    image = rng.normal(size=(64, 80)).astype(np.float32)
    plain = standardise(image)
    changed = standardise(image.astype(np.float64) * 731.0 + 1e5)
    assert torch.allclose(plain, changed, atol=1e-5)
    assert abs(float(plain.mean())) < 1e-5
    assert float(plain.square().mean()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("gain", "offset"),
    [(1.0, 1e7), (1e25, 0.0), (1e-30, 0.0), (1e-30, 1e-25), (1e306, 1e308)],
    ids=str,
)
def test_no_gain_is_too_large_and_no_offset(rng, gain, offset):
    image = rng.normal(size=(64, 80))
    assert torch.allclose(standardise(image * gain + offset), standardise(image), atol=1e-4)


@pytest.mark.parametrize("value", [0.1, 1e30, 1e-30, 7])
def test_a_constant_of_any_size_is_told(value):
    with pytest.raises(InputError, match="constant"):
        standardise(np.full((64, 65), value))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.float32, np.float64])
def test_every_real_type_of_pixel_is_read_alike(rng, dtype):
    image = rng.integers(0, 100, size=(48, 48))
    assert torch.allclose(standardise(image.astype(dtype)), standardise(image), atol=1e-6)


def test_the_frame_is_not_modified(rng):
    image = rng.normal(size=(48, 48))
    before = image.copy()
    standardise(image)
    assert np.array_equal(image, before)


def test_bilinear_samples_are_exact_on_a_plane():
    row, column = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    positions = torch.tensor([[0.0, 0.0], [3.25, 7.5], [18.9, 28.1]])
    values = sample_bilinear(2 * row - column, positions)
    assert torch.allclose(values, 2 * positions[:, 0] - positions[:, 1], atol=1e-4)


def test_blurring_a_point_gives_the_gaussian():
    image = torch.zeros(64, 64)
    image[32, 32] = 1
    blurred = blur(image, 3.0)
    assert float(blurred[32, 32]) == pytest.approx(1 / (2 * np.pi * 9), rel=1e-3)
    assert float(blurred[32, 35] / blurred[32, 32]) == pytest.approx(np.exp(-0.5), rel=1e-3)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20)], ids=str)
def test_the_nearest_pixel_is_that_of_a_plane_and_beyond_an_edge_that_of_the_edge(shape):
    row, column = torch.meshgrid(*(torch.arange(float(edge)) for edge in shape), indexing="ij")
    plane = 100 * row + column
    positions = torch.tensor([[3.4, 7.6], [19.4, 12.0], [-5.0, 4.0], [6.0, 99.0], [99.0, -1.0]])
    last_row, last_column = shape[0] - 1, shape[1] - 1
    expected = [308, 1912, 4, 600 + last_column, 100 * last_row]
    assert at_nearest(plane, positions).tolist() == expected


@pytest.mark.parametrize("shape", [(20, 31), (7, 64), (9, 9)], ids=str)
def test_the_middle_of_a_frame_has_as_much_on_either_side(shape):
    row, column = torch.meshgrid(*(torch.arange(float(edge)) for edge in shape), indexing="ij")
    for axis, place in enumerate((row, column)):
        middle = middle_of(place, 10)
        assert middle.shape == tuple(min(edge, 10) for edge in shape)
        assert abs(float(middle.mean()) - (shape[axis] - 1) / 2) <= 0.5
