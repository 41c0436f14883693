"""Which scans can be read, as those that were read show: dose and electrons have a limit of detection."""

import math
from dataclasses import dataclass

from agent.scans import Scan, Source
from agent.value import Candidate
from drivers.contract.header import FrameHeader
from drivers.contract.maps import DefectMap

#: A window of less than this part of the electrons of the least scan that was read may not be readable.
_ENOUGH = 0.5

#: Doses that differ by less are the same.
ROUNDING = 1.01


@dataclass(frozen=True)
class Readable:
    """What the scans brought that could be entered so far.

    Parameters
    ----------
    least_electrons : float
        Of a scan that was read by itself; windows within a field that was read are not.
    least_dose_e_per_a2 : float
        Of a whole field.
    whole : frozenset of Source
        Of which a frame of the whole field was read: windows are read within it.
    """

    least_electrons: float = math.inf
    least_dose_e_per_a2: float = math.inf
    whole: frozenset[Source] = frozenset()

    def with_scan(self, scan: Scan, defect_map: DefectMap, header: FrameHeader) -> "Readable":
        """With a scan that was entered; its map and header are those of its last detector."""
        sources = frozenset(layer.source for layer in scan.layers)
        dose = max(layer.dose_e_per_a2 for layer in scan.layers)
        rows, cols = defect_map.header.frame.shape
        electrons = dose * (rows * cols * defect_map.header.scale.pixel_size_angstrom**2)
        if header.window is None:
            return Readable(
                min(self.least_electrons, electrons),
                min(self.least_dose_e_per_a2, dose),
                self.whole | sources,
            )
        if sources <= self.whole:
            return self
        return Readable(min(self.least_electrons, electrons), self.least_dose_e_per_a2, self.whole)

    def may_hold(self, candidate: Candidate, *, is_window: bool) -> bool:
        """Whether a scan is no fainter than fields that were read, nor, if read by itself, much smaller."""
        if candidate.dose_e_per_a2 * ROUNDING < self.least_dose_e_per_a2:
            return False
        if not is_window or set(candidate.sources) <= self.whole:
            return True
        return candidate.electrons >= _ENOUGH * self.least_electrons
