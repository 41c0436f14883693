import io

import numpy as np
import pytest
from PIL import Image

from agent.results.sheet import DPI, Sheet, round_length


@pytest.mark.parametrize(
    ("wish", "length"),
    [(0.199, 0.1), (0.2, 0.2), (4.99, 2), (5, 5), (99, 50)],
    ids=lambda value: f"{value:g}",
)
def test_lengths_of_scale_bars_are_round_and_not_beyond_the_wish(wish, length):
    assert round_length(wish) == pytest.approx(length)


def test_a_bar_is_as_long_as_it_says_and_axes_are_whole_dots():
    sheet = Sheet(3.0, 1.0)
    sheet.bar(0.5, 0.2, 1.25, "2 nm")
    axes = sheet.axes(0.503, 0.401, 1.0, 0.5)
    picture = np.asarray(Image.open(io.BytesIO(sheet.png())).convert("L"))
    assert picture.shape == (DPI, 3 * DPI)
    row = picture[-round(0.22 * DPI), : round(1.78 * DPI)]
    assert (row < 128).sum() == pytest.approx(1.25 * DPI, abs=1)
    extent = axes.get_window_extent().extents
    assert extent == pytest.approx(np.rint(extent), abs=1e-6)
