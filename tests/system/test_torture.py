"""The torture of `make torture`, small: a few kills, and a disk that is full for a moment."""

import json

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


def test_a_benchmark_without_options_says_so(columnist):
    done = columnist("bench", "journal", "--fast")
    assert done.returncode == 2
    assert "takes no options" in done.stderr
