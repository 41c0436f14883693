"""Frames, and windows read within the last frame of their field."""

import numpy as np
import pytest

from agent.settings import AnalysisSettings
from agent.work import ColumnAnalysis
from drivers.contract.context import HAADF, Context, Specimen
from drivers.contract.errors import InputError
from drivers.contract.header import Simultaneous, Window
from models.analysis import as_settled

PLACE = Window(row_px=60, col_px=50, rows_px=48, cols_px=52)
SETTLED = as_settled(Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF))


@pytest.fixture(scope="module")
def analysis():
    return ColumnAnalysis(AnalysisSettings(threads=1))


@pytest.fixture
def frames(make, monolayer):
    def header_of(shape, window=None):
        plain = make.header_of(1, pixel_size_angstrom=0.234)
        return plain.model_copy(update={"shape": shape, "window": window, "field_shape_px": (160, 160)})

    whole = monolayer()
    part = whole[60:108, 50:102]
    return (whole, header_of((160, 160))), (part, header_of((48, 52), PLACE))


def test_a_window_is_read_within_its_field(analysis, frames):
    analysis.forget()
    (whole, whole_header), (part, part_header) = frames
    known = analysis.run(whole, SETTLED, whole_header).columns
    made = analysis.run(part, SETTLED, part_header)
    assert made.header.frame.shape == (48, 52)
    assert [flag.kind for flag in made.header.flags if flag.kind in ("read_in_field", "padded")] == [
        "read_in_field"
    ]
    columns = made.columns
    assert len(columns) > 12
    assert sum(grain.columns for grain in made.header.grains) == len(columns)
    assert columns["row_px"].min() >= 0
    assert columns["row_px"].max() <= 47
    places = np.stack([columns["row_px"] + 60, columns["col_px"] + 50], axis=1)
    reference = np.stack([known["row_px"], known["col_px"]], axis=1)
    distance = np.linalg.norm(places[:, None] - reference[None], axis=2)
    assert distance.min(axis=1).max() < 1.0
    same = known["sublattice"][distance.argmin(axis=1)] == columns["sublattice"]
    assert same.all()


def test_a_map_names_the_file_that_its_frame_came_from(analysis, frames):
    analysis.forget()
    for number, (pixels, header) in enumerate(frames):
        named = header.model_copy(update={"source": f"scan {number}.dm4"})
        assert analysis.run(pixels, SETTLED, named).header.frame.file == f"scan {number}.dm4"


def test_lost_lines_of_a_field_and_of_a_window_are_mended_before_both_are_laid_together(analysis, frames):
    (whole, whole_header), (part, part_header) = frames
    made = []
    for lost in ([], [20, 21]):
        analysis.forget()
        field, window = np.array(whole), np.array(part)
        field[[line + 30 for line in lost]] = 0
        window[lost] = 0
        analysis.run(field, SETTLED, whole_header)
        made.append(analysis.run(window, SETTLED, part_header))
    kinds = [{flag.kind for flag in one.header.flags} for one in made]
    assert kinds[1] - kinds[0] == {"lost_rows"}
    assert np.array_equal(made[0].columns["cls"], made[1].columns["cls"])
    assert np.allclose(made[0].columns["row_px"], made[1].columns["row_px"], atol=0.5)


def test_what_is_told_of_the_field_around_a_window_says_so(analysis, frames):
    (whole, whole_header), (part, part_header) = frames
    analysis.forget()
    field = whole.copy()
    field[115:155, 5:60] = np.median(field)
    analysis.run(field, SETTLED, whole_header)
    flags = {flag.kind: flag.message for flag in analysis.run(part, SETTLED, part_header).header.flags}
    assert flags["padded"].startswith("in the part of the field that was read around the window: ")


def test_a_saturated_window_is_refused_however_sound_its_field(analysis, frames):
    (whole, whole_header), (part, part_header) = frames
    analysis.forget()
    analysis.run(whole, SETTLED, whole_header)
    with pytest.raises(InputError, match="saturated"):
        analysis.run(np.minimum(part, np.quantile(part, 0.7)), SETTLED, part_header)


def test_without_a_frame_of_its_field_a_window_stands_alone(analysis, frames):
    analysis.forget()
    (whole, whole_header), (part, part_header) = frames
    with pytest.raises(InputError):
        analysis.run(part[:20, :20], SETTLED, part_header)
    analysis.run(whole, SETTLED, whole_header)
    moved = part_header.model_copy(update={"field_of_view_nm": 99.0})
    with pytest.raises(InputError):
        analysis.run(part[:20, :20], SETTLED, moved)


def test_spikes_of_a_small_window_are_mended_and_told_once(analysis, frames):
    (whole, whole_header), (part, part_header) = frames
    analysis.forget()
    analysis.run(whole, SETTLED, whole_header)
    clean = analysis.run(part, SETTLED, part_header)
    spiked = np.array(part)
    spiked[5, 5] = spiked[20, 30] = spiked[33, 12] = 2e4
    made = analysis.run(spiked, SETTLED, part_header)
    assert (made.columns["cls"] == clean.columns["cls"]).all()
    told = [flag.message for flag in made.header.flags if flag.kind == "spikes"]
    assert len(told) == 1
    assert "3 pixels (the first in row 5, column 5)" in told[0]


def test_the_same_frames_in_the_same_order_give_the_same_maps(analysis, frames):
    said = []
    for _ in range(2):
        analysis.forget()
        said.append([analysis.run(pixels, SETTLED, header) for pixels, header in frames])
    for one, other in zip(*said, strict=True):
        assert one.header == other.header
        assert one.columns.tobytes() == other.columns.tobytes()


def test_detectors_of_one_scan_share_what_it_shows_of_the_lattice(analysis, frames):
    analysis.forget()
    (whole, header), _ = frames
    rng = np.random.default_rng(5)
    faint = rng.poisson(0.001 * whole).astype(np.float32)  # shows no lattice by itself
    of = Context(specimen=Specimen(host="MoS2", dopant="V"), energy_kev=80.0, detector=HAADF)
    beside = of.model_copy(update={"detector": HAADF.model_copy(update={"name": "HAADF2"})})

    def of_scan(index, group="scan-1"):
        told = Simultaneous(group=group, index=index, count=2)
        return header.model_copy(update={"simultaneous": told})

    first = analysis.run(whole, as_settled(of), of_scan(0))
    second = analysis.run(faint, as_settled(beside), of_scan(1))
    for name in ("row_px", "col_px", "sublattice", "grain"):
        assert (first.columns[name] == second.columns[name]).all()
    with pytest.raises(InputError):
        analysis.run(faint, as_settled(beside), of_scan(0, "scan-2"))
