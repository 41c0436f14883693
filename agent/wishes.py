"""From all that is known to the one thing that is worth asking for next, with its reason and its promise."""

import math
from dataclasses import dataclass

import numpy as np

from agent.assessment import Score, Situation
from agent.boxes import Box, inner, is_inside
from agent.interlocks import energy_objection
from agent.known import Known
from agent.readable import ROUNDING, Readable
from agent.register import Register
from agent.requests import Concern, Figure, Promise, Repeat, Wish
from agent.settings import Rules
from agent.value import column_gains
from agent.worth import Choice, Offer, choose, list_offers
from drivers.contract.context import Context
from drivers.contract.header import FrameHeader, Window
from drivers.contract.instrument import Capabilities, InstrumentState

#: Columns that a request names, at most.
_NAMED = 12

#: Two windows that share this part of their union are the same to ask for.
_SAME_WINDOW = 0.5

#: Scans of one window that could not be read, after which it is left alone.
_MOST_IN_VAIN = 3


@dataclass(frozen=True)
class Outlook:
    """What a choice rests on, after a map was entered.

    Parameters
    ----------
    known : Known
    readable : Readable
        What could be read so far.
    box : Box
        Of the scan field.
    header : FrameHeader
        Of the last frame.
    context : Context
        That it was read under.
    state, capabilities
        Of the instrument.
    situation : Situation
    score : Score
        Of promises kept so far.
    needed_nats : float
        Until the goals are reached: a scan is worth no more.
    """

    known: Known
    readable: Readable
    box: Box
    header: FrameHeader
    context: Context
    state: InstrumentState
    capabilities: Capabilities
    situation: Situation
    score: Score
    needed_nats: float = math.inf


def next_wish(outlook: Outlook, rules: Rules) -> tuple[Wish | None, str]:
    """Choose what to ask for; returns it, or None and why nothing."""
    repeats = outlook.situation.repeats
    left_alone = given_up(repeats)
    offers = list_offers(
        outlook.known,
        outlook.capabilities,
        outlook.state,
        outlook.header,
        outlook.box,
        outlook.context,
        allowed=rules.limits.detectors,
        energies_kev=_energies(outlook, rules),
        electrons_per_s=rules.policy.electrons_per_s,
        without=left_alone,
    )
    if not offers:
        return None, "the instrument offers no scan whose dose and time are known"
    readable = [
        offer
        for offer in offers
        if outlook.readable.may_hold(offer.candidate, is_window=offer.acquire.window is not None)
    ]
    within = [offer for offer in readable if _is_within_dose(offer, outlook.known.register, rules)]
    if not within:
        return None, "every further scan would pass the limit of dose"
    fresh = [
        offer
        for offer in within
        if not any(is_barred(offer, repeat) for repeat in repeats)
        and not any(_is_same(offer.acquire.window, window) for window in left_alone)
    ]
    choice = choose(
        fresh,
        outlook.known,
        rules.policy,
        score=outlook.score,
        needed_nats=outlook.needed_nats,
    )
    if choice is None:
        left = "" if len(fresh) == len(within) else ", but for what was in vain, denied or failed before"
        return None, f"no scan is expected to tell {rules.policy.least_gain_nats:g} nats{left}"
    if outlook.state.is_scanning and choice.offer.switch is None and choice.offer.acquire.window is None:
        return None, "nothing is better than the frames that come anyway"
    return _as_wish(choice, outlook), ""


def is_barred(offer: Offer, repeat: Repeat) -> bool:
    """Whether something to ask for is what must not be asked for again."""
    candidate, window = offer.candidate, offer.acquire.window
    other = None if repeat.acquire is None else repeat.acquire.window
    if repeat.is_unreadable:  # by whichever detector
        is_fainter = candidate.dose_e_per_a2 <= repeat.dose_e_per_a2 * ROUNDING
        is_there = window is None or other is None or _shared(window, other) > 0
        return is_fainter and is_there and candidate.electrons <= repeat.electrons * ROUNDING
    names = {source.detector for source in candidate.sources}
    if names != set(repeat.detectors) or candidate.sources[0].energy_kev != repeat.energy_kev:
        return False
    if window is None or other is None:
        return window is other
    return _is_same(window, other)


def given_up(repeats: tuple[Repeat, ...]) -> tuple[Window, ...]:
    """Windows that were in vain so often, at whatever dose, that they are left alone."""
    vain = [r.acquire.window for r in repeats if r.is_unreadable and r.acquire and r.acquire.window]
    return tuple(one for one in vain if sum(_is_same(one, other) for other in vain) >= _MOST_IN_VAIN)


def _is_same(one: Window | None, other: Window) -> bool:
    """Whether two windows are the same to ask for."""
    return one is not None and _shared(one, other) > _SAME_WINDOW


def _energies(outlook: Outlook, rules: Rules) -> tuple[float, ...]:
    """Beam energies that may be asked for."""
    host = outlook.context.specimen.host
    return tuple(
        energy
        for energy in outlook.capabilities.energies_kev
        if energy_objection(energy, rules.limits, host) is None
    )


def _is_within_dose(offer: Offer, register: Register, rules: Rules) -> bool:
    """Whether no column would take more than the limits allow."""
    limits = [limit for limit in (rules.limits.dose_e_per_a2, rules.goals.dose_e_per_a2) if limit]
    taken = register.taken_e_per_a2[is_inside(register.position_angstrom, offer.candidate.box)]
    most = float(taken.max(initial=0.0)) + offer.candidate.dose_e_per_a2
    return all(most <= limit for limit in limits)


def _shared(one: Window, other: Window) -> float:
    """Area that two windows share over that of their union."""
    rows = min(one.row_px + one.rows_px, other.row_px + other.rows_px) - max(one.row_px, other.row_px)
    cols = min(one.col_px + one.cols_px, other.col_px + other.cols_px) - max(one.col_px, other.col_px)
    both = max(rows, 0) * max(cols, 0)
    return both / (one.rows_px * one.cols_px + other.rows_px * other.cols_px - both)


def _as_wish(choice: Choice, outlook: Outlook) -> Wish:
    """Put a choice into the words and numbers of a request."""
    offer, worth = choice.offer, choice.worth
    candidate = offer.candidate
    is_live = outlook.state.is_scanning and offer.acquire.window is None
    promise = Promise(
        gain_nats=worth.gain_nats,
        plain_nats=worth.gain_nats / outlook.score.correction,
        columns=worth.columns,
        concerns=_concerns(choice, outlook),
        detectors=tuple(source.detector for source in candidate.sources),
        energy_kev=candidate.sources[0].energy_kev,
        dose_e_per_a2=candidate.dose_e_per_a2,
        electrons=candidate.electrons,
        seconds=candidate.seconds,
    )
    figures = [
        Figure(name="gain", value=worth.gain_nats, unit="nats"),
        Figure(name="columns", value=float(worth.columns), unit="1"),
        Figure(name="dose", value=candidate.dose_e_per_a2, unit="e/Å²"),
        Figure(name="electrons", value=candidate.electrons, unit="1"),
        Figure(name="time", value=candidate.seconds, unit="s"),
        Figure(name="score", value=outlook.score.correction, unit="1"),
    ]
    if choice.again is not None:
        figures.append(Figure(name="gain_of_the_field_again", value=choice.again.gain_nats, unit="nats"))
    if offer.switch is None:
        return Wish(command=offer.acquire, reason=choice.reason, figures=tuple(figures), promise=promise)
    return Wish(
        command=offer.switch,
        then=None if is_live else offer.acquire,
        reason=choice.reason,
        figures=tuple(figures),
        promise=promise,
    )


def _concerns(choice: Choice, outlook: Outlook) -> tuple[Concern, ...]:
    """The columns that a choice is expected to tell most about."""
    candidate, register = choice.offer.candidate, outlook.known.register
    gain = column_gains(outlook.known, [candidate])[0]
    gain = np.where(is_inside(register.position_angstrom, inner(candidate.box)), gain, 0.0)
    rows = [int(row) for row in np.argsort(-gain, kind="stable")[:_NAMED] if gain[row] > 0]
    correction = outlook.score.correction
    return tuple(
        Concern(
            row=row,
            x_nm=float(register.position_angstrom[row, 1]) / 10,
            y_nm=float(register.position_angstrom[row, 0]) / 10,
            entropy_nats=float(outlook.known.belief.entropy_nats[row]),
            gain_nats=correction * float(gain[row]),
        )
        for row in rows
    )
