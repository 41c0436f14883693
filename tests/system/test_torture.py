"""The torture of `make torture`, small: a few kills, and a disk that is full for a moment."""

import json
import resource

import pytest

pytestmark = pytest.mark.system


def test_nothing_is_lost_and_nothing_repeated(columnist):
    options = ("--kills", "4", "--seeds", "0", "--connections", "300", "--disk-s", "0.5")
    done = columnist("bench", "faults", "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert (figures["lost_frames"], figures["repeated_frames"], figures["duplicate_commands"]) == (0, 0, 0)
    assert figures["journals_bad"] == 0
    assert figures["restarts_recorded"] >= 3
    assert figures["commands_executed"] > 0
    assert figures["disk_full"]["lost_frames"] == 0
    assert figures["connections"]["served"]


@pytest.mark.slow
@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 11_000, reason="a process may open too few connections"
)
def test_ten_thousand_connections_move_nothing_and_the_operator_is_served(columnist):
    options = ("--kills", "0", "--seeds", "0", "--disk-s", "0", "--connections", "10000")
    done = columnist("bench", "faults", "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    connections = json.loads(done.stdout)["connections"]
    assert connections["served"]
    assert connections["opened"] > 9000
    assert connections["moved_by_others"] == 0


def test_a_benchmark_without_options_says_so(columnist):
    done = columnist("bench", "journal", "--fast")
    assert done.returncode == 2
    assert "takes no options" in done.stderr
