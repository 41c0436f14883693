"""A frame, as it travels."""

import numpy as np
import pytest

from drivers.contract.codec import pack_frame
from drivers.contract.context import HAADF
from drivers.contract.frame import build_frame
from drivers.contract.header import FrameFacts


@pytest.fixture
def frame():
    facts = FrameFacts(
        host="WSe2",
        dopants=("Ti",),
        energy_kev=80.0,
        convergence_mrad=31.0,
        detector=HAADF,
        pixel_size_angstrom=2.0,
        field_of_view_nm=4.8,
        field_shape_px=(32, 24),
        dwell_us=1.5,
    )
    pixels = np.arange(32 * 24, dtype=np.uint16).reshape(32, 24)
    return build_frame(facts, pixels, session="s-1", sequence=3, monotonic_s=12.5, wall_time_unix_s=1.7e9)


@pytest.fixture
def frame_parts(frame):
    return [bytes(part) for part in pack_frame(frame)]
