"""What was not recorded is left out, and what was is not."""

import numpy as np
import pytest

from drivers.contract.errors import InputError
from models.borders import blank_areas, distance_from, recorded_part
from models.cut_off import saturated_part
from models.mending import mend
from models.reading import read_columns

SHAPE = (200, 180)


@pytest.fixture
def image(make_honeycomb, draw, rng):
    truth = make_honeycomb(SHAPE, lattice_px=11.0)
    return rng.poisson(50 + 400 * draw(truth, SHAPE, sigma_px=1.8)).astype(np.float32)


def padded(image, mode):
    return np.pad(image, ((7, 3), (5, 9)), mode=mode)


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
def test_padding_is_no_fault_of_the_scan(image, mode):
    frame = padded(image, mode)
    assert mend(frame).pixels is frame


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_padding_is_left_out_and_columns_are_those_of_the_frame_without(image, mode):
    frame = padded(image, mode)
    assert recorded_part(frame) == (slice(7, 207), slice(5, 185))
    without, found = read_columns(image), read_columns(frame)
    assert found.part == (slice(7, 207), slice(5, 185))
    assert np.allclose(found.lattice.positions.numpy(), without.lattice.positions.numpy() + [7, 5], atol=1e-3)
    assert np.array_equal(found.moments.numpy(), without.moments.numpy())


@pytest.mark.parametrize("reach", [7, 40])
def test_of_a_frame_that_was_wrapped_around_each_line_is_kept_once(image, reach):
    frame = np.pad(image, ((reach, reach), (0, 0)), mode="wrap")
    kept = frame[recorded_part(frame)]
    assert len(np.unique(kept, axis=0)) == len(kept)
    assert len(kept) > 0.9 * len(image)
    assert kept.shape[1] == image.shape[1]


@pytest.mark.parametrize("lattice_px", [8.0, 9.0, 10.0])
def test_an_area_of_one_value_is_blank_to_its_last_pixel(image, lattice_px):
    frame, area = image.copy(), np.zeros(SHAPE, dtype=bool)
    area[50:83, 61:80] = True
    area[120:, 100:] = True
    frame[area] = np.median(image)
    found = blank_areas(frame, lattice_px)
    assert found[area].all()
    assert not (found & ~area & (frame != np.median(image))).any()
    assert found.sum() <= area.sum() + 10


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: frame.__setitem__(0, 0),
        lambda frame: frame.__setitem__(0, 10 * frame[0]),
        lambda frame: frame.__setitem__(slice(0, 3), frame[:3] * np.array([[9], [6], [4]])),
    ],
)
def test_lost_and_bright_lines_at_an_edge_are_left_out(image, spoil):
    for turn in range(4):
        frame = np.rot90(image.copy(), turn)
        spoil(frame)
        rows, columns = recorded_part(frame)
        assert 1 <= rows.start <= 3
        assert rows.stop == frame.shape[0]
        assert columns == slice(0, frame.shape[1])


def test_nothing_is_left_out_of_what_was_recorded(make_honeycomb, draw, rng):
    for angle in (0.0, 30.0, 7.0):  # rows of columns along the edge, too
        for noise in (1e-3, 0.3):  # without any, rows of a lattice along the edge would repeat to the bit
            truth = make_honeycomb(SHAPE, lattice_px=12.0, angle_deg=angle)
            frame = draw(truth, SHAPE, sigma_px=1.5) + rng.normal(0, noise, SHAPE)
            assert recorded_part(frame) == (slice(0, 200), slice(0, 180))
            assert blank_areas(frame, 12.0) is None


def test_what_repeats_itself_everywhere_is_kept_whole(rng):
    tile = rng.normal(0, 1, (40, 40))
    assert recorded_part(np.tile(tile, (4, 4))) == (slice(0, 160), slice(0, 160))
    for times in (2, 3):
        enlarged = np.kron(tile, np.ones((times, times)))
        assert recorded_part(enlarged) == (slice(0, 40 * times), slice(0, 40 * times))
        enlarged[-5:] = 0  # but for padding that was there before
        assert recorded_part(enlarged) == (slice(0, 40 * times - 5), slice(0, 40 * times))


def test_no_column_is_put_into_an_area_of_one_value_nor_counted_whole_beside_it(image):
    row, column = np.indices(SHAPE)
    blank = (row + column < 90) | (np.hypot(row - 140, column - 120) < 25)
    frame = np.where(blank, np.median(image), image)
    found = read_columns(frame)
    assert found.blank == pytest.approx(blank.mean(), rel=0.05)
    inside = distance_from(blank, found.lattice.positions).numpy()
    assert (inside > 0).mean() > 0.99
    assert not found.whole[(inside < 8)].any()
    assert found.whole.sum() > 0.5 * len(inside)


def test_a_line_that_comes_again_is_replaced_and_many_are_told(image):
    frame = image.copy()
    frame[60], frame[120:122] = frame[59], frame[119]
    mended = mend(frame)
    assert "3 scan lines (the first in row 60)" in mended.flags[0].message
    assert np.allclose(mended.pixels[60], (frame[59] + frame[61]) / 2)
    frame[150:170] = frame[149]
    mended = mend(frame)
    assert "20 scan lines (the first in row 150)" in mended.flags[1].message
    assert np.array_equal(mended.pixels[150:170], frame[150:170])
    enlarged = np.kron(image, np.ones((2, 2)))
    assert mend(enlarged).pixels is enlarged


def test_lines_that_come_twice_each_are_halved_and_told(image):
    """As a preview shows them that takes every second line: read as they are, no lattice fits."""
    doubled = np.repeat(image[::2], 2, axis=0)
    mended = mend(doubled)
    assert "lost_rows" in {flag.kind for flag in mended.flags}
    assert np.allclose(mended.pixels[51], (doubled[50] + doubled[52]) / 2)
    assert np.abs(mended.pixels - image)[1:-1].mean() < np.abs(doubled - image)[1:-1].mean()


def test_a_white_bar_below_a_picture_is_no_saturation(image):
    grey = np.round(200 * (image - image.min()) / np.ptp(image))
    below = np.vstack([grey, np.full((40, SHAPE[1]), 255.0)])
    assert saturated_part(below) < 0.01
    with pytest.raises(InputError, match="saturated"):
        saturated_part(np.minimum(grey, np.quantile(grey, 0.6)))
