"""What a recorded instrument holds: frames in order, each at a position of the specimen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from drivers.contract.context import Detector
from drivers.contract.header import FrameFacts

#: Energies [keV] that lie this close are one.
ENERGY_KEV = 0.05

#: What a frame is taken to last [s] where neither its dwell time nor the recording says it.
UNKNOWN_S = 1.0


@dataclass(frozen=True)
class Held:
    """One recorded frame.

    Parameters
    ----------
    position : str
        Frames that show the same part of the specimen have the same one.
    facts : FrameFacts
    shape : tuple of int
    lasts_s : float
        From the end of the frame before to the end of this one.
    load : callable
        Returns the pixels, or raises `InputError`.
    """

    position: str
    facts: FrameFacts
    shape: tuple[int, int]
    lasts_s: float
    load: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Recording:
    """Frames of an instrument.

    Parameters
    ----------
    name : str
        For people.
    frames : tuple of Held
        In the order in which they were recorded; at least one.
    is_series : bool
        The order is that of an experiment, whose context changes on the way; else the frames are a
        collection, of which a replay plays those of one context.
    notes : tuple of str
        What was left out, and why.
    """

    name: str
    frames: tuple[Held, ...]
    is_series: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """What an instrument is asked to record with."""

    energy_kev: float | None
    detectors: tuple[str, ...]

    def holds(self, held: Held, detector: str | None) -> bool:
        """Whether a frame has this energy and the detector of that name."""
        facts = held.facts
        if (facts.detector.name if facts.detector else None) != detector:
            return False
        if facts.energy_kev is None or self.energy_kev is None:
            return facts.energy_kev is self.energy_kev
        return abs(facts.energy_kev - self.energy_kev) <= ENERGY_KEV


def setting_of(frames: Sequence[Held]) -> Setting:
    """Return the setting that frames of one scan were recorded with."""
    names = tuple(held.facts.detector.name for held in frames if held.facts.detector is not None)
    return Setting(frames[0].facts.energy_kev, names)


def recorded_scans(recording: Recording) -> tuple[tuple[int, ...], ...]:
    """Group frames that were taken at once; the rest are scans of their own.  Indices into the frames."""
    scans: list[tuple[int, ...]] = []
    for index, held in enumerate(recording.frames):
        group = held.facts.simultaneous
        before = recording.frames[index - 1].facts.simultaneous if index else None
        if group is not None and before is not None and before.group == group.group:
            scans[-1] += (index,)
        else:
            scans.append((index,))
    return tuple(scans)


def scans_with(recording: Recording, setting: Setting) -> tuple[tuple[int, ...], ...]:
    """Find every scan of a setting, in order; those of several detectors need all of them at one position."""
    wanted: tuple[str | None, ...] = setting.detectors or (None,)
    by_position: dict[str, list[list[int]]] = {}
    for index, held in enumerate(recording.frames):
        columns = by_position.setdefault(held.position, [[] for _ in wanted])
        for column, detector in zip(columns, wanted, strict=True):
            if setting.holds(held, detector):
                column.append(index)
    scans = [scan for columns in by_position.values() for scan in zip(*columns, strict=False)]
    return tuple(sorted(scans, key=min))


def detectors_of(recording: Recording) -> tuple[Detector, ...]:
    """Return every detector of a recording, by its first appearance; a name counts once."""
    found: dict[str, Detector] = {}
    for held in recording.frames:
        if held.facts.detector is not None:
            found.setdefault(held.facts.detector.name, held.facts.detector)
    return tuple(found.values())


def energies_of(recording: Recording) -> tuple[float, ...]:
    """Return every beam energy [keV] of a recording, ascending."""
    return tuple(sorted({held.facts.energy_kev for held in recording.frames if held.facts.energy_kev}))


def most_at_once(recording: Recording) -> int:
    """Count the detectors of the position that has most of them."""
    found: dict[str, set[str]] = {}
    for held in recording.frames:
        if held.facts.detector is not None:
            found.setdefault(held.position, set()).add(held.facts.detector.name)
    return max((len(names) for names in found.values()), default=1)


def scan_s(facts: FrameFacts, shape: tuple[int, int]) -> float:
    """Time [s] that a scan takes by its dwell time."""
    if facts.dwell_us is None:
        return UNKNOWN_S
    return shape[0] * shape[1] * facts.dwell_us * 1e-6
