import sys

import pytest

from agent import sources
from agent.sources import read_recording, serve_driver, start_simulator
from drivers.contract.errors import InputError
from drivers.fake import FakeMicroscope


def test_a_driver_is_served_on_a_free_port():
    with serve_driver(FakeMicroscope(frames=1), "a fake") as source:
        assert source.address.startswith("tcp://127.0.0.1:")
        assert source.is_ours


def test_a_simulator_that_does_not_start_is_told_with_what_it_said(tmp_path):
    with (
        pytest.raises(InputError, match=r"did not start: .*unrecognized arguments: --nonsense"),
        start_simulator(["--nonsense"], tmp_path / "simulator.log"),
    ):
        pass


def test_a_simulator_that_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_START_S", 0.2)
    monkeypatch.setattr(sys, "executable", "/bin/sleep")
    monkeypatch.setattr(
        sources.subprocess, "Popen", lambda command, **kept: POPEN(["/bin/sleep", "30"], **kept)
    )
    with (
        pytest.raises(InputError, match="did not start"),
        start_simulator([], tmp_path / "simulator.log"),
    ):
        pass


POPEN = sources.subprocess.Popen


def test_what_is_no_recording_is_named(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        read_recording(tmp_path)
