"""The agent and the simulated microscope in one process, without sockets, threads or clocks.

`Lab` does what `agent.loop` does, on a clock of its own: events to `decide`, its actions carried out, their
results back as events.  Whoever runs it may also command the instrument as an operator would.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from agent.belief import believe
from agent.boxes import Box, is_inside
from agent.settings import Rules
from agent.sightings import field_box
from benchmarks.rig.pump import Pump
from drivers.contract.context import ColumnClass
from drivers.contract.header import FrameHeader
from drivers.contract.instrument import AcquireImage, Capabilities, Command, InstrumentState, StopScan
from drivers.contract.maps import DefectMap
from models.fusion import ON_METAL
from sim_microscope.instrument import Instrument
from sim_microscope.settings import SimulatorSettings
from sim_microscope.simulate import load_kernels

#: A column of the register is the site that it is nearest to, if nearer than this [Å].
_SAME_ANGSTROM = 0.9

#: Columns nearer to the edge of the field than this are not counted: they are seen in part [Å].
_RIM_ANGSTROM = 4.0

find_kernels = cache(load_kernels)


@dataclass(frozen=True)
class Look:
    """How a session stands after a scan.

    Parameters
    ----------
    dose_e_per_a2 : float
        Electrons so far, over the area of the field.
    seconds : float
        Since the first scan began, by the instrument's clock.
    entropy_nats : float
        Mean over the columns in the field.
    f1 : float
        Of the defects (both vacancies and dopants) in the field, by all evidence; those that stand where no
        scan has shown a column are missed.
    columns : int
    lost : int
        Chalcogens that the beam has taken so far.
    """

    dose_e_per_a2: float
    seconds: float
    entropy_nats: float
    f1: float
    columns: int
    lost: int


class Lab(Pump):
    """One session on the simulated microscope, which does not scan by itself.

    Parameters
    ----------
    settings : SimulatorSettings
    rules : Rules
        Of the agent.
    network : str
    """

    def __init__(self, settings: SimulatorSettings, rules: Rules, network: str = "mlp-simple") -> None:
        super().__init__(rules, network)
        self.instrument = Instrument(settings, find_kernels=find_kernels)
        self.instrument.execute(StopScan(), 0.0)
        self.electrons, self.scans = 0.0, 0
        self._drifted = np.zeros(2)
        self.open()

    def capabilities(self) -> Capabilities:
        """What the instrument can do."""
        return self.instrument.capabilities()

    def instrument_state(self) -> InstrumentState:
        """How it stands."""
        return self.instrument.state(self.now_s)

    @property
    def view(self) -> tuple[DefectMap, FrameHeader] | None:
        """The last map of the whole field."""
        return next((one for one in reversed(self.maps) if one[1].window is None), None)

    def command(self, command: Command, command_id: str | None = None) -> None:
        """Have the instrument do something, and wait until it is done."""
        self.instrument.execute(command, self.now_s)
        self.now_s += self.instrument.settles_in_s(self.now_s)
        if isinstance(command, AcquireImage):
            before = self.instrument.specimen.drift.at(self.now_s).copy()
            end_s = self.instrument.begin_scan(self.now_s)
            assert end_s is not None, "the scan could not begin"
            self.now_s = end_s
            frames = self.instrument.end_scan()
            self.scans += 1
            # A frame shows its columns where they were as the beam went over them: in the mean, half-way.
            self._drifted = (before + self.instrument.specimen.drift.at(end_s)) / 2
            dose = frames[0].facts.dose_e_per_a2 or 0.0
            area = frames[0].pixels.size * (frames[0].facts.pixel_size_angstrom or 0.0) ** 2
            self.electrons += dose * area
            for made in frames:
                self._see(made, command_id)

    def look(self) -> Look:
        """Compare what is known with what is so."""
        if self.view is None:
            entropy, area = float("nan"), (self.instrument.settings.fov_nm * 10) ** 2
            return Look(self.electrons / area, self.now_s, entropy, 0.0, 0, self.instrument.lost_chalcogens)
        _confidence, said, truth, entropy = self.compare()
        defects = [ColumnClass.VAC1, ColumnClass.VAC2, ColumnClass.DOPANT]
        right = sum(int(((said == one) & (truth == one)).sum()) for one in defects)
        claimed, there = np.isin(said, defects).sum(), np.isin(truth, defects).sum() + self._unseen(defects)
        settings = self.instrument.settings
        return Look(
            self.electrons / (settings.fov_nm * 10) ** 2,
            self.now_s,
            float(entropy.mean()) if len(entropy) else float("nan"),
            2 * right / max(int(claimed + there), 1),
            len(said),
            self.instrument.lost_chalcogens,
        )

    def _unseen(self, classes: list[ColumnClass]) -> int:
        """Columns of some classes in the field that are not in the register."""
        box, register = self._counted_box(), self.weigher.mind.register
        low, high = np.array(box[:2]) - self._drifted, np.array(box[2:]) - self._drifted
        crystal = self.instrument.specimen.crystal.region(low, high).crystal
        spots = crystal.positions[np.isin(crystal.classes, classes)]
        spots = spots[is_inside(spots, (*low, *high))]
        if not len(register) or not len(spots):
            return len(spots)
        seen = register.position_angstrom[register.is_seen]
        distance = cKDTree(seen - self._drifted).query(spots)[0]
        return int((distance >= _SAME_ANGSTROM).sum())

    def _counted_box(self) -> Box:
        """The field without its rim."""
        assert self.view is not None
        low_row, low_col, high_row, high_col = field_box(*self.view)
        rim = _RIM_ANGSTROM
        return (low_row + rim, low_col + rim, high_row - rim, high_col - rim)

    def compare(
        self,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Confidence, class said, true class (-1: none stands there), entropy of the columns in the field."""
        register = self.weigher.mind.register
        if not len(register) or self.view is None:
            none = np.zeros(0)
            return none, none.astype(int), none.astype(int), none
        belief = believe(register, self.law)
        inside = is_inside(register.position_angstrom, self._counted_box()) & register.is_seen
        spots = register.position_angstrom[inside] - self._drifted
        region = self.instrument.specimen.crystal.region(spots.min(axis=0) - 5, spots.max(axis=0) + 5)
        distance, nearest = cKDTree(region.crystal.positions).query(spots)
        truth = region.crystal.classes[nearest].astype(np.int64)
        same = (distance < _SAME_ANGSTROM) & (ON_METAL[truth] == register.is_metal[inside])
        chance = belief.probability[inside]
        return (
            chance.max(axis=1),
            chance.argmax(axis=1),
            np.where(same, truth, -1),
            belief.entropy_nats[inside],
        )
