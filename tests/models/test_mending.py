import numpy as np
import pytest

from models.mending import mend

KINDS = ["uint8", "uint16", "int32", "float32", "float64"]


@pytest.fixture
def image(make_honeycomb, draw, rng):
    shape = (128, 140)
    return 20 + rng.poisson(60 * draw(make_honeycomb(shape), shape, sigma_px=2.0))


def kinds(mended):
    return [flag.kind for flag in mended.flags]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, 255], ids=["zero", "saturated"])
def test_lost_lines_become_what_is_between_their_neighbours(image, kind, value):
    given = image.astype(kind)
    given[[30, 70, 71, 72]] = value
    before = given.copy()
    mended = mend(given)
    assert kinds(mended) == ["lost_rows"]
    assert "4 scan lines (the first in row 30)" in mended.flags[0].message
    assert np.array_equal(given, before)
    assert np.array_equal(
        np.delete(mended.pixels, [30, 70, 71, 72], 0), np.delete(image, [30, 70, 71, 72], 0)
    )
    assert np.allclose(mended.pixels[30], (image[29] + image[31]) / 2, rtol=1e-6)
    assert np.allclose(mended.pixels[70], 0.75 * image[69] + 0.25 * image[73], rtol=1e-6)
    assert np.allclose(mended.pixels[71], (image[69] + image[73]) / 2, rtol=1e-6)


def test_a_lost_line_of_a_frame_of_few_electrons_is_told_from_vacuum(make_honeycomb, draw, rng):
    shape = (256, 256)
    rate = 1.5 * draw(make_honeycomb(shape, lattice_px=16), shape, sigma_px=2.0)
    rate[150:] = 0.002
    counts = rng.poisson(rate)
    assert mend(counts).pixels is counts
    assert (counts[150:] == 0).all(axis=1).any()
    counts[60] = 0
    assert "1 scan line (the first in row 60)" in mend(counts).flags[0].message


LEFT_ALONE = {
    "whole": lambda image: image,
    "four lines": lambda image: image.__setitem__(slice(40, 44), 0),
    "border": lambda image: image.__setitem__(slice(0, 2), 0),
    "border below": lambda image: image.__setitem__(slice(-3, None), 0),
    "border at the side": lambda image: image.__setitem__((slice(None), slice(0, 40)), 0),
    "part of a line": lambda image: image.__setitem__((50, slice(0, 100)), 0),
    "a bright patch": lambda image: image.__setitem__((slice(50, 52), slice(50, 52)), 60000),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_what_is_no_fault_of_the_scan_stays_to_the_bit(image, name, kind):
    given = image.astype(kind)
    LEFT_ALONE[name](given)
    mended = mend(given)
    assert mended.pixels is given
    assert mended.flags == ()


@pytest.mark.parametrize("factor", [30, 300])
@pytest.mark.parametrize("kind", ["uint16", "float32", "float64"])
def test_spikes_become_the_median_of_their_neighbours(image, factor, kind):
    given = image.astype(kind)
    places = [(0, 0), (5, 139), (33, 60), (127, 70)]
    for place in places:
        given[place] = factor * image.max()
    mended = mend(given)
    assert kinds(mended) == ["spikes"]
    assert "4 pixels (the first in row 0, column 0)" in mended.flags[0].message
    assert mended.pixels[33, 60] == np.median(np.delete(image[32:35, 59:62].ravel(), 4))
    assert mended.pixels.max() == pytest.approx(image.max(), rel=0.2)
    for place in places:
        given[place] = mended.pixels[place] = 0
    assert np.array_equal(mended.pixels, given)


@pytest.mark.parametrize("electrons", [0.003, 0.02, 0.1, 0.5, 3.0])
@pytest.mark.parametrize("detector", ["counts", "pulses"])
def test_bright_pixels_of_a_faint_frame_are_no_spikes(make_honeycomb, draw, rng, electrons, detector):
    shape = (256, 256)
    rate = draw(make_honeycomb(shape), shape, sigma_px=2.0)
    counts = rng.poisson(rate * electrons / rate.mean())
    given = counts if detector == "counts" else rng.gamma(np.maximum(counts, 1e-9)) * (counts > 0)
    assert mend(given).pixels is given


def test_spikes_and_lost_lines_of_one_frame_are_both_mended(image):
    given = image.astype(float)
    given[64] = 0
    given[30, 50] = given[65, 50] = 1e5
    mended = mend(given)
    assert kinds(mended) == ["spikes", "lost_rows"]
    assert mended.pixels[64].min() >= 20
    assert mended.pixels.max() < 2 * image.max()


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_pixels_stay_for_the_reader_to_refuse(image, value):
    given = image.astype(float)
    given[64] = given[3, 3] = value
    assert mend(given).pixels is given


@pytest.mark.parametrize("shape", [(0, 0), (2, 40), (40,), (40, 40, 3)])
def test_what_is_no_image_is_returned(shape):
    given = np.zeros(shape)
    assert mend(given).pixels is given


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_pixels_that_are_no_numbers_become_the_median_of_their_neighbours(image, kind):
    given = image.astype(kind)
    given[40, 50] = given[0, 0] = np.nan
    given[60:62, 80:82] = np.nan
    given[:, 100] = np.nan
    before = given.copy()
    mended = mend(given)
    assert kinds(mended) == ["lost_pixels"]
    assert (
        f"{5 + len(image) + 1} pixels of no value (NaN; the first in row 0, column 0)"
        in mended.flags[0].message
    )
    assert np.array_equal(given, before, equal_nan=True)
    around = np.delete(image[39:42, 49:52].ravel(), 4)
    assert mended.pixels[40, 50] == np.median(around)
    known = np.isfinite(given)
    assert np.array_equal(mended.pixels[known], given[known])
    assert mended.pixels[~known].min() >= image.min()
    assert mended.pixels[~known].max() <= image.max()


def test_areas_that_are_no_numbers_are_left_to_be_refused(image):
    given = image.astype(np.float32)
    given[40:46, 50:56] = np.nan
    given[100, 100] = np.nan
    assert mend(given).pixels is given
    assert mend(np.full((64, 64), np.nan)).flags == ()


def test_a_spike_beside_a_lost_pixel_is_mended_too(image):
    given = image.astype(np.float64)
    given[40, 50], given[90, 20] = np.nan, 1e6
    mended = mend(given)
    assert kinds(mended) == ["lost_pixels", "spikes"]
    assert np.isfinite(mended.pixels).all()
    assert mended.pixels.max() == image.max()


@pytest.mark.parametrize(("times", "is_spike"), [(7, False), (14, True)])
def test_a_spike_stands_ten_times_as_far_above_the_median_as_the_brightest(image, times, is_spike):
    given = image.astype(float)
    median, bright = np.median(given), np.quantile(given, 0.995)
    given[40, 60] = median + times * (bright - median)
    assert kinds(mend(given)) == (["spikes"] if is_spike else [])


def test_five_spikes_of_a_small_window_are_not_its_brightest_pixels(image):
    given = image[:48, :40].astype(float)
    given[[5, 12, 20, 33, 40], [7, 30, 15, 22, 9]] = 1e5
    mended = mend(given)
    assert "5 pixels" in mended.flags[0].message
    assert mended.pixels.max() == image[:48, :40].max()


def test_a_spike_among_the_few_pixels_that_electrons_have_reached_is_one(rng):
    given = (rng.random((64, 64)) < 0.005).astype(float)
    given[20, 30] = 1000.0
    assert kinds(mend(given)) == ["spikes"]


def test_what_stands_in_the_same_columns_of_pixels_again_and_again_is_no_spike(rng):
    given = rng.normal(100, 1, (512, 512))
    given[4::8, 4::8] = 300
    assert mend(given).pixels is given


def test_lines_that_repeat_the_outermost_ones_are_padding_and_stay(image):
    for mode in ("edge", "symmetric"):
        given = np.pad(image, ((2, 2), (0, 0)), mode=mode).astype(float)
        assert mend(given).pixels is given
