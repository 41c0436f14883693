import os
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from agent.results.names import ResultNames, is_own, stems_of
from agent.results.report import report_html
from agent.results.tables import HEADER
from drivers.contract.errors import InputError


def test_files_that_share_a_stem_get_names_of_their_own():
    paths = [Path("a/x.dm4"), Path("a/x.tif"), Path("b/x.dm4"), Path("y.npy"), Path("report.npy")]
    assert stems_of(paths) == ["x_dm4", "x_tif", "x_dm4_2", "y", "report_npy"]
    assert stems_of([Path("report.npy")], joint=False) == ["report"]


def test_a_name_that_is_no_text_gives_a_stem_that_is():
    assert stems_of([Path(os.fsdecode(b"bad\xff.npy"))]) == ["bad_"]


def test_images_of_one_file_leave_the_names_of_other_files_alone(tmp_path):
    scan, plain = Path("scan.h5"), Path("scan_haadf.npy")
    names = ResultNames([scan, plain], tmp_path)
    assert names.stem(plain, "") == "scan_haadf"
    assert [names.stem(scan, label) for label in ("haadf", "MAADF", "maadf")] == [
        "scan_haadf_2",
        "scan_MAADF",
        "scan_maadf_2",
    ]


def test_no_result_takes_the_place_of_an_input(tmp_path):
    paths = [tmp_path / "x.nxs", tmp_path / "scan.h5"]
    with pytest.raises(InputError, match="another --out"):
        ResultNames(paths, tmp_path)
    ResultNames(paths, tmp_path / "maps")
    names = ResultNames([tmp_path / "scan.h5", tmp_path / "scan_a_map.png"], tmp_path)
    with pytest.raises(InputError, match=r"scan_a_map\.png would take the place"):
        names.stem(tmp_path / "scan.h5", "a")


def test_a_link_to_itself_is_left_to_the_reader(tmp_path):
    loop = tmp_path / "loop.npy"
    loop.symlink_to(loop)
    assert ResultNames([loop], tmp_path).stem(loop, "") == "loop"


def test_what_we_wrote_is_known_again(tmp_path):
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", "columnist")
    picture = Image.new("L", (40, 40))
    picture.save(tmp_path / "ours.png", pnginfo=mark)
    picture.save(tmp_path / "theirs.png")
    for name in ("map.nxs", "raw.nxs"):
        (tmp_path / name).touch()
    (tmp_path / "map.csv").write_text(",".join(HEADER) + "\n")
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


def test_the_page_on_all_images_takes_the_place_of_no_input(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(InputError, match=r"report\.html would take the place of an input"):
        ResultNames([tmp_path / "report.html"], tmp_path)


def test_names_that_differ_in_capitals_alone_are_told_apart_by_more():
    stems = stems_of([Path("x/frame.dm4"), Path("y/Frame.dm4"), Path("z/FRAME.tif")])
    assert len({stem.lower() for stem in stems}) == 3
