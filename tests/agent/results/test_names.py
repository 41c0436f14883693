from pathlib import Path

import pytest

from agent.results.names import check_inputs_are_kept, stems_of
from drivers.contract.errors import InputError


def test_files_that_share_a_stem_get_names_of_their_own():
    paths = [Path("a/x.dm4"), Path("a/x.tif"), Path("b/x.dm4"), Path("y.npy")]
    assert stems_of(paths) == ["x_dm4", "x_tif", "x_dm4_2", "y"]


def test_no_result_takes_the_place_of_an_input(tmp_path):
    path = tmp_path / "x.nxs"
    with pytest.raises(InputError, match="another --out"):
        check_inputs_are_kept([path], ["x"], tmp_path)
    check_inputs_are_kept([path], ["x"], tmp_path / "maps")
