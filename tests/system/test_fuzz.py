"""`columnist bench fuzz`, small; files of each format are damaged in `tests/drivers/test_files.py`."""

import json

import pytest

pytestmark = pytest.mark.system


def test_no_message_setting_or_session_brings_anything_down(columnist):
    options = ("--messages", "3000", "--files", "30", "--kinds", "wire", "orders", "settings", "session")
    done = columnist("bench", "fuzz", "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["fuzz_failures"] == 0
    assert figures["kinds"]["wire"]["cases"] == 3000
    assert 0 < figures["kinds"]["wire"]["accepted"] < 3000
