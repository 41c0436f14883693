import signal
import time

from sim_microscope.__main__ import main


class Dropped:
    """Is asked to stop while Python drops it, where what is raised is lost."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_stop_that_python_drops_is_heard_all_the_same(monkeypatch, capsys):
    def run(arguments):
        Dropped()
        time.sleep(5)
        return 0

    monkeypatch.setattr("sim_microscope.__main__.run", run)
    assert main([]) == 130
    assert "interrupted" in capsys.readouterr().err
