"""The dose that each region of the specimen has taken: all frames counted, also those that nobody read.

Regions are squares of the specimen, which the last known drift carries along with it.  A region takes the
whole dose of every scan that touches it.  What a frame's header does not say is not guessed: a scan of
unknown dose makes the ledger unsure, and with a limit nothing more is sent then.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from drivers.contract.header import FrameFacts, FrameHeader, StagePosition, Window
from drivers.contract.instrument import AcquireImage, InstrumentState
from drivers.contract.quantities import ELECTRONS_PER_PA_US

#: How far a scan may go astray unseen: drift since the last map, and what the scan coils are off by [Å].
SLACK_ANGSTROM = 5.0

#: (lowest row, lowest column, highest row, highest column) in the stage's frame [Å].
Box = tuple[float, float, float, float]

Shift = tuple[float, float]


@dataclass(frozen=True)
class Exposure:
    """A scan as the ledger sees it.

    Parameters
    ----------
    box : Box
    dose_e_per_a2 : float
    """

    box: Box
    dose_e_per_a2: float


@dataclass(frozen=True)
class Ledger:
    """Doses by region.

    Parameters
    ----------
    edge_angstrom : float
        Of a region.
    doses : mapping
        Dose [e/Å²] by (row, column) of the region; what is not in it has taken none.
    unknown : int
        Scans whose dose or place is not known.
    """

    edge_angstrom: float = 20.0
    doses: Mapping[tuple[int, int], float] = field(default_factory=dict)
    unknown: int = 0

    @property
    def highest_e_per_a2(self) -> float:
        """Of all regions."""
        return max(self.doses.values(), default=0.0)

    def booked(self, exposure: Exposure | None, drift_angstrom: Shift) -> "Ledger":
        """Ledger with one more scan, of a specimen that has gone so far since the session began."""
        if exposure is None:
            return replace(self, unknown=self.unknown + 1)
        doses = dict(self.doses)
        for region in self._regions(exposure.box, drift_angstrom, 0.0):
            doses[region] = doses.get(region, 0.0) + exposure.dose_e_per_a2
        return replace(self, doses=doses)

    def most_in(self, box: Box, drift_angstrom: Shift) -> float:
        """Highest dose of the regions that a scan of a box could touch [e/Å²]."""
        regions = self._regions(box, drift_angstrom, SLACK_ANGSTROM)
        if len(regions) > len(self.doses):
            wanted = set(regions)
            return max((dose for region, dose in self.doses.items() if region in wanted), default=0.0)
        return max((self.doses.get(region, 0.0) for region in regions), default=0.0)

    def _regions(self, box: Box, drift_angstrom: Shift, slack: float) -> list[tuple[int, int]]:
        """Regions that a box touches."""
        spans = []
        for axis in range(2):
            low = box[axis] - drift_angstrom[axis] - slack
            high = box[axis + 2] - drift_angstrom[axis] + slack
            spans.append(range(math.floor(low / self.edge_angstrom), math.ceil(high / self.edge_angstrom)))
        return [(row, column) for row in spans[0] for column in spans[1]]


def exposure_of_frame(facts: FrameFacts, shape: tuple[int, int]) -> Exposure | None:
    """What a frame cost; None if its header does not say."""
    grid = facts.field_shape_px or shape
    pixel = facts.pixel_size_angstrom
    if pixel is None and facts.field_of_view_nm is not None:
        pixel = facts.field_of_view_nm * 10 / grid[1]
    if pixel is None:
        return None
    dose = facts.dose_e_per_a2
    if dose is None:
        dose = _dose(facts.beam_current_pa, facts.dwell_us, pixel)
    if dose is None:
        return None
    return Exposure(_box(facts.stage, grid, pixel, facts.window), dose)


def dose_of(header: FrameHeader) -> float | None:
    """Dose of a frame [e/Å²], as its header or its current says; None if neither does."""
    exposure = exposure_of_frame(header, header.shape)
    return header.dose_e_per_a2 or (None if exposure is None else exposure.dose_e_per_a2) or None


def exposure_of_command(command: AcquireImage, state: InstrumentState) -> Exposure | None:
    """What a frame that is asked for would cost; None if the instrument does not say enough."""
    grid = command.shape_px or state.shape_px
    if grid is None or state.field_of_view_nm is None:
        return None
    pixel = state.field_of_view_nm * 10 / grid[1]
    dose = _dose(state.beam_current_pa, command.dwell_us or state.dwell_us, pixel)
    if dose is None:
        return None
    return Exposure(_box(state.stage, grid, pixel, command.window), dose)


def _dose(current_pa: float | None, dwell_us: float | None, pixel_angstrom: float) -> float | None:
    """Electrons a square ångström."""
    if current_pa is None or dwell_us is None:
        return None
    return ELECTRONS_PER_PA_US * current_pa * dwell_us / pixel_angstrom**2


def _box(stage: StagePosition | None, grid: tuple[int, int], pixel: float, window: Window | None) -> Box:
    """Where a scan goes; a stage that does not say where it is, is at its origin."""
    centre = (0.0, 0.0) if stage is None else (stage.y_nm * 10, stage.x_nm * 10)
    low = [centre[axis] - grid[axis] * pixel / 2 for axis in range(2)]
    edges = grid
    if window is not None:
        low = [low[0] + window.row_px * pixel, low[1] + window.col_px * pixel]
        edges = (window.rows_px, window.cols_px)
    return (low[0], low[1], low[0] + edges[0] * pixel, low[1] + edges[1] * pixel)
