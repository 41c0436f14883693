import io

import numpy as np
import pytest
from PIL import Image

from agent.results.pictures import overlay_png, patches_png


@pytest.mark.parametrize("shape", [(64, 64), (48, 100)], ids=["square", "wide"])
def test_the_overlay_is_a_picture_fit_for_print(a_map, shape):
    image = np.random.default_rng(1).normal(size=shape)
    picture = Image.open(io.BytesIO(overlay_png(a_map(), image, "title")))
    assert picture.width >= 1500
    assert np.asarray(picture).std() > 10


def test_the_overlay_names_title_and_context(a_map, monkeypatch):
    told = []
    monkeypatch.setattr("matplotlib.figure.Figure.suptitle", lambda figure, text, **style: told.append(text))
    overlay_png(a_map(), np.random.default_rng(1).normal(size=(64, 64)), "frame 7")
    assert told == ["frame 7: WSe2:Ti, 80 keV, HAADF (68-280 mrad)"]


def test_the_legend_counts_foreign_defects_too(a_map, monkeypatch):
    told = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.legend", lambda axes, **style: told.extend(axes.get_legend_handles_labels()[1])
    )
    overlay_png(a_map((0, 1, 3, 4, 4)), np.random.default_rng(1).normal(size=(64, 64)))
    assert told == ["single vacancy (1)", "double vacancy (0)", "Ti dopant (1 + 1 foreign)", "foreign (1)"]


def test_patches_of_absent_classes_are_left_out():
    patches = {"x2": np.eye(16, dtype=np.float32)}
    assert Image.open(io.BytesIO(patches_png(patches, {"x2": 3}, "WSe2"))).width > 500
