"""The specimen of a session: where it has drifted to, and what the beam has done to it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.contract.knock_on import BARN_A2, knock_on_barn
from sim_microscope.contamination import Relief
from sim_microscope.crystal import STATES, DefectConcentrations
from sim_microscope.dose import DoseMap
from sim_microscope.settings import SimulatorSettings
from sim_microscope.specimen import EndlessCrystal, Region

_X2, _TOP, _BOTTOM, _EMPTY = (STATES.index(state) for state in ("X2", "X1top", "X1bottom", "empty"))

#: Chalcogens of a column by its state.
_CHALCOGENS = np.array([{"X2": 2, "X1top": 1, "X1bottom": 1}.get(state, 0) for state in STATES])

#: Cross-section for losing the entrance-side chalcogen once the exit-side one below it is gone, over that of
#: the latter: an estimate, see `docs/decisions/0035-beam-damage.md`.
LONE_TOP_SHARE = 0.5

#: Dopants a metal column, where a dopant is named without its fraction.
_DEFAULT_DOPANT_FRACTION = 0.04


@dataclass(eq=False)
class Drift:
    """Displacement of the specimen under the beam: steady, and a random walk.

    Parameters
    ----------
    velocity : ndarray of shape (2,)
        Steady part along (row, column) [Å/s].
    walk : float
        Standard deviation of the random part along each after one second [Å].
    rng : numpy.random.Generator
        Draws the walk.
    """

    velocity: NDArray[np.float64]
    walk: float
    rng: np.random.Generator
    _position: NDArray[np.float64]
    _at_s: float

    @classmethod
    def of(cls, settings: SimulatorSettings, rng: np.random.Generator, at_s: float) -> "Drift":
        """Drift that is zero at a time."""
        velocity = np.array([settings.drift_y_nm_per_s, settings.drift_x_nm_per_s]) * 10
        return cls(velocity, settings.drift_walk_nm * 10, rng, np.zeros(2), at_s)

    def at(self, now_s: float) -> NDArray[np.float64]:
        """Displacement (row, column) [Å] at a time; for one before the last asked for, as it was then."""
        passed = max(0.0, now_s - self._at_s)
        if passed:
            step = self.rng.normal(0.0, 1.0, 2) * self.walk * np.sqrt(passed)
            self._position = self._position + self.velocity * passed + step
            self._at_s = now_s
        return self._position


class SpecimenUnderBeam:
    """A crystal that drifts, takes up dose, loses chalcogens and gathers carbon.

    Parameters
    ----------
    settings : SimulatorSettings
        Specimen, drift and damage.
    at_s : float
        Time at which it has drifted nowhere.
    """

    def __init__(self, settings: SimulatorSettings, at_s: float) -> None:
        shape, relief, walk, damage = np.random.SeedSequence((settings.seed, 1)).spawn(4)
        rotation = settings.rotation_deg
        if rotation is None:
            rotation = float(np.random.default_rng(shape).uniform(0, 360))
        fraction = settings.dopant_fraction
        if fraction is None:
            fraction = _DEFAULT_DOPANT_FRACTION if settings.specimen.dopant else 0.0
        self.crystal = EndlessCrystal(
            settings.specimen,
            rotation,
            DefectConcentrations(settings.vac1, settings.vac2, fraction),
            settings.seed,
        )
        self.drift = Drift.of(settings, np.random.default_rng(walk), at_s)
        self.dose = DoseMap()
        self.relief = Relief.draw(np.random.default_rng(relief))
        self._settings = settings
        self._rng = np.random.default_rng(damage)

    def carbon_nm(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
        """Mean thickness of the carbon in a box (row, column) [Å]."""
        settings, dose = self._settings, self.dose.mean(low, high)
        return settings.contamination_nm + settings.contamination_nm_per_dose * dose * 1e-6

    def expose(
        self,
        region: Region,
        is_hit: NDArray[np.bool_],
        box: tuple[NDArray[np.float64], NDArray[np.float64]],
        dose_e_per_a2: float,
        energy_kev: float,
    ) -> int:
        """Count a dose and do its damage.

        Parameters
        ----------
        region : Region
            Columns as they were.
        is_hit : ndarray of shape (n,), bool
            Which of them the scan passed over.
        box : tuple of ndarray
            Lowest and highest (row, column) of the scan on the specimen [Å].
        dose_e_per_a2, energy_kev : float
            The beam.

        Returns
        -------
        int
            Chalcogens lost.
        """
        self.dose.add(*box, dose_e_per_a2)
        if not self._settings.is_damaging:
            return 0
        knock_on = knock_on_barn(self._settings.specimen.host, energy_kev) * BARN_A2
        other = self._settings.radiolysis_barn * BARN_A2
        exit_side, entrance_side = (-np.expm1(-a * dose_e_per_a2) for a in (knock_on + other, other))
        lone_top = -np.expm1(-(LONE_TOP_SHARE * knock_on + other) * dose_e_per_a2)
        states, draw = region.crystal.states, self._rng.random((2, len(region.sites)))
        loses_exit = is_hit & (draw[0] < exit_side)
        loses_entrance = is_hit & (draw[1] < entrance_side)
        after = states.copy()
        full = states == _X2
        after[full & loses_exit] = _TOP
        after[full & loses_entrance] = _BOTTOM
        after[full & loses_exit & loses_entrance] = _EMPTY
        after[(states == _BOTTOM) & loses_exit] = _EMPTY
        after[(states == _TOP) & is_hit & (draw[0] < lone_top)] = _EMPTY
        changed = after != states
        self.crystal.change(region.sites[changed], after[changed])
        return int((_CHALCOGENS[states] - _CHALCOGENS[after]).sum())
