import signal
import sys
import time

import pytest

import agent.__main__
import sim_microscope.__main__


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
