"""All that is known of the columns: what was said of each, what that makes believe, and by which law."""

from dataclasses import dataclass, field

from agent.belief import Belief
from agent.insight import Insight
from agent.register import Register
from models.fusion_law import FusionLaw


@dataclass(frozen=True)
class Known:
    """What is known of the columns.

    Parameters
    ----------
    register : Register
    belief : Belief
        That follows from it (`agent.belief.believe`).
    law : FusionLaw
        By which evidence adds up.
    insight : Insight
        How good this session's sources are.
    """

    register: Register
    belief: Belief
    law: FusionLaw
    insight: Insight = field(default_factory=Insight)
