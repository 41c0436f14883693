"""What a map added to the evidence, and what should be done about it: the news that `decide` gets of it."""

from typing import Annotated

from pydantic import Field

from agent.goals import Verdict
from agent.requests import Repeat, Wish
from drivers.contract.context import Message
from drivers.contract.instrument import InstrumentState

#: A promise is corrected once some nats have come in: the score starts as if this many had, just as promised.
_TRUSTED_NATS = 5.0

#: Older scores fade by this factor with each new one.
_FADING = 0.8


class Score(Message):
    """Promises kept so far, the older ones faded."""

    promised_nats: float = 0.0
    realised_nats: float = 0.0

    @property
    def correction(self) -> float:
        """Factor for the next promise, 0.2 to 3."""
        ratio = (self.realised_nats + _TRUSTED_NATS) / (self.promised_nats + _TRUSTED_NATS)
        return min(max(ratio, 0.2), 3.0)

    def scored(self, promised_nats: float, realised_nats: float) -> "Score":
        """Score with one more promise; `promised_nats` is as it was before any correction."""
        return Score(
            promised_nats=_FADING * self.promised_nats + promised_nats,
            realised_nats=_FADING * self.realised_nats + realised_nats,
        )


class Situation(Message):
    """What the weighing of a map rests on beside the map and all before it."""

    instrument: InstrumentState | None
    is_asking: bool = True
    """Whether a wish is wanted; not while a request is open, or none may be made."""
    score: Score = Score()
    request: str | None = None
    """The request that asked for the frame, if it is to be scored by it."""
    promised_nats: float | None = None
    """What that request promised, before correction."""
    repeats: tuple[Repeat, ...] = ()
    """What must not be asked for."""


class Assessment(Message):
    """What a map added."""

    is_entered: bool
    """Whether any column could be; False too while other detectors' maps of the same scan are awaited."""
    is_complete: bool = True
    """False while other detectors' maps of the same scan are awaited."""
    doubts: tuple[str, ...] = ()
    """Why grains, or the whole map, were left out."""
    columns: int = 0
    """Of the specimen, that are known by now."""
    in_view: int = 0
    """Of them, in the field."""
    new: int = 0
    changed: int = 0
    """Columns found changed since they were seen last."""
    mean_entropy_nats: float | None = None
    """Of the columns in view, by all evidence."""
    drift_angstrom: tuple[float, float] = (0.0, 0.0)
    """How far (row, column) the specimen has gone since the first map."""
    realised_nats: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """What the map told of the columns that were known before, those found changed left out."""
    score: Score | None = None
    """After the request that asked for the frame was scored."""
    verdict: Verdict | None = None
    wish: Wish | None = None
    remark: str = ""
    """Why there is no wish."""
