"""A bridge for one's own instrument: `python own_microscope.py`, then `columnist run` beside it.

What the vendor's stand-in images has no lattice, so that no map comes of it.
"""

import time
from contextlib import suppress

import vendor  # the vendor's API; docs/examples/vendor.py stands in for it

from drivers.bridge import Bridge
from drivers.contract.context import HAADF, MAADF
from drivers.contract.header import FrameFacts
from drivers.contract.instrument import (
    BlankBeam,
    Capabilities,
    InstrumentState,
    SwitchDetector,
    UnblankBeam,
)
from drivers.contract.units import to_angstrom, to_kev, to_us
from drivers.interrupts import hearing_stops
from drivers.microscope import Exposure

DETECTORS = {"HAADF": HAADF, "MAADF": MAADF}


class OwnMicroscope:
    def capabilities(self):
        self.scope = vendor.connect()  # this is the first call, in the thread that makes all the others
        commands = ("switch_detector", "blank_beam", "unblank_beam")
        return Capabilities(instrument="ours", commands=commands, detectors=tuple(DETECTORS.values()))

    def state(self):
        return InstrumentState(
            monotonic_s=time.monotonic(),
            energy_kev=to_kev(self.scope.high_tension, "V"),
            detectors=(DETECTORS[self.scope.detector],),
            is_blanked=self.scope.is_blanked,
            is_scanning=True,
        )

    def take_frame(self, timeout_s):
        facts = FrameFacts(
            energy_kev=to_kev(self.scope.high_tension, "V"),
            detector=DETECTORS[self.scope.detector],
            pixel_size_angstrom=to_angstrom(self.scope.pixel_size(), "m"),
            dwell_us=to_us(self.scope.dwell_time(), "s"),
        )
        return Exposure(self.scope.scan(), facts)

    def execute(self, command):
        match command:
            case SwitchDetector():
                self.scope.detector = command.detectors[0]
            case BlankBeam() | UnblankBeam():
                self.scope.is_blanked = isinstance(command, BlankBeam)

    def close(self):
        self.scope.disconnect()


if __name__ == "__main__":
    with hearing_stops(), suppress(KeyboardInterrupt):  # Ctrl-C and SIGTERM: the bridge blanks the beam
        Bridge(OwnMicroscope()).run()
