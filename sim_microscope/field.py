"""Images of whole fields: columns by convolution, neighbours by summing their pair terms.

The image is I(r) = vacuum + Σ kernel(r - column) + Σ pair term.  Column positions are spread onto a grid
with a Kaiser-Bessel window, so that the sum over columns is exact between pixels, and multiplied by the
kernels' spectra, which end at 2α/λ; pair terms are added up in real space along each pair's own
direction.  NumPy and Numba do it on the CPU; `sim_microscope.field_torch` does the same on a GPU.
"""

from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import spline_filter

from drivers.contract.context import Context
from drivers.contract.errors import InputError
from sim_microscope.crystal import STATES, Crystal
from sim_microscope.kernels import ColumnKernel, KernelTable, column_kernel, probe_transfer, vacuum_intensity
from sim_microscope.pairs import ACROSS_ANGSTROM, ALONG_ANGSTROM, PairTable, Shell

#: Beyond the field, columns within this distance still count [Å].
REACH_ANGSTROM = 12.0

#: Largest internal grid [pixels]; above it a field is refused rather than swapped to disk.
MAX_PIXELS = 400_000_000

#: Kaiser-Bessel window: width in pixels and shape parameter.
_WINDOW, _BETA = 8, 13.0

#: Pair terms are looked up on a grid this much finer than the table's.
_UPSAMPLING = 4

#: A pair belongs to a shell if its distance is the shell's to within this fraction.
_SHELL_TOLERANCE = 0.12
