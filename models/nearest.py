"""Which reference energy and detector stand in for those that a frame was taken with; without torch."""

from collections.abc import Iterable

from drivers.contract.context import DETECTORS, ENERGIES_KEV, Detector

#: How far an energy [keV], and a detector's angles (relative), may lie from those that stand in for them.
#: Training varied the angles by 3 %, one standard deviation.
_ENERGY_KEV, _ANGLES = 2.0, 0.1


def nearest_energy_kev(energy_kev: float) -> float:
    """Find the reference energy that an energy is read as [keV]; the energy itself where none lies near."""
    nearest = min(ENERGIES_KEV, key=lambda known: abs(known - energy_kev))
    return float(nearest) if abs(nearest - energy_kev) <= _ENERGY_KEV else energy_kev


def nearest_detector(detector: Detector) -> Detector | None:
    """Find the reference detector that a detector is read as, by its angles; None where none lies near."""
    for known in DETECTORS.values():
        pairs = ((detector.inner_mrad, known.inner_mrad), (detector.outer_mrad, known.outer_mrad))
        if all(abs(own / angle - 1) <= _ANGLES for own, angle in pairs):
            return known
    return None


def readable(detectors: Iterable[Detector]) -> tuple[Detector, ...]:
    """Detectors whose frames maps can be made of."""
    return tuple(detector for detector in detectors if nearest_detector(detector) is not None)
