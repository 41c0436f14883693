import asyncio
import io
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from agent.console import show
from agent.console_picture import DEFECT_COLOURS, draw, fit
from agent.console_view import render, sparkline, split
from agent.requests import Request, Wish
from agent.snapshot import Snapshot
from agent.state import Counts
from drivers.contract.context import ColumnClass
from drivers.contract.instrument import SwitchDetector
from drivers.contract.maps import ColumnFlag, DefectMap

EMPTY = Snapshot(
    session="20261125T101500Z-3fa2",
    source="a microscope with a name that is longer than any terminal is wide, so that it must be cut",
    mode="advise",
    link="up",
    uptime_s=3725.0,
    frame=None,
    pixels=None,
    defect_map=None,
    counts=Counts(),
    fps=0.0,
    latency_s={},
    entropy_history=(),
    requests=(),
    log=(),
)


def _map(make, places):
    """A map with columns of given classes at given (row, column) of a frame of 16 x 16."""
    columns = make.columns_of(len(places))
    for record, (row, column, kind) in zip(columns, places, strict=True):
        record["row_px"], record["col_px"], record["cls"] = row, column, kind
    return DefectMap(make.map_header(0.25, columns=len(places)), columns)


def _request(status="proposed"):
    wish = Wish(command=SwitchDetector(detectors=("MAADF",)), reason="entropy [bold]high[/]", figures=())
    return Request(
        id="r7", wish=wish, frame=None, proposed_s=0, expires_s=1, needs_approval=True, status=status
    )


@pytest.fixture
def moment(make):
    return replace(
        EMPTY,
        frame=make.header_of(12),
        pixels=np.random.default_rng(0).poisson(9.0, (16, 16)),
        defect_map=_map(make, [(3, 4, ColumnClass.VAC1), (12, 13, ColumnClass.DOPANT)]),
        counts=Counts(seen=20, mapped=18, rejected=2, columns=123456),
        fps=8.25,
        latency_s={"analysis": 0.081, "recording": 0.004, "total": 0.0855},
        entropy_history=(0.0, 0.5, 1.0),
        requests=(_request(),),
        log=tuple(f"12:00:{n:02} [line {n}]" for n in range(40)),
    )


def _text(snapshot, width, height, *, with_picture=True):
    body, across, _ = split(width, height)
    picture = draw(snapshot.pixels, snapshot.defect_map, body, across) if with_picture else None
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(render(snapshot, picture, width, height))
    return console.file.getvalue()


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (40, 12), (300, 20)], ids=str)
def test_a_moment_fits_any_terminal(moment, size):
    lines = _text(moment, *size).rstrip("\n").split("\n")
    assert len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]


def test_a_moment_says_what_matters_on_80_by_24(moment):
    text = _text(moment, 80, 24)
    for expected in (
        "20261125T101500Z-3fa2",
        "link up",
        "1:02:05",
        "frame 12  16 x 16  WSe2:Ti  80 keV  HAADF",
        "entropy 0.2500 nats  ▁▅█",
        "latency 85.5 ms to published",
        "20 frames, 18 mapped, 8.2 a second",
        "0 skipped, 2 rejected",
        "? r7 switch to MAADF:  columnist approve r7  or  columnist deny r7",
        "entropy [bold]high[/]",
        "12:00:39 [line 39]",
    ):
        assert expected in text


def test_a_request_that_was_answered_is_shown_with_its_end(moment):
    text = _text(replace(moment, requests=(_request("denied"),)), 80, 24)
    assert "r7 switch to MAADF denied" in text
    assert "approve" not in text


def test_before_the_first_map_the_console_waits():
    assert "waiting for the first map" in _text(EMPTY, 80, 24, with_picture=False)


def test_defects_are_coloured_where_they_are(make):
    places = [(1, 2, ColumnClass.VAC1), (9, 14, ColumnClass.VAC2), (14, 3, ColumnClass.DOPANT)]
    defect_map = _map(make, places)
    colours = draw(np.ones((16, 16)), defect_map, rows=8, columns=16).colours
    assert colours.shape == (16, 16, 3)
    for row, column, kind in (
        (1, 2, ColumnClass.VAC1),
        (9, 14, ColumnClass.VAC2),
        (14, 3, ColumnClass.DOPANT),
    ):
        assert tuple(colours[row, column]) == DEFECT_COLOURS[kind]
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 4


def test_ordinary_columns_are_shaded_and_foreign_ones_are_not_defects(make):
    defect_map = _map(make, [(1, 2, ColumnClass.METAL), (5, 5, ColumnClass.X2), (9, 9, ColumnClass.VAC1)])
    columns = defect_map.columns.copy()
    columns["flags"][2] = ColumnFlag.FOREIGN
    pixels = np.arange(256.0).reshape(16, 16)
    colours = draw(pixels, DefectMap(defect_map.header, columns), rows=8, columns=16).colours.astype(int)
    assert colours[1, 2, 1] > colours[1, 2, 0]
    assert colours[5, 5, 0] > colours[5, 5, 1]
    assert tuple(colours[9, 9]) not in DEFECT_COLOURS.values()
    assert len(set(colours[12, 1])) == 1


def test_the_frame_is_averaged_and_keeps_its_proportions():
    assert fit(512, 512, 36, 40) == (36, 36)
    assert fit(512, 1024, 36, 40) == (20, 40)
    assert fit(4096, 16, 36, 40) == (36, 1)
    assert fit(16, 4096, 36, 40) == (2, 40)
    pixels = np.kron(np.array([[0.0, 1.0], [1.0, 0.0]]), np.ones((50, 50)))
    colours = draw(pixels, None, rows=1, columns=2).colours[:, :, 0]
    assert colours[0, 0] == colours[1, 1] < colours[0, 1] == colours[1, 0]


@pytest.mark.parametrize("value", [0.0, 7.0], ids=str)
def test_a_frame_without_contrast_is_drawn(value):
    assert draw(np.full((32, 32), value), None, rows=8, columns=16).colours.max() == 0


def test_a_sparkline_shows_the_last_values():
    assert sparkline((9.0, 0.0, 0.5, 1.0), 3) == "▁▅█"
    assert sparkline((), 3) == ""
    assert sparkline((0.0, 0.0), 3) == "▁▁"


class Terminal(io.StringIO):
    def isatty(self):
        return True


async def _show_for_a_moment(look, stream):
    task = asyncio.create_task(show(look, stream))
    while not stream.getvalue():
        await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_terminal_is_given_back(moment, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    await _show_for_a_moment(lambda: moment, stream)
    text = stream.getvalue()
    assert text.index("\x1b[?1049h") < text.index("\x1b[?1049l")  # another screen, and back from it
    assert text.index("\x1b[?25l") < text.rindex("\x1b[?25h")  # the cursor hidden, and shown again


async def test_without_a_terminal_there_are_plain_lines(moment):
    stream = io.StringIO()
    await _show_for_a_moment(lambda: moment, stream)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "12:00:39 [line 39]" in text
    assert "2 columns" in text
