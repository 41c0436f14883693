import os
from pathlib import Path

import pytest

from agent.results.names import ResultNames, stems_of
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


def test_the_page_on_all_images_takes_the_place_of_no_input(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(InputError, match=r"report\.html would take the place of an input"):
        ResultNames([tmp_path / "report.html"], tmp_path)


def test_names_that_differ_in_capitals_alone_are_told_apart_by_more():
    stems = stems_of([Path("x/frame.dm4"), Path("y/Frame.dm4"), Path("z/FRAME.tif")])
    assert len({stem.lower() for stem in stems}) == 3
