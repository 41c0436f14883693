"""The simulated microscope: a state machine that is told the time and answers with frames.

It sleeps nowhere and reads no clock: whoever drives it says when a command comes or a scan begins, and
the same settings, calls and times make the same session to the bit.  `sim_microscope.server` drives it
by a real clock, or by one that runs as fast as frames can be made.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import Context, Detector
from drivers.contract.errors import CommandRefusedError, InputError
from drivers.contract.header import FrameFacts, Simultaneous, StagePosition, Window
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    Capabilities,
    Command,
    InstrumentState,
    MoveStage,
    Refocus,
    SetFieldOfView,
    StartScan,
    StopScan,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from sim_microscope.contamination import scattered_per_nm
from sim_microscope.dose import electrons_per_pixel, scan_dose
from sim_microscope.field import REACH_ANGSTROM, FieldKernels
from sim_microscope.imaging import Readout, ScanMap
from sim_microscope.scan_images import MAX_SHIFT_PX, kernel_image, multislice_image
from sim_microscope.scan_path import ScanPath
from sim_microscope.settings import SimulatorSettings
from sim_microscope.simulate import load_kernels
from sim_microscope.specimen import Region
from sim_microscope.specimen_under_beam import SpecimenUnderBeam
