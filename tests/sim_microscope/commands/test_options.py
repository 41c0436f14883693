import io

import pytest
from rich.console import Console

from sim_microscope.commands.options import LINE_EVERY_S, progress_bar


def test_a_log_gets_a_line_now_and_then_with_the_time_left():
    log, clock = io.StringIO(), [0.0]
    with progress_bar(Console(file=log, force_terminal=False), lambda: clock[0]) as progress:
        bar = progress.add_task("kernels", total=100)
        for _ in range(100):
            clock[0] += LINE_EVERY_S / 10
            progress.advance(bar)
    lines = log.getvalue().split("\n")
    assert lines[0] == "kernels 10/100 in 0:00:30, left 0:04:30"
    assert [line for line in lines if line][-1] == "kernels 100/100 in 0:05:00, left 0:00:00"
    assert sum(bool(line) for line in lines) == 10


def test_work_of_unknown_length_says_so():
    log, clock = io.StringIO(), [0.0]
    with progress_bar(Console(file=log, force_terminal=False), lambda: clock[0]) as progress:
        bar = progress.add_task("multislice", total=None)
        clock[0] = 2 * LINE_EVERY_S
        progress.advance(bar, 7)
    assert log.getvalue().strip() == "multislice 7/? in 0:01:00, left ?"


@pytest.mark.parametrize("pieces_before", [0, 40])
def test_work_that_was_done_before_does_not_make_the_rest_look_short(pieces_before):
    clock = [0.0]
    with progress_bar(Console(file=io.StringIO(), force_terminal=True), lambda: clock[0]) as progress:
        bar = progress.add_task("kernels", total=100)
        if pieces_before:
            progress.advance(bar, pieces_before)
        for _ in range(10):
            clock[0] += 20.0
            progress.advance(bar)
        assert progress.tasks[0].time_remaining == pytest.approx(20.0 * (90 - pieces_before))
