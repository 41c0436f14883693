"""What the agent knows between two events."""

from dataclasses import dataclass, field, replace
from typing import Literal

from agent.assessment import Score
from agent.frames import FrameRef
from agent.goals import Status as GoalStatus
from agent.goals import Verdict
from agent.ledger import Exposure, Ledger, Shift
from agent.requests import Repeat, Request, Status, Wish
from agent.settings import Mode, Rules
from drivers.contract.facts import Settled
from drivers.contract.instrument import Capabilities, InstrumentState

#: Verdicts in a row that make a change lasting: columns come into view and leave it from map to map.
LASTING = 10

#: States of the instrument that are kept to tell how it stood while a frame was taken.
_STATES_KEPT = 16

Link = Literal["connecting", "up", "down"]


@dataclass(frozen=True)
class Counts:
    """What has become of the frames so far."""

    seen: int = 0
    mapped: int = 0
    skipped: int = 0
    rejected: int = 0
    dropped: int = 0
    missing: int = 0
    """Numbers that never came, and that the bridge did not report as dropped."""
    columns: int = 0


@dataclass(frozen=True)
class Memory:
    """What the policy remembers of the maps before.

    Parameters
    ----------
    above : int
        Maps above the threshold, one after another, under the present detector.
    cooldown : int
        Maps that must still come before the next request.
    entropy : tuple of (str, float)
        Last mean entropy by detector [nats].
    detector : str or None
        The detector of the last map.
    """

    above: int = 0
    cooldown: int = 0
    entropy: tuple[tuple[str, float], ...] = ()
    detector: str | None = None


@dataclass(frozen=True)
class Reservation:
    """The dose of a scan that was asked for, booked before its frame came, on a specimen drifted so far."""

    command_name: str
    exposure: Exposure | None
    drift_angstrom: Shift


@dataclass(frozen=True)
class Doses:
    """What the specimen has taken.

    Parameters
    ----------
    ledger : Ledger
    last : Exposure or None
        Of the last frame: what a frame that never came counts as.
    group : str or None
        Scan that was booked last, of those that several detectors read at once.
    reserved : tuple of Reservation
        Scans that were asked for and have not come.
    is_over : bool
        Whether it was said that a region has taken more than the limit.
    """

    ledger: Ledger = field(default_factory=Ledger)
    last: Exposure | None = None
    group: str | None = None
    reserved: tuple[Reservation, ...] = ()
    is_over: bool = False


@dataclass(frozen=True)
class Told:
    """What has been said of the goals: each status at once when it comes first, later only if it lasts.

    Parameters
    ----------
    status : str
        The one that was said last; ``"not_yet"`` needs no saying at first.
    ever : tuple of str
        All that were said.
    other : str
        The present one.
    since : int
        For so many verdicts in a row.
    """

    status: GoalStatus = "not_yet"
    ever: tuple[GoalStatus, ...] = ("not_yet",)
    other: GoalStatus = "not_yet"
    since: int = 0

    def after(self, status: GoalStatus) -> "Told":
        """What has been said once a verdict has come: of this one, if it is news."""
        since = self.since + 1 if status == self.other else 1
        if status == self.status or (status in self.ever and since < LASTING):
            return replace(self, other=status, since=since)
        return Told(status=status, ever=tuple(dict.fromkeys((*self.ever, status))), other=status, since=since)


@dataclass(frozen=True)
class Evidence:
    """How far the weighing of maps is, and what came of it.

    Parameters
    ----------
    weighing : FrameRef or None
        The frame whose map is being weighed.
    waiting : tuple of FrameRef
        Frames whose maps are to be weighed next, oldest first.
    asked : tuple of (FrameRef, str)
        Frames that requests asked for, with the request's name.
    last : FrameRef or None
        The frame that was weighed last.
    is_stale : bool
        Whether the last choice came to nothing, or a mode was set, so that another has to be made.
    pending : tuple of (Wish, FrameRef) or None
        What will be asked for as soon as the limit of requests a minute allows it.
    score : Score
    early : tuple or None
        Request, status and outcome of one that was scored before the instrument's answer came.
    vain_fields, vain_windows : int
        Scans of the field, and of windows of it, that told nothing since one did.
    verdict : Verdict or None
        How far the goals are.
    told : Told
        What has been said of that.
    drift_angstrom : tuple of float
        How far the specimen has gone since the first map.
    repeats : tuple of Repeat
        What must not be asked for again yet.
    """

    weighing: FrameRef | None = None
    waiting: tuple[FrameRef, ...] = ()
    asked: tuple[tuple[FrameRef, str], ...] = ()
    last: FrameRef | None = None
    is_stale: bool = False
    pending: tuple[Wish, FrameRef | None] | None = None
    score: Score = field(default_factory=Score)
    early: tuple[str, Status, str] | None = None
    vain_fields: int = 0
    vain_windows: int = 0
    verdict: Verdict | None = None
    told: Told = field(default_factory=Told)
    drift_angstrom: Shift = (0.0, 0.0)
    repeats: tuple[Repeat, ...] = ()

    def request_of(self, frame: FrameRef) -> str | None:
        """Name of the request that asked for a frame."""
        return next((name for known, name in self.asked if known == frame), None)


@dataclass(frozen=True)
class State:
    """All of it; `decide` returns the next one.

    Parameters
    ----------
    instruments : tuple of InstrumentState
        The last few states that were read back, oldest first.
    confirmed_s : float or None
        Time of the state that the last command was confirmed by, on the instrument's clock [s].
    next_sequence : int or None
        The number that the next frame should have.
    refused : tuple of int
        Numbers of the last frames that the edge refused.
    busy : FrameRef or None
        The frame that is being analysed.
    waiting : tuple
        Frames that are to be analysed next, oldest first.
    requests : tuple of Request
        All that are open, and the last few that have ended.
    sent_s : tuple of float
        When the last commands were sent.
    doses : Doses
    evidence : Evidence
    halted : str
        Why the agent has stopped acting until the operator sets a mode; empty if it has not.
    blanked : int
        How often it has blanked the beam.
    energy_doubt : str
        Why the beam energy is not known; empty if it is.  Frames are quarantined meanwhile.
    quiet_since_s : float or None
        When the watchdog began to wait for a frame; None while it is not armed.
    """

    session: str = ""
    rules: Rules = field(default_factory=Rules)
    mode: Mode = "observe"
    link: Link = "connecting"
    bridge_session: str | None = None
    is_reader: bool = False
    capabilities: Capabilities | None = None
    instruments: tuple[InstrumentState, ...] = ()
    confirmed_s: float | None = None
    next_sequence: int | None = None
    refused: tuple[int, ...] = ()
    busy: FrameRef | None = None
    waiting: tuple[tuple[FrameRef, Settled], ...] = ()
    counts: Counts = Counts()
    memory: Memory = Memory()
    requests: tuple[Request, ...] = ()
    requests_made: int = 0
    sent_s: tuple[float, ...] = ()
    doses: Doses = Doses()
    evidence: Evidence = Evidence()
    halted: str = ""
    blanked: int = 0
    energy_doubt: str = ""
    quiet_since_s: float | None = None
    is_quiet: bool = False
    is_disk_low: bool = False
    is_source_ended: bool = False
    is_finishing: bool = False
    end_reason: str = ""
    is_aborted: bool = False

    @property
    def instrument(self) -> InstrumentState | None:
        """How the instrument stood when it was last heard of."""
        return self.instruments[-1] if self.instruments else None

    def with_instrument(self, told: InstrumentState) -> "State":
        """Take note of how the instrument stands; answers may overtake each other."""
        known = sorted((*self.instruments, told), key=lambda state: state.monotonic_s)
        return replace(self, instruments=tuple(known[-_STATES_KEPT:]))
