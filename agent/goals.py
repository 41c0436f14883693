"""What a session is for: goals that are reached, not yet, or out of reach, each said with its number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, assert_never

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from agent.settings import Defect, GoalSettings
from drivers.contract.context import ColumnClass, Message
from models.concentrations import share_quantiles
from models.fusion import START_SHARES

#: Half a 95 % interval is this many standard deviations.
_HALF_INTERVAL = 1.96

#: A number of columns is out of reach if it is more than so many standard deviations above what is expected.
_SPREADS = 2.0

Status = Literal["reached", "not_yet", "cannot_be"]

_CLASS_OF: dict[Defect, ColumnClass] = {
    "vac1": ColumnClass.VAC1,
    "vac2": ColumnClass.VAC2,
    "dopant": ColumnClass.DOPANT,
}


class ColumnsGoal(Message):
    """Know the class of the columns."""

    kind: Literal["columns"] = "columns"
    most_entropy_nats: Annotated[float, Field(gt=0)] = 0.05
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Part of the columns that must lie below."""


class MeanGoal(Message):
    """Know the class of the columns on average."""

    kind: Literal["mean"] = "mean"
    most_entropy_nats: Annotated[float, Field(gt=0)] = 0.05


class FindGoal(Message):
    """Find the defects, and call none that is not there."""

    kind: Literal["find"] = "find"
    least_f1: Annotated[float, Field(gt=0, lt=1)] = 0.98
    """As expected by what is believed of the columns."""


class ConcentrationGoal(Message):
    """Know how much of its sublattice a defect takes in the specimen, not only in the field."""

    kind: Literal["concentration"] = "concentration"
    defect: Defect
    relative: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Half of the 95 % interval over the value."""


class DoseLimit(Message):
    """Give no column more than this; what is not known by then stays unknown."""

    kind: Literal["dose"] = "dose"
    most_e_per_a2: Annotated[float, Field(gt=0)]


Goal = Annotated[
    ColumnsGoal | MeanGoal | FindGoal | ConcentrationGoal | DoseLimit, Field(discriminator="kind")
]


class Standing(Message):
    """How far a goal is."""

    goal: Goal
    status: Status
    value: float | None
    """Now, in the goal's own measure; None where there is nothing to measure yet."""
    sentence: str


class Verdict(Message):
    """How far a session is: `status` is that of all goals together."""

    status: Status
    standings: tuple[Standing, ...]


def goals_of(settings: GoalSettings) -> tuple[Goal, ...]:
    """Goals that the settings name."""
    goals: list[Goal] = []
    if settings.entropy_nats is not None:
        goals.append(ColumnsGoal(most_entropy_nats=settings.entropy_nats, fraction=settings.fraction))
    if settings.mean_entropy_nats is not None:
        goals.append(MeanGoal(most_entropy_nats=settings.mean_entropy_nats))
    if settings.defects_f1 is not None:
        goals.append(FindGoal(least_f1=settings.defects_f1))
    if settings.defect is not None:
        goals.append(ConcentrationGoal(defect=settings.defect, relative=settings.relative))
    if settings.dose_e_per_a2 is not None:
        goals.append(DoseLimit(most_e_per_a2=settings.dose_e_per_a2))
    return tuple(goals)


@dataclass(frozen=True)
class Knowledge:
    """What is known of the columns, and what could still be; C columns.

    Parameters
    ----------
    probability : ndarray of shape (C, 5)
    entropy_nats : ndarray of shape (C,)
    is_metal : ndarray of shape (C,)
    dose_e_per_a2 : ndarray of shape (C,)
        That each column has taken.
    attainable_nats : ndarray of shape (C,), optional
        Entropy that would be expected to be left after all that the instrument can do within the limits
        (`agent.value.attainable_entropy`); None where that is not known.
    chances : ndarray of shape (C,), optional
        That each column would then be known as well as a goal of columns asks
        (`agent.value.attainable_chances`); None where that is not known.
    shares : ndarray of shape (5,)
        Of the classes within their sublattice, that the probabilities rest on.
    unseen_defects, unseen_nats : float
        Expected of the columns in view that no scan has shown yet, and their entropy.
    """

    probability: NDArray[np.floating]
    entropy_nats: NDArray[np.floating]
    is_metal: NDArray[np.bool_]
    dose_e_per_a2: NDArray[np.floating]
    attainable_nats: NDArray[np.floating] | None = None
    chances: NDArray[np.floating] | None = None
    shares: NDArray[np.floating] = field(default_factory=START_SHARES.copy)
    unseen_defects: float = 0.0
    unseen_nats: float = 0.0

    @property
    def defects(self) -> tuple[float, float]:
        """Expected number of wrong calls of defects and of missed ones, and of called and true ones."""
        classes = list(_CLASS_OF.values())
        chance = np.asarray(self.probability, np.float64)
        called = np.isin(chance.argmax(axis=1), classes)
        right = float(chance[called].max(axis=1, initial=0.0).sum())
        both = float(called.sum() + chance[:, classes].sum()) + self.unseen_defects
        return both - 2 * right, both


def judge(goals: Sequence[Goal], knowledge: Knowledge) -> Verdict:
    """Say how far a session is.

    Returns
    -------
    Verdict
        ``reached`` if every goal is; ``cannot_be`` if one cannot be, or the dose is spent before; else
        ``not_yet``.  Without a goal but a limit of dose, a session has reached its end when that is spent.
    """
    standings = tuple(_stand(goal, knowledge) for goal in goals)
    wanted = [s for s in standings if s.goal.kind != "dose"]
    is_spent = any(s.status == "reached" for s in standings if s.goal.kind == "dose")
    if not wanted:
        status: Status = "reached" if is_spent else "not_yet"
    elif all(s.status == "reached" for s in wanted):
        status = "reached"
    elif is_spent or any(s.status == "cannot_be" for s in wanted):
        status = "cannot_be"
    else:
        status = "not_yet"
    return Verdict(status=status, standings=standings)


def needed_nats(goals: Sequence[Goal], knowledge: Knowledge) -> float:
    """Nats that have still to be told until the goals are reached; infinite where that is not known."""
    if not len(knowledge.entropy_nats):
        return math.inf
    return max((_needed(goal, knowledge) for goal in goals if goal.kind != "dose"), default=math.inf)


def _needed(goal: Goal, knowledge: Knowledge) -> float:
    """Nats that one goal still needs."""
    entropy = np.asarray(knowledge.entropy_nats, np.float64)
    match goal:
        case ColumnsGoal():
            over = np.sort(entropy[entropy > goal.most_entropy_nats]) - goal.most_entropy_nats
            needed = math.ceil(goal.fraction * len(entropy) - 1e-9)
            return float(over[: max(needed - (len(entropy) - len(over)), 0)].sum())
        case MeanGoal():
            return float(entropy.sum() - goal.most_entropy_nats * len(entropy))
        case FindGoal():  # errors go with the nats that are left
            wrong, both = knowledge.defects
            part = 1 - (1 - goal.least_f1) * both / wrong if wrong > 0 else 0.0
            return max(part, 0.0) * float(entropy.sum() + knowledge.unseen_nats)
        case ConcentrationGoal() | DoseLimit():
            return math.inf
        case _:
            assert_never(goal)


def _stand(goal: Goal, knowledge: Knowledge) -> Standing:
    """How far one goal is."""
    if isinstance(goal, ColumnsGoal | MeanGoal | FindGoal) and len(knowledge.entropy_nats) == 0:
        return Standing(goal=goal, status="not_yet", value=None, sentence="no column has been seen yet")
    match goal:
        case ColumnsGoal():
            return _stand_columns(goal, knowledge)
        case MeanGoal():
            return _stand_mean(goal, knowledge)
        case FindGoal():
            return _stand_find(goal, knowledge)
        case ConcentrationGoal():
            return _stand_concentration(goal, knowledge)
        case DoseLimit():
            return _stand_dose(goal, knowledge)
        case _:
            assert_never(goal)


def _stand_columns(goal: ColumnsGoal, knowledge: Knowledge) -> Standing:
    """Columns below the entropy that is asked for, now and at best."""
    count = len(knowledge.entropy_nats)
    needed = math.ceil(goal.fraction * count - 1e-9)
    known = int((knowledge.entropy_nats <= goal.most_entropy_nats).sum())
    sentence = (
        f"{known} of {count} columns are known to {goal.most_entropy_nats:g} nats, {needed} are asked for"
    )
    status: Status = "reached" if known >= needed else "not_yet"
    if status == "not_yet" and knowledge.chances is not None:
        within = float(knowledge.chances.sum())
        spread = math.sqrt(float((knowledge.chances * (1 - knowledge.chances)).sum()))
        if within + _SPREADS * spread < needed:
            status = "cannot_be"
            sentence += f"; with all that the limits allow, {within:.0f} are expected"
    return Standing(goal=goal, status=status, value=known / count, sentence=sentence)


def _stand_mean(goal: MeanGoal, knowledge: Knowledge) -> Standing:
    """Mean entropy of the columns, now and at best."""
    mean = float(np.mean(knowledge.entropy_nats))
    sentence = f"{mean:.3g} nats are left of a column on average, {goal.most_entropy_nats:g} are asked for"
    status: Status = "reached" if mean <= goal.most_entropy_nats else "not_yet"
    if status == "not_yet" and knowledge.attainable_nats is not None:
        best = float(np.minimum(knowledge.attainable_nats, knowledge.entropy_nats).mean())
        if best > goal.most_entropy_nats:
            status = "cannot_be"
            sentence += f"; with all that the limits allow, {best:.3g} are expected"
    return Standing(goal=goal, status=status, value=mean, sentence=sentence)


def _stand_find(goal: FindGoal, knowledge: Knowledge) -> Standing:
    """F1 of the defects as the posteriors expect it."""
    wrong, both = knowledge.defects
    value = 1 - wrong / both if both > 0 else 1.0
    sentence = f"the defects are expected to be found to an F1 of {value:.3f}, {goal.least_f1:g} is asked for"
    status: Status = "reached" if value >= goal.least_f1 else "not_yet"
    return Standing(goal=goal, status=status, value=value, sentence=sentence)


def _stand_concentration(goal: ConcentrationGoal, knowledge: Knowledge) -> Standing:
    """Half the 95 % interval of a concentration over its value, both as a map has them.

    What all columns of a frame may be off by alike is taken for that of all evidence: it may be less.
    """
    number = _CLASS_OF[goal.defect]
    of_sublattice = knowledge.is_metal == (number == ColumnClass.DOPANT)
    chance = np.asarray(knowledge.probability[of_sublattice, number], np.float64)
    sites = len(chance)
    if sites == 0 or chance.sum() <= 0:
        return Standing(
            goal=goal, status="not_yet", value=None, sentence=f"no site of a {goal.defect} has been seen yet"
        )
    low, fraction, high = share_quantiles(chance, float(knowledge.shares[number]))
    width = (high - low) / 2 / fraction
    sentence = (
        f"{goal.defect}: {fraction:.3%} of {sites} sites, known to {width:.1%} of that (95 %), "
        f"{goal.relative:.1%} are asked for"
    )
    if width <= goal.relative:
        return Standing(goal=goal, status="reached", value=width, sentence=sentence)
    needed = math.ceil((_HALF_INTERVAL / goal.relative) ** 2 * (1 - fraction) / fraction)
    if needed > sites:
        sentence += (
            f"; these columns are too few however well they are known: about {needed} sites are needed"
        )
        return Standing(goal=goal, status="cannot_be", value=width, sentence=sentence)
    return Standing(goal=goal, status="not_yet", value=width, sentence=sentence)


def _stand_dose(goal: DoseLimit, knowledge: Knowledge) -> Standing:
    """Largest dose of a column against the limit."""
    most = float(knowledge.dose_e_per_a2.max(initial=0.0))
    status: Status = "reached" if most >= goal.most_e_per_a2 else "not_yet"
    sentence = f"{most:.3g} of {goal.most_e_per_a2:.3g} e/Å² are spent"
    return Standing(goal=goal, status=status, value=most, sentence=sentence)
