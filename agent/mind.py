"""All evidence of a session, and what follows from each new map: pure, so that a replay comes to the same.

`consider` enters a map into the register, says how far the goals are, scores the request that asked for the
frame, and chooses what to ask for next.  It decides nothing: `agent.decide` gets its assessment as an event.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agent.assessment import Assessment, Situation
from agent.belief import Belief, believe
from agent.boxes import is_inside
from agent.drift import Steadiness
from agent.evidence import Entry, enter
from agent.goals import Knowledge, goals_of, judge, needed_nats
from agent.insight import Insight, learn_insight
from agent.known import Known
from agent.readable import Readable
from agent.register import Register, empty_register
from agent.scans import Scan, join_scans, muted
from agent.settings import Rules
from agent.sightings import field_box, read_map
from agent.value import attainable_chances, attainable_entropy, spent_evenly
from agent.wishes import Outlook, next_wish
from drivers.contract.context import ColumnClass
from drivers.contract.errors import InputError
from drivers.contract.header import FrameHeader
from drivers.contract.instrument import Capabilities
from drivers.contract.maps import DefectMap
from models.fusion_law import FusionLaw

#: A dose beyond which no source says anything more [e/Å²].
_ENDLESS = 1e9

#: What a map that makes no sense may raise.
_UNUSABLE = (InputError, ValueError, ArithmeticError, LookupError)

#: Frames among which one that comes again is known for what it is.
_REMEMBERED = 1000


@dataclass(frozen=True)
class Mind:
    """What is known of the specimen.

    Parameters
    ----------
    register : Register
    insight : Insight
        How good the session's sources are.
    drift_angstrom : ndarray of shape (2,)
        How far the specimen has gone since the first map.
    group : str or None
        Name of the scan whose further detectors' maps are awaited.
    waiting : tuple of Scan
        Its maps so far.
    pixels : tuple of str
        Digests of the newest frames' pixels: a frame that is played twice is one observation.
    readable : Readable
        What the scans brought that could be entered.
    outlook : Outlook or None
        What the last choice rested on.
    """

    register: Register = field(default_factory=empty_register)
    insight: Insight = field(default_factory=Insight)
    drift_angstrom: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    group: str | None = None
    waiting: tuple[Scan, ...] = ()
    pixels: tuple[str, ...] = ()
    readable: Readable = field(default_factory=Readable)
    outlook: Outlook | None = None


@dataclass(frozen=True)
class Means:
    """What does not change while a session lasts, but the instrument itself.

    Parameters
    ----------
    rules : Rules
    law : FusionLaw
    capabilities : Capabilities or None
        Of the instrument.
    """

    rules: Rules
    law: FusionLaw
    capabilities: Capabilities | None


def consider(
    mind: Mind, defect_map: DefectMap, header: FrameHeader, situation: Situation, means: Means
) -> tuple[Mind, Assessment]:
    """Take a map into account.

    Parameters
    ----------
    mind : Mind
    defect_map, header
        The map and its frame's header.
    situation : Situation
        How the instrument stands, what is to be scored, and what must not be asked for.
    means : Means

    Returns
    -------
    mind : Mind
    assessment : Assessment
        With doubts, and nothing entered, where the map cannot be used.
    """
    try:
        flyback_us = 0.0 if means.capabilities is None else means.capabilities.flyback_us
        scan = read_map(defect_map, header, means.law, flyback_us)
        is_repeated = defect_map.header.frame.sha256 in mind.pixels
        if is_repeated:
            scan = muted(scan)
        mind = _remember(_with_left_over(mind, header, means), defect_map)
        mind, whole = _gather(mind, scan, header)
        if whole is None:
            return mind, Assessment(is_entered=False, is_complete=False, remark="other detectors are awaited")
        if is_repeated and len(whole.layers) == 1:
            return mind, _with(
                Assessment(is_entered=False, columns=int(mind.register.is_seen.sum())),
                mind,
                remark="this frame was seen before, pixel for pixel: it says nothing new",
            )
        mind, assessment, outlook = _enter(mind, whole, defect_map, header, situation, means)
    except _UNUSABLE as error:
        return mind, Assessment(is_entered=False, doubts=(str(error),), remark="the map could not be entered")
    if outlook is None:
        return mind, assessment
    try:
        return _conclude(mind, assessment, outlook, means)
    except _UNUSABLE as error:  # what the map told stands
        return mind, _with(assessment, mind, remark=f"nothing could be chosen: {error}")


def reconsider(mind: Mind, situation: Situation, means: Means) -> Assessment:
    """Choose anew from what is known, without a new map."""
    if mind.outlook is None or situation.instrument is None:
        return Assessment(is_entered=False, remark="nothing is known yet")
    outlook = replace(mind.outlook, state=situation.instrument, situation=situation, score=situation.score)
    wish, remark = next_wish(outlook, means.rules)
    return _with(
        Assessment(is_entered=False, columns=int(mind.register.is_seen.sum()), wish=wish, remark=remark), mind
    )


def _gather(mind: Mind, scan: Scan, header: FrameHeader) -> tuple[Mind, Scan | None]:
    """Join the maps of one pass of the beam; None until they are complete."""
    group = header.simultaneous
    if group is None:
        return mind, scan
    waiting = (*mind.waiting, scan)
    if len(waiting) < group.count:
        return replace(mind, group=group.group, waiting=waiting), None
    return replace(mind, group=None, waiting=()), join_scans(waiting)


def _remember(mind: Mind, defect_map: DefectMap) -> Mind:
    """Note a frame's pixels."""
    return replace(mind, pixels=(*mind.pixels, defect_map.header.frame.sha256)[-_REMEMBERED:])


def _with_left_over(mind: Mind, header: FrameHeader, means: Means) -> Mind:
    """Enter what came of an earlier scan whose other detectors' maps never did, as of a rejected frame."""
    group = header.simultaneous
    if not mind.waiting or (group is not None and group.group == mind.group):
        return mind
    maps, mind = mind.waiting, replace(mind, group=None, waiting=())
    try:
        scan = join_scans(maps)
        register, entry = enter(mind.register, scan, means.law, _steadiness(means))
    except _UNUSABLE:
        return mind
    if not entry.is_entered:
        return mind
    return _after(mind, scan, entry, register, believe(register, means.law), means.law)


def _after(mind: Mind, scan: Scan, entry: Entry, register: Register, belief: Belief, law: FusionLaw) -> Mind:
    """What a scan that was entered leaves: the register with it, how good its sources are, the drift."""
    probability = np.zeros((len(entry.row), belief.probability.shape[1]))  # 0 for columns that were left out
    seen = entry.row >= 0
    probability[seen] = belief.probability[entry.row[seen]]
    return replace(
        mind,
        register=register,
        insight=learn_insight(mind.insight, scan, probability, law),
        drift_angstrom=mind.drift_angstrom + entry.drift_angstrom,
    )


def _steadiness(means: Means) -> Steadiness:
    return Steadiness(drift_sigma_angstrom_per_s=means.rules.policy.drift_angstrom_per_s)


def _enter(
    mind: Mind,
    scan: Scan,
    defect_map: DefectMap,
    header: FrameHeader,
    situation: Situation,
    means: Means,
) -> tuple[Mind, Assessment, Outlook | None]:
    """Enter a whole scan; what can be chosen by afterwards is None where nothing is to be chosen."""
    law, before = means.law, mind.register
    known = believe(before, law)
    register, entry = enter(before, scan, law, _steadiness(means))
    belief = believe(register, law)
    box = field_box(defect_map, header)
    view = np.flatnonzero(is_inside(register.position_angstrom, box) & register.is_seen)
    assessment = Assessment(
        is_entered=entry.is_entered,
        doubts=entry.doubts,
        columns=int(register.is_seen.sum()),
        in_view=len(view),
        new=entry.new,
        changed=len(entry.changed),
        mean_entropy_nats=float(belief.entropy_nats[view].mean()) if len(view) else None,
    )
    if not entry.is_entered:
        return mind, _with(assessment, mind, remark="the map could not be entered"), None
    mind = replace(
        _after(mind, scan, entry, register, belief, law),
        outlook=None,
        readable=mind.readable.with_scan(scan, defect_map, header),
    )
    realised, score = _realised(entry, known, belief), situation.score
    if situation.promised_nats is not None:
        score = score.scored(situation.promised_nats, realised)
    assessment = _with(assessment, mind, realised_nats=realised, score=score)
    if situation.instrument is None or means.capabilities is None:
        return mind, _with(assessment, mind, remark="the instrument has not said how it stands"), None
    outlook = Outlook(
        known=Known(register, belief, law, mind.insight),
        readable=mind.readable,
        box=box,
        header=header,
        context=defect_map.header.settled.context,
        state=situation.instrument,
        capabilities=means.capabilities,
        situation=situation,
        score=score,
    )
    return mind, assessment, outlook


def _conclude(mind: Mind, assessment: Assessment, outlook: Outlook, means: Means) -> tuple[Mind, Assessment]:
    """Say how far the goals are after a map was entered, and what to ask for."""
    goals, verdict = goals_of(means.rules.goals), None
    if goals:
        knowledge = _knowledge(outlook, means)
        verdict = judge(goals, knowledge)
        outlook = replace(outlook, needed_nats=needed_nats(goals, knowledge))
    mind = replace(mind, outlook=outlook)
    if verdict is not None and verdict.status != "not_yet":
        remark = "the goal is reached" if verdict.status == "reached" else "the goal cannot be reached"
        return mind, _with(assessment, mind, verdict=verdict, remark=remark)
    if not outlook.situation.is_asking:
        return mind, _with(assessment, mind, verdict=verdict, remark="nothing may be asked for now")
    wish, remark = next_wish(outlook, means.rules)
    return mind, _with(assessment, mind, verdict=verdict, wish=wish, remark=remark)


def _with(assessment: Assessment, mind: Mind, **more: object) -> Assessment:
    """Assessment with further fields."""
    row, column = mind.drift_angstrom
    return assessment.rebuilt(drift_angstrom=(float(row), float(column)), **more)


def _realised(entry: Entry, known: Belief, belief: Belief) -> float:
    """What a scan told of the columns that were known before and did not change [nats]."""
    rows = entry.row[(entry.row >= 0) & (entry.row < len(known.entropy_nats))]
    rows = rows[~np.isin(rows, entry.changed)]
    return float((known.entropy_nats[rows] - belief.entropy_nats[rows]).sum())


def _knowledge(outlook: Outlook, means: Means) -> Knowledge:
    """What is known of the columns in view, for goals."""
    limits, goals, known = means.rules.limits, means.rules.goals, outlook.known
    register, belief = known.register, known.belief
    inside = is_inside(register.position_angstrom, outlook.box)
    view, unseen = np.flatnonzero(inside & register.is_seen), inside & ~register.is_seen
    defects = [ColumnClass.VAC1, ColumnClass.VAC2, ColumnClass.DOPANT]
    taken = register.taken_e_per_a2[view]
    allowed = [one for one in outlook.capabilities.detectors if one.name in limits.detectors]
    contexts = [outlook.context.rebuilt(detector=one) for one in allowed]
    contexts = [context for context in contexts if means.law.is_known(context)]
    most = min(limits.dose_e_per_a2 or _ENDLESS, goals.dose_e_per_a2 or _ENDLESS)
    left = max(most - float(np.median(taken)), 0.0) if len(taken) else most
    spent = spent_evenly(contexts or [outlook.context], left, outlook.capabilities.max_simultaneous)
    best = attainable_entropy(known, spent)
    chances = None
    if goals.entropy_nats is not None:
        chances = attainable_chances(known, spent, goals.entropy_nats)[view]
    return Knowledge(
        belief.probability[view],
        belief.entropy_nats[view],
        register.is_metal[view],
        taken,
        best[view],
        chances,
        belief.shares,
        unseen_defects=float(belief.probability[unseen][:, defects].sum()),
        unseen_nats=float(belief.entropy_nats[unseen].sum()),
    )
