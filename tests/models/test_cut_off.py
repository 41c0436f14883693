"""What the range of a frame's values cuts off is told, and what is so by nature is not."""

import numpy as np
import pytest

from drivers.contract.errors import InputError
from models.cut_off import CutOff, clipped_part, saturated_part
from models.mending import mend

SHAPE = (160, 150)


@pytest.fixture
def image(make_honeycomb, draw, rng):
    return rng.poisson(30 + 300 * draw(make_honeycomb(SHAPE), SHAPE, sigma_px=2.0)).astype(np.float64)


def kinds(cut_off, masked=0.0):
    return [flag.kind for flag in cut_off.flags(masked)]


def test_of_what_was_recorded_whole_there_is_nothing_to_tell(image):
    assert mend(image).cut_off == CutOff(saturated=1 / image.size)
    assert kinds(mend(image).cut_off) == []


@pytest.mark.parametrize("part", [0.01, 0.03, 0.08])
def test_the_part_that_is_saturated_is_told_and_beyond_a_tenth_refused(image, part):
    cut = np.minimum(image, np.quantile(image, 1 - part))
    cut_off = mend(cut).cut_off
    assert cut_off.saturated == pytest.approx(part, rel=0.15)
    assert kinds(cut_off) == ["saturated"]
    assert f"{100 * cut_off.saturated:.1f} % of the pixels" in cut_off.flags(0.0)[0].message
    with pytest.raises(InputError, match=r"1[0-9] % of the pixels at the highest value"):
        mend(np.minimum(image, np.quantile(image, 0.86)))


def test_few_electrons_share_their_highest_count_by_nature(image, rng):
    counts = rng.poisson(2.5 * image / image.mean())
    counts = np.minimum(counts, np.quantile(counts, 0.97))
    assert len(np.unique(counts)) < 16
    assert saturated_part(counts) == 0.0
    assert clipped_part(rng.poisson(0.5 * image / image.mean())) == 0.0


def test_a_bar_of_the_highest_value_does_not_hide_that_the_rest_is_saturated(image):
    cut = np.minimum(image, np.quantile(image, 0.96))
    assert saturated_part(np.vstack([cut, np.full((30, SHAPE[1]), cut.max())])) == pytest.approx(
        0.04, abs=0.01
    )


def test_a_dark_end_that_is_cut_off_is_told_unless_that_is_vacuum(image):
    low = np.quantile(image, 0.3)
    cut_off = mend(np.maximum(image, low)).cut_off
    assert cut_off.clipped == pytest.approx(0.3, abs=0.02)
    assert kinds(cut_off) == ["clipped"]
    assert "30 % of the pixels" in cut_off.flags(0.0)[0].message
    assert kinds(cut_off, masked=0.1) == ["clipped"]
    assert kinds(cut_off, masked=0.3) == []


def test_overflow_is_told_of_the_frame_as_recorded_though_mending_has_widened_it(image):
    """Counts wrapped around at 2^16 look like defects of the brightest columns."""
    scaled = image * 66500 / np.sort(image.ravel())[-60]
    wrapped = np.round(scaled).astype(np.int64).astype(np.uint16)
    wrapped[70] = 0  # a lost line, so that the frame is mended
    mended = mend(wrapped)
    assert mended.pixels.dtype != wrapped.dtype
    assert 0 < mended.cut_off.overflowed < 0.005
    assert "overflowed" in kinds(mended.cut_off)
