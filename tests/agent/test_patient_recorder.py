import threading

import pytest

from agent.journal_errors import DiskFullError, JournalBrokenError, ReadOnlyError
from agent.patient_recorder import PatientRecorder


class Disk:
    """Full or read-only for some attempts."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.kept = []

    def append(self, entries):
        if self.errors:
            raise self.errors.pop(0)
        self.kept += entries

    def checkpoint(self):
        self.append([])


def recorder_on(disk, said):
    times = iter(range(100))
    return PatientRecorder(
        disk,
        lambda why: said.append(why),
        lambda held_s, why: said.append((held_s, why)),
        retry_s=0.001,
        clock=lambda: float(next(times)),
    )


@pytest.mark.parametrize("error", [DiskFullError, ReadOnlyError])
def test_it_waits_says_so_once_and_loses_nothing(error):
    disk, said = Disk(*[error("no room")] * 3), []
    recorder_on(disk, said).append(["one", "two"])
    assert disk.kept == ["one", "two"]
    assert said == ["no room", (1.0, "no room")]


def test_a_broken_disk_is_not_waited_for():
    with pytest.raises(JournalBrokenError):
        recorder_on(Disk(JournalBrokenError("input/output error")), []).append(["one"])


def test_told_to_give_up_it_raises():
    disk, said = Disk(*[DiskFullError("no room")] * 100_000), []
    recorder = recorder_on(disk, said)
    threading.Timer(0.01, recorder.give_up).start()
    with pytest.raises(DiskFullError):
        recorder.append(["one"])
    assert disk.kept == []


def test_tidying_up_does_not_wait():
    recorder_on(Disk(DiskFullError("no room")), []).checkpoint()
