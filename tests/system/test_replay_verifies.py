"""What the agent recorded replays to the bit, also when it was killed."""

import json
import re
import signal
import time

import pytest

pytestmark = pytest.mark.system


def test_a_recorded_simulated_session_verifies_to_the_bit(columnist, tmp_path):
    sockets = [f"--set=publish.{name}=tcp://127.0.0.1:0" for name in ("maps", "snapshot", "control")]
    words = ("--frames", "3", "--plain", "--no-report", "--out", str(tmp_path / "sessions"))
    scan = ("--pixels", "256", "--fov-nm", "5")
    ran = columnist("run", "--simulate", "--set=analysis.threads=1", *sockets, *words, "--", *scan)
    assert ran.returncode == 0, ran.stderr
    (session,) = [path for path in (tmp_path / "sessions").iterdir() if path.is_dir()]
    replayed = columnist("replay", str(session), "--verify", "--json")
    report = json.loads(replayed.stdout)
    assert replayed.returncode == 0, report
    assert report["is_same"]
    assert report["maps_verified"] == report["maps"] == 3


def test_a_session_whose_agent_was_killed_is_whole_as_far_as_it_goes(bridge, start_agent, columnist):
    agent = start_agent("--connect", bridge, "--no-report", "--plain")
    deadline_s = time.monotonic() + 180
    maps = 0
    while maps < 2:  # a line tells the newest map; on a fast run some numbers are passed over
        assert time.monotonic() < deadline_s
        said = re.search(r"map (\d+):", agent.process.stdout.readline())
        maps = int(said[1]) if said else maps
    agent.end(signal.SIGKILL)
    checked = columnist("sessions", str(agent.session), "--check", "--json")
    (found,) = json.loads(checked.stdout)
    assert checked.returncode == 0, found
    assert found["state"] == "cut short"
    assert found["maps"] >= 1
    replayed = columnist("replay", str(agent.session), "--verify", "--json")
    assert json.loads(replayed.stdout)["maps_verified"] == found["maps"]
