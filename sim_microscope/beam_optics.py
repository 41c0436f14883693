"""Beam energy and focus of the simulated microscope: how they change, and how long they take to settle."""

import math
from dataclasses import dataclass

from sim_microscope.settings import SimulatorSettings

#: Time constants of the focus within the time in which it settles.
_DECAYS = 4.0

#: Time that focusing takes [s].
REFOCUS_S = 1.0


@dataclass(eq=False)
class BeamOptics:
    """Energy and focus of the beam at any time.

    Parameters
    ----------
    settings : SimulatorSettings
        Durations, and what remains.
    energy_kev : float
        Energy that was asked for last.
    """

    settings: SimulatorSettings
    energy_kev: float
    _from_kev: float = 0.0
    _began_s: float = float("-inf")
    _height_angstrom: float = 0.0
    _focus_angstrom: float = 0.0

    def switch(self, energy_kev: float, now_s: float) -> None:
        """Begin to go to another energy."""
        self._from_kev, self.energy_kev, self._began_s = self.energy_kev, energy_kev, now_s

    def lift(self, height_angstrom: float) -> None:
        """Put the specimen at a height, which the focus does not follow."""
        self._height_angstrom = height_angstrom

    def refocus(self, now_s: float) -> None:
        """Focus on the specimen at its height, as well as the settings let it."""
        self._focus_angstrom += self.defocus_angstrom(now_s) - self.settings.defocus_angstrom

    def read_back_kev(self, now_s: float) -> float:
        """Energy at a time: it goes over steadily."""
        if not self.is_off(now_s):
            return self.energy_kev
        share = (now_s - self._began_s) / self.settings.energy_ramp_s
        return self._from_kev + share * (self.energy_kev - self._from_kev)

    def is_off(self, now_s: float) -> bool:
        """Whether there is no beam, as the energy is going over."""
        return now_s < self._began_s + self.settings.energy_ramp_s

    def settles_in_s(self, now_s: float) -> float:
        """Time until energy and focus stand."""
        return max(0.0, self._began_s + self.settings.energy_ramp_s + self.settings.energy_settle_s - now_s)

    def defocus_angstrom(self, now_s: float) -> float:
        """Defocus at a time, positive where the focus lies in front of the layer."""
        settings = self.settings
        remaining = 0.0
        if self.settles_in_s(now_s) > 0:
            since = max(0.0, now_s - self._began_s - settings.energy_ramp_s)
            part = since / settings.energy_settle_s if since else 0.0  # before, nothing has come back
            remaining = settings.energy_defocus_angstrom * math.exp(-_DECAYS * part)
        return settings.defocus_angstrom + self._height_angstrom - self._focus_angstrom + remaining
