import io

import numpy as np
import pytest
from PIL import Image

from agent.results.pictures import overlay_png, patches_png
from drivers.contract.maps import DefectMap


@pytest.fixture
def told(monkeypatch):
    """What is written onto figures."""
    texts = []
    write = "matplotlib.figure.Figure.text"
    monkeypatch.setattr(write, lambda figure, left, bottom, text, **style: texts.append(text))
    return texts


def pixels_of(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


def moved(defect_map: DefectMap, row_px: float, col_px: float) -> DefectMap:
    columns = defect_map.columns.copy()
    columns["row_px"], columns["col_px"], columns["flags"] = row_px, col_px, 0
    return DefectMap(defect_map.header, columns)


@pytest.mark.parametrize("shape", [(64, 64), (48, 100)], ids=["square", "wide"])
def test_the_overlay_is_a_picture_fit_for_print(a_map, shape):
    picture = pixels_of(overlay_png(a_map(), noise(*shape), "title"))
    assert picture.shape[1] >= 1500
    assert picture.std() > 10


@pytest.mark.parametrize("shape", [(12, 700), (700, 12)], ids=["wide", "tall"])
def test_strips_leave_room_for_the_legends(a_map, shape):
    picture = pixels_of(overlay_png(a_map(), noise(*shape)))
    assert picture.shape[0] >= 250
    assert picture.shape[1] >= 1300


def test_the_overlay_names_title_context_panels_and_both_scales(a_map, told):
    overlay_png(a_map(), noise(64, 64), "frame 7")
    assert told[0] == "frame 7: WSe2:Ti, 80 keV, HAADF (68-280 mrad)"
    assert [text for text in told if text in ("(a)", "(b)", "0.5 nm")] == ["(a)", "0.5 nm", "(b)", "0.5 nm"]


def test_a_long_title_goes_on_below(a_map, told):
    overlay_png(a_map(), noise(64, 64), "a name of a file " * 20)
    assert told[0].count("\n") >= 1


@pytest.mark.parametrize("place", [(60, 3), (63, 6), (63, 63), (0, 0)], ids=str)
def test_a_ring_is_as_whole_in_a_corner_as_in_the_middle(a_map, place):
    def blue(row_px: float, col_px: float) -> int:
        picture = pixels_of(overlay_png(moved(a_map((1,)), row_px, col_px), np.zeros((64, 64))))
        return int((np.abs(picture - (86, 180, 233)).sum(2) < 30).sum())

    assert blue(*place) == pytest.approx(blue(32, 32), rel=0.15)


def test_pixels_of_the_frame_are_squares_of_one_size(a_map):
    image = np.indices((64, 64)).sum(0) % 2
    picture = pixels_of(overlay_png(moved(a_map((0,)), 32, 32), image))[:, :, 0]
    line = picture[picture.shape[0] // 2, 200:900]
    runs = np.diff(np.flatnonzero(np.diff(line)))
    assert set(runs) == {18}


def test_a_sure_column_stands_off_where_no_lattice_is_claimed(a_map):
    picture = pixels_of(overlay_png(moved(a_map((0,)), 32, 32), noise(64, 64)))
    right = picture[200:1000, 1300:2300].reshape(-1, 3)
    assert {tuple(colour) for colour in right} >= {(255, 255, 255), (0xC4, 0xC4, 0xC4)}
    assert (right == 255).all(1).mean() > 0.99


def test_the_legend_counts_foreign_defects_too(a_map, monkeypatch):
    told = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.legend", lambda axes, **style: told.extend(axes.get_legend_handles_labels()[1])
    )
    overlay_png(a_map((0, 1, 3, 4, 4)), noise(64, 64))
    assert told == ["single vacancy (1)", "double vacancy (0)", "Ti dopant (1 + 1 foreign)", "foreign (1)"]


def test_patches_are_called_and_counted_as_in_the_overlay(a_map, told):
    patches = {"x2": np.eye(16, dtype=np.float32), "metal": np.ones((16, 16), np.float32)}
    patches_png(patches, {"x2": 3, "metal": 1}, a_map((0, 0, 0, 0, 1, 3)).header)
    assert [text for text in told if ":" in text] == [
        "X2:\nmean of 3 of 4",
        "single vacancy:\nnone of 1 averaged",
        "double vacancy:\nnone",
        "metal:\nmean of 1 of 1",
        "Ti dopant:\nnone",
    ]
    assert told.count("2 Å") == 2


@pytest.mark.parametrize("names", [("x2",), ("x2", "vac1", "vac2", "metal", "dopant"), ()], ids=len)
def test_boxes_of_patches_are_equal_squares(a_map, names, monkeypatch):
    boxes = []
    monkeypatch.setattr("agent.results.sheet.Sheet.png", lambda sheet: boxes.extend(sheet.figure.axes))
    patches = {name: np.eye(16, dtype=np.float32) for name in names}
    patches_png(patches, dict.fromkeys(names, 1), a_map().header)
    sizes = [box.get_window_extent().size for box in boxes[:5]]
    assert np.allclose(sizes, sizes[0][0])
    assert len({box.get_position().y0 for box in boxes[:5]}) == 1
