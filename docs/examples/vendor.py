"""A stand-in for a vendor's API, in a vendor's units: volts, metres, seconds."""

import numpy as np


class Scope:
    """What a vendor hands out."""

    def __init__(self):
        self.high_tension = 80_000.0
        self.detector = "HAADF"
        self.is_blanked = False

    def scan(self):
        """Scan one frame."""
        rows, columns = np.mgrid[:64, :64]
        return (1000 + 500 * np.sin(rows / 3) * np.sin(columns / 3)).astype(np.uint16)

    def pixel_size(self):
        """Metres."""
        return 2e-11

    def dwell_time(self):
        """Seconds."""
        return 4e-6

    def disconnect(self):
        """Let go of the hardware."""


def connect():
    """Connect to the microscope's server."""
    return Scope()
