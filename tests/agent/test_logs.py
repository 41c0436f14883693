from pathlib import Path

import pytest

from agent.logs import LogFile, open_log


def test_a_long_log_begins_anew_and_keeps_the_ones_before(tmp_path):
    with LogFile(tmp_path / "agent.log", most_bytes=100, kept=2) as file:
        for number in range(40):
            file.write(f"line {number:03d} of the log\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.log", "agent.log.1", "agent.log.2"]
    assert all(path.stat().st_size < 150 for path in tmp_path.iterdir())
    assert "line 039" in (tmp_path / "agent.log").read_text()


@pytest.mark.parametrize("path", ["/dev/full", "/nowhere/agent.log"])
def test_a_log_that_cannot_be_written_fails_nobody(path):
    if path == "/dev/full" and not Path(path).exists():
        pytest.skip("no /dev/full here")
    file = LogFile(Path(path))
    log = open_log(file, "info", "s1")
    for _ in range(3):
        log.info("something", text="x" * 10_000)
    file.close()
    assert file.lost >= 1
