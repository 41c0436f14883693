"""Which scan to ask for next: all that the instrument offers, weighed by information over dose and time."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.assessment import Score
from agent.boxes import RIM_ANGSTROM, Box, Field, densest_boxes, inner, is_inside
from agent.known import Known
from agent.ledger import dose_of
from agent.settings import PolicySettings
from agent.value import Candidate, Worth, column_gains, weigh
from drivers.contract.context import Context, Detector
from drivers.contract.header import FrameHeader, Window
from drivers.contract.instrument import (
    AcquireImage,
    Capabilities,
    InstrumentState,
    SwitchDetector,
    SwitchEnergy,
)
from models.nearest import nearest_energy_kev, readable

#: Doses that are weighed, over that of the last frame.
_DOSES = (0.5, 1.0, 2.0, 4.0)

#: Narrower windows than this are not asked for [Å]: they show too few columns to be found again.
_LEAST_EDGE_ANGSTROM = 9.0

#: Windows that are weighed of each set of detectors.
_WINDOWS = 2

#: A window is wider by this on every side than what it is for [Å]: columns need what is around them.
MARGIN_ANGSTROM = RIM_ANGSTROM + 0.4

#: From a request to the evidence of its frame, beside the scan itself [s].
_ROUND_TRIP_S = 0.2


@dataclass(frozen=True)
class Offer:
    """Something to ask the instrument for.

    Parameters
    ----------
    candidate : Candidate
    switch : SwitchDetector, SwitchEnergy or None
        What has to be done first.
    acquire : AcquireImage
    factor : float
        Its dose over that of the last frame.
    is_dose_known : bool
        Whether the dose is the instrument's word; else it is the law's half dose.
    """

    candidate: Candidate
    switch: SwitchDetector | SwitchEnergy | None
    acquire: AcquireImage
    factor: float
    is_dose_known: bool = True


@dataclass(frozen=True)
class Choice:
    """The offer that is asked for, and what the whole field once more, as it was, would be worth.

    `again` is None where that is no offer.
    """

    offer: Offer
    worth: Worth
    again: Worth | None

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        candidate = self.worth.candidate
        detectors = " and ".join(source.detector for source in candidate.sources)
        low_row, low_column, high_row, high_column = candidate.box
        size = f"{(high_row - low_row) / 10:.1f} x {(high_column - low_column) / 10:.1f} nm"
        what = "a window of" if self.offer.acquire.window else "the field of"
        guess = "" if self.offer.is_dose_known else " (a guess: the instrument does not say)"
        text = (
            f"{self.worth.columns} columns are in doubt; {detectors} at {candidate.dose_e_per_a2:.2g} e/Å²"
            f"{guess} over {what} {size} is expected to tell {self.worth.gain_nats:.2g} nats about them, for "
            f"{candidate.electrons:.2g} electrons and {candidate.seconds:.2g} s"
        )
        if self.again is None or self.again.candidate == candidate:
            return text + "."
        ratio = self.again.candidate.electrons / candidate.electrons
        dose = "the same electrons" if 0.99 < ratio < 1.01 else f"{ratio:.2g} times the electrons"
        gain = self.again.gain_nats
        return f"{text}; the whole field once more as before would tell {gain:.2g} nats for {dose}."


def list_offers(
    known: Known,
    capabilities: Capabilities,
    state: InstrumentState,
    header: FrameHeader,
    field_box: Box,
    context: Context,
    *,
    allowed: Sequence[str],
    energies_kev: Sequence[float] = (),
    electrons_per_s: float = 1e6,
    without: Sequence[Window] = (),
) -> list[Offer]:
    """List what the instrument can do next without moving the stage.

    Parameters
    ----------
    known : Known
        Windows are put where a detector would tell most.
    capabilities, state
        Of the instrument.
    header : FrameHeader
        Of the last frame: its dwell and dose are what doses are multiples of.
    field_box : Box
        Of the scan field (`agent.sightings.field_box`).
    context : Context
        That frames are read under.
    allowed : sequence of str
        Detectors that may be used.
    energies_kev : sequence of float
        Beam energies that may be gone over to.
    electrons_per_s : float
        Dose that a second of waiting counts as.
    without : sequence of Window
        Windows that no window is put for.

    Returns
    -------
    list of Offer
        Empty if the instrument cannot be told to acquire.  Where the last frame's dwell or dose is not known,
        only what a live scan would bring on other detectors, at the law's half dose.
    """
    if AcquireImage.model_fields["kind"].default not in capabilities.commands:
        return []
    dose = dose_of(header)
    is_known = header.dwell_us is not None and bool(dose)
    if not is_known and not state.is_scanning:
        return []
    dose = dose or known.law.half_dose_e_per_a2
    field = Field(field_box, header.field_shape_px or header.shape)
    offers = []
    for switch, detectors, energy, settling_s in _settings(
        capabilities, state, context.energy_kev, allowed, energies_kev
    ):
        contexts = tuple(
            Context(specimen=context.specimen, energy_kev=energy, detector=detector) for detector in detectors
        )
        if not all(known.law.is_known(one) for one in contexts):
            continue  # no map could be read there
        windows: list[Window | None] = [None]
        if capabilities.can_scan_windows and is_known:
            plain = Candidate(contexts, dose, field_box, 0.0)
            windows += _windows(known, plain, field, electrons_per_s * _ROUND_TRIP_S / dose, without)
        for factor, window in itertools.product(_DOSES, windows):
            is_live = state.is_scanning and window is None  # such a frame comes by itself, as the last did
            dwell_us = (header.dwell_us or 0.0) * factor
            low, high = capabilities.dwell_us_range or (0.0, math.inf)
            if (is_known and not low <= dwell_us <= high) or (is_live and factor != 1.0):
                continue
            if not is_known and not is_live:
                continue
            rows, cols = field.shape if window is None else (window.rows_px, window.cols_px)
            candidate = Candidate(
                contexts,
                dose * factor,
                field_box if window is None else field.box_of(window),
                scan_s=(rows * cols * dwell_us + rows * capabilities.flyback_us) * 1e-6,
                settling_s=settling_s,
            )
            acquire = AcquireImage(dwell_us=dwell_us or None, window=window)
            offers.append(Offer(candidate, switch, acquire, factor, is_known))
    return offers


def _windows(
    known: Known, whole: Candidate, field: Field, free_area: float, without: Sequence[Window]
) -> list[Window]:
    """Windows where a scan of the whole field would tell most for its area (`agent.boxes.densest_boxes`)."""
    position = known.register.position_angstrom
    gain = column_gains(known, [whole])[0]
    for avoided in without:
        gain = np.where(is_inside(position, inner(field.box_of(avoided))), 0.0, gain)
    boxes = densest_boxes(
        position,
        gain,
        field.box,
        _WINDOWS,
        margin_angstrom=MARGIN_ANGSTROM,
        least_edge_angstrom=_LEAST_EDGE_ANGSTROM,
        free_area=free_area,
    )
    return [field.window_of(box) for box in boxes]


_Setting = tuple[SwitchDetector | SwitchEnergy | None, tuple[Detector, ...], float, float]


def _settings(
    capabilities: Capabilities,
    state: InstrumentState,
    energy_kev: float,
    allowed: Sequence[str],
    energies_kev: Sequence[float],
) -> list[_Setting]:
    """What has to be switched, detectors, energy and settling time of all that can be scanned with."""
    present = readable(state.detectors)
    settings: list[_Setting] = []
    for detectors in _detector_sets(capabilities, state, allowed):
        names = tuple(detector.name for detector in detectors)
        if set(names) == {detector.name for detector in present}:
            settings.append((None, detectors, energy_kev, 0.0))
        else:
            switch = SwitchDetector(detectors=names)
            settings.append((switch, detectors, energy_kev, capabilities.detector_switch_s))
    is_allowed = all(detector.name in allowed for detector in state.detectors)
    if SwitchEnergy.model_fields["kind"].default in capabilities.commands and is_allowed:
        for energy in energies_kev:
            if nearest_energy_kev(energy) != nearest_energy_kev(energy_kev) and present:
                change = SwitchEnergy(energy_kev=energy)
                settings.append((change, present, energy, capabilities.energy_switch_s))
    return settings


def choose(
    offers: Sequence[Offer],
    known: Known,
    policy: PolicySettings,
    *,
    score: Score | None = None,
    needed_nats: float = math.inf,
) -> Choice | None:
    """Choose the offer of most information for its dose and time; None if none is worth asking for.

    A switch must be better by `policy.advantage` than all that needs none, lest detectors flap.  What an
    offer tells beyond the nats that are needed is worth nothing: near a goal a small scan is enough.
    """
    worths = weigh(known, [offer.candidate for offer in offers], score=score)
    pairs = [
        (offer, worth)
        for offer, worth in zip(offers, worths, strict=True)
        if worth.gain_nats >= policy.least_gain_nats
    ]
    if not pairs:
        return None

    def rate(pair: tuple[Offer, Worth]) -> float:
        candidate = pair[0].candidate
        seconds = candidate.seconds + _ROUND_TRIP_S
        worth = min(pair[1].gain_nats, max(needed_nats, policy.least_gain_nats))
        return worth / (candidate.electrons + policy.electrons_per_s * seconds)

    best = max(pairs, key=rate)
    staying = [pair for pair in pairs if pair[0].switch is None]
    if best[0].switch is not None and staying:
        rival = max(staying, key=rate)
        if rate(best) < policy.advantage * rate(rival):
            best = rival
    again = (
        worth
        for offer, worth in zip(offers, worths, strict=True)
        if offer.switch is None and offer.acquire.window is None and offer.factor == 1.0
    )
    return Choice(*best, again=next(again, None))


def _detector_sets(
    capabilities: Capabilities, state: InstrumentState, allowed: Sequence[str]
) -> list[tuple[Detector, ...]]:
    """Detectors that can be read, alone or at once; those of now where they cannot be switched.

    Fewer detectors tell less for the same dose: they are no offer where they would have to be switched to.
    """
    known = [detector for detector in readable(capabilities.detectors) if detector.name in allowed]
    sets = [
        chosen
        for count in range(1, min(capabilities.max_simultaneous, len(known)) + 1)
        for chosen in itertools.combinations(known, count)
    ]
    present = {detector.name for detector in readable(state.detectors)}
    names = [{detector.name for detector in chosen} for chosen in sets]
    if SwitchDetector.model_fields["kind"].default not in capabilities.commands:
        return [chosen for chosen, name in zip(sets, names, strict=True) if name == present]
    return [
        chosen
        for chosen, name in zip(sets, names, strict=True)
        if name == present or not any(name < other for other in names)
    ]
