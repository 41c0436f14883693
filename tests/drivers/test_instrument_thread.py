import queue

import numpy as np
import pytest

from drivers.confirm import Tolerances
from drivers.contract.context import HAADF, MAADF
from drivers.contract.header import FrameFacts
from drivers.contract.instrument import AcquireImage, CommandOutcome, CommandRequest, SwitchDetector
from drivers.fake import FakeMicroscope
from drivers.instrument_thread import InstrumentThread, Taken
from drivers.recording import Held, Recording
from drivers.replay import Options, ReplayMicroscope

PATIENCE_S = 20.0


def replayed():
    """Many positions, each by two detectors, as fast as they are taken."""
    frames = [
        Held(str(place), FrameFacts(detector=detector), (32, 24), 1.0, lambda: np.ones((32, 24), np.uint16))
        for place in range(40)
        for detector in (HAADF, MAADF)
    ]
    return ReplayMicroscope(
        Recording("test", tuple(frames), is_series=False), Options(speed=float("inf"), at_end="loop")
    )


@pytest.mark.parametrize("make", [FakeMicroscope, replayed], ids=["fake", "replay"])
def test_an_image_that_is_asked_for_amid_a_scan_is_of_one_scan(make):
    microscope = make()
    microscope.execute(SwitchDetector(detectors=("HAADF", "MAADF")))
    reports = queue.Queue()
    thread = InstrumentThread(microscope, session="s", report=reports.put, tolerances=Tolerances())

    def hear(kind):
        while not isinstance(report := reports.get(timeout=PATIENCE_S), kind):
            pass
        return report

    thread.start()
    thread.grant(1)
    hear(Taken)  # the first detector's frame of a scan that runs anyway
    thread.submit(CommandRequest(session="s", id="a", command=AcquireImage(), timeout_s=PATIENCE_S))
    outcome = hear(CommandOutcome)
    assert thread.stop(PATIENCE_S)
    assert outcome.status == "confirmed"
    assert outcome.sequences == (2, 3)
