import os

import pytest
from PIL import Image, PngImagePlugin

from agent.results.report import report_html
from drivers.own_results import TABLE_HEADER, is_own


def test_what_we_wrote_is_known_again(tmp_path):
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", "columnist")
    picture = Image.new("L", (40, 40))
    picture.save(tmp_path / "ours.png", pnginfo=mark)
    picture.save(tmp_path / "theirs.png")
    for name in ("map.nxs", "raw.nxs"):
        (tmp_path / name).touch()
    (tmp_path / "map.csv").write_text(",".join(TABLE_HEADER) + "\n")
    (tmp_path / "raw.csv").write_text("x,y\n")
    (tmp_path / "ours.html").write_text(report_html("x", []))
    (tmp_path / "theirs.html").write_text("<title>x</title>")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name for name in names if is_own(tmp_path / name)] == ["map.nxs", "ours.html", "ours.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_none_of_ours_and_is_not_waited_for(tmp_path):
    for name in ("a.png", "b.csv"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "b.nxs").touch()
    assert not is_own(tmp_path / "a.png")
    assert not is_own(tmp_path / "b.nxs")
