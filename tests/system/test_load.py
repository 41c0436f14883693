"""`columnist bench load`, small."""

import json

import pytest

pytestmark = pytest.mark.system


def test_what_is_too_much_is_skipped_and_counted_and_the_dead_hold_nobody_up(columnist):
    options = ("--seconds", "3", "--listeners", "20", "--dead", "4", "--frames", "60", "--faults", "3")
    done = columnist("bench", "load", "--json", *options)
    assert done.returncode in (0, 1), done.stderr  # over so few frames memory has not settled, which gives 1
    assert "Traceback" not in done.stderr, done.stderr
    figures = json.loads(done.stdout)
    overload, soak = figures["overload"], figures["soak"]
    assert (overload["frames_lost"], overload["unaccounted"], overload["missed_by_live"]) == (0, 0, 0)
    assert overload["skipped"] > 0
    assert (soak["frames_lost"], soak["frames_repeated"], soak["rejected"]) == (0, 0, 0)
