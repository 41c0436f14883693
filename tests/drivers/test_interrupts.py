import signal
import sys
import time

import pytest

import agent.__main__
import sim_microscope.__main__
from drivers.interrupts import hearing_stops


class Dropped:
    """Is asked to stop while Python drops it, where what is raised is lost."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("main", "words", "runs"),
    [
        (agent.__main__.main, ["doctor"], "agent.commands.doctor.run"),
        (sim_microscope.__main__.main, [], "sim_microscope.__main__.run"),
    ],
    ids=["agent", "simulator"],
)
def test_a_stop_that_python_drops_is_heard_all_the_same(main, words, runs, monkeypatch, capsys):
    def run(arguments):
        Dropped()
        time.sleep(5)
        return 0

    monkeypatch.setattr(runs, run)
    before = sys.unraisablehook
    assert main(words) == 130
    assert "interrupted" in capsys.readouterr().err
    assert sys.unraisablehook is before


@pytest.fixture
def handled():
    """Signals, handled in a way of the test's own."""
    handlers = {number: lambda *_: None for number in (signal.SIGTERM, signal.SIGALRM)}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield handlers
    for number, handler in before.items():
        signal.signal(number, handler)


def test_afterwards_signals_are_handled_as_before_and_none_is_on_its_way(handled):
    hook = sys.unraisablehook
    with hearing_stops():
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        signal.setitimer(signal.ITIMER_REAL, 600.0)  # as after a stop that was dropped
    assert {number: signal.getsignal(number) for number in handled} == handled
    assert sys.unraisablehook is hook
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
