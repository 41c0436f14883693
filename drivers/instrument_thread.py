"""The one thread that calls an instrument: takes its frames, carries commands out, reads its state."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import ValidationError

from drivers.confirm import Tolerances, disagreement, is_frame_of
from drivers.contract.codec import Buffer, explain, pack, pack_frame
from drivers.contract.errors import CommandRefusedError, InputError, WireError, shown
from drivers.contract.frame import build_frame
from drivers.contract.header import FrameFacts, Simultaneous
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    Capabilities,
    CommandOutcome,
    CommandRequest,
    InstrumentState,
    OutcomeStatus,
)
from drivers.contract.messages import Rejected
from drivers.microscope import EndOfFramesError, Exposure, Microscope

#: Longest wait [s] for a frame, so that commands get their turn.
FRAME_WAIT_S = 0.05

#: Wait [s] between two readings of the state while a command is to be confirmed, and else.
CONFIRM_S = 0.02
STATE_S = 0.25

#: Wait [s] after an instrument's error before it is asked again.
RETRY_S = 0.5


@dataclass(frozen=True)
class Opened:
    """The instrument has answered for the first time."""

    capabilities: Capabilities
    state: InstrumentState


@dataclass(frozen=True)
class Taken:
    """A frame, or the announcement of one that cannot be used, ready to be sent."""

    parts: list[Buffer]


@dataclass(frozen=True)
class NoMoreFrames:
    """The instrument has ended its session."""

    reason: str


@dataclass(frozen=True)
class Trouble:
    """The instrument gave an error; empty when it answers again."""

    reason: str


Report = Opened | Taken | NoMoreFrames | Trouble | InstrumentState | CommandOutcome


@dataclass
class _Running:
    """A command that has begun and waits for its confirmation."""

    request: CommandRequest
    started_s: float
    reason: str = ""
    sequences: list[int] = field(default_factory=list)
    group: str | None = None

    def is_next(self, simultaneous: Simultaneous | None) -> bool:
        """Whether a frame may be the next of its frames, which are those of one scan, all of them."""
        if not self.sequences:
            return simultaneous is None or simultaneous.index == 0
        return simultaneous is not None and simultaneous.group == self.group


class InstrumentThread:
    """Calls a `Microscope` from a thread of its own, so that one that hangs holds nothing else up.

    Parameters
    ----------
    microscope : Microscope
    session : str
    report : callable
        Gets every `Report`, in this thread; must not block.
    tolerances : Tolerances
    """

    def __init__(
        self,
        microscope: Microscope,
        *,
        session: str,
        report: Callable[[Report], None],
        tolerances: Tolerances,
    ) -> None:
        self._microscope = microscope
        self._session = session
        self._report = report
        self._tolerances = tolerances
        self._can_blank = False
        self._changed = threading.Condition()
        self._requests: deque[CommandRequest] = deque()
        self._granted: int | None = 0
        self._is_stopping = False
        self._sequence = 0
        self._running: list[_Running] = []
        self._has_ended = False
        self._troubles = {"state": "", "take_frame": ""}
        self._state: InstrumentState | None = None
        self._state_due_s = 0.0
        self._not_before_s = 0.0
        self._rejections = 0
        self.seen_s = time.monotonic()  # when the instrument last let go of this thread
        self._thread = threading.Thread(target=self._run, name="instrument", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def grant(self, sequence: int | None) -> None:
        """Allow frames below a sequence number; None allows all."""
        with self._changed:
            if sequence != self._granted:
                self._granted = sequence
                self._changed.notify()

    def submit(self, request: CommandRequest) -> None:
        """Hand a command over."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """Blank the beam, let go of the instrument and end; False if it hangs in a call."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            if self._open():
                while not self._is_stopping:
                    self._step()
        finally:
            self._let_go()

    def _open(self) -> bool:
        """Ask the instrument for the first time; whether it answered."""
        try:
            capabilities = self._microscope.capabilities()
            self._can_blank = "blank_beam" in capabilities.commands
            self._state = self._microscope.state()
        except Exception as error:  # whatever a vendor's API throws
            self._report(Trouble(_describe(error)[:500]))
            return False
        self._report(Opened(capabilities, self._state))
        return True

    def _step(self) -> None:
        self.seen_s = time.monotonic()
        while request := self._next_request():
            self._begin(request)
        now_s = time.monotonic()
        if now_s >= self._state_due_s:
            self._read_state(now_s)
        if self._may_take(now_s):
            self._take()
        else:
            with self._changed:
                if not (self._requests or self._is_stopping):
                    self._changed.wait(max(self._state_due_s - time.monotonic(), 1e-3))

    def _next_request(self) -> CommandRequest | None:
        with self._changed:
            return self._requests.popleft() if self._requests and not self._is_stopping else None

    def _may_take(self, now_s: float) -> bool:
        if self._has_ended or now_s < self._not_before_s:
            return False
        if any(isinstance(running.request.command, AcquireImage) for running in self._running):
            return True  # somebody waits for this very frame
        with self._changed:
            return self._granted is None or self._sequence < self._granted

    def _begin(self, request: CommandRequest) -> None:
        started_s = time.monotonic()
        running = _Running(request, started_s)
        try:
            self._microscope.execute(request.command)
        except CommandRefusedError as error:
            self._end(running, "refused", shown(error))
        except Exception as error:  # whatever a vendor's API throws
            self._end(running, "failed", _describe(error))
        else:
            self._running.append(running)
            self._state_due_s = 0.0

    def _read_state(self, now_s: float) -> None:
        try:
            state = self._microscope.state()
        except Exception as error:  # whatever a vendor's API throws
            self._announce_trouble("state", _describe(error))
            for running in self._running:
                running.reason = f"the state cannot be read: {_describe(error)}"
        else:
            self._announce_trouble("state", "")
            self._report(state)
            self._state = state
            for running in tuple(self._running):
                running.reason = disagreement(running.request.command, state, self._tolerances)
                if not running.reason:
                    self._end(running, "confirmed", "")
        for running in tuple(self._running):
            if time.monotonic() - running.started_s >= running.request.timeout_s:
                self._end(running, "timed_out", running.reason)
        self._state_due_s = now_s + (CONFIRM_S if self._running else STATE_S)

    def _end(self, running: _Running, status: OutcomeStatus, reason: str) -> None:
        if running in self._running:
            self._running.remove(running)
        self._report(
            CommandOutcome(
                id=running.request.id,
                status=status,
                reason=reason[:2000],
                state=self._state,
                sequences=tuple(running.sequences[:64]),
                elapsed_s=time.monotonic() - running.started_s,
            )
        )

    def _take(self) -> None:
        trouble = ""
        try:
            exposure = self._microscope.take_frame(FRAME_WAIT_S)
        except EndOfFramesError as error:
            self._has_ended = True
            self._report(NoMoreFrames(shown(error)))
        except (InputError, ValidationError) as error:
            self._reject(error)
        except Exception as error:  # whatever a vendor's API throws
            self._not_before_s = time.monotonic() + RETRY_S
            trouble = _describe(error)
        else:
            if exposure is not None:
                self._seal(exposure)
        self._announce_trouble("take_frame", trouble)

    def _seal(self, exposure: Exposure) -> None:
        """Number a frame and pass it on."""
        try:
            shape = (exposure.pixels.shape[0], exposure.pixels.shape[1])
            running = self._asking_for(exposure.facts, shape)
            facts = exposure.facts
            if running is not None and facts.command_id is None:
                facts = facts.rebuilt(command_id=running.request.id)
            frame = build_frame(
                facts,
                exposure.pixels,
                session=self._session,
                sequence=self._sequence,
                monotonic_s=time.monotonic(),
                wall_time_unix_s=time.time(),
            )
            parts = pack_frame(frame)
        except (InputError, ValidationError, IndexError) as error:
            self._reject(error)
            return
        self._rejections = 0
        self._pass_on(parts)
        if running is not None:
            running.sequences.append(self._sequence - 1)
            group = facts.simultaneous
            running.group = group.group if group else None
            if group is None or len(running.sequences) >= group.count:
                self._end(running, "confirmed", "")

    def _asking_for(self, facts: FrameFacts, shape: tuple[int, int]) -> _Running | None:
        """Return the command that a frame answers, if any waits for one like it."""
        for running in self._running:
            command = running.request.command
            if (
                isinstance(command, AcquireImage)
                and running.is_next(facts.simultaneous)
                and is_frame_of(command, facts, shape, self._tolerances.dwell_relative)
            ):
                return running
        return None

    def _reject(self, error: Exception) -> None:
        """Announce a frame that cannot be used in its place in the sequence, so that there is no gap."""
        reason, remedy = _reason_and_remedy(error)
        rejected = Rejected(
            session=self._session,
            sequence=self._sequence,
            fault=type(error).__name__[:100],
            reason=reason[:2000],
            remedy=shown(remedy)[:2000],
        )
        self._pass_on(pack(rejected))
        self._rejections += 1
        if self._rejections > 3:
            self._not_before_s = time.monotonic() + RETRY_S

    def _pass_on(self, parts: list[Buffer]) -> None:
        self._sequence += 1
        self._report(Taken(parts))

    def _announce_trouble(self, call: str, reason: str) -> None:
        """Tell what a call complains of, or no more does, beside what the other one complains of."""
        if reason or self._troubles[call]:
            self._troubles[call] = reason
            told = dict.fromkeys(filter(None, self._troubles.values()))
            self._report(Trouble("; ".join(told)[:500]))

    def _let_go(self) -> None:
        """Blank the beam whatever happened, then close."""
        try:
            if self._can_blank:
                self._microscope.execute(BlankBeam())
        except Exception as error:  # whatever a vendor's API throws: closing comes next all the same
            self._report(Trouble(f"the beam could not be blanked: {_describe(error)}"[:500]))
        finally:
            for running in tuple(self._running):
                self._end(running, "timed_out", f"the bridge was stopped; {running.reason}")
            self._close()

    def _close(self) -> None:
        try:
            self._microscope.close()
        except Exception as error:  # whatever a vendor's API throws: nothing more can be done
            self._report(Trouble(f"the instrument could not be closed: {_describe(error)}"[:500]))


def _reason_and_remedy(error: Exception) -> tuple[str, str]:
    """What is wrong with a frame, and how to mend it: errors in input say both."""
    if isinstance(error, WireError):
        return shown(error.reason), error.remedy
    reason, mark, remedy = shown(error).rpartition("; ")
    if mark and isinstance(error, InputError):
        return reason, remedy
    return _describe(error), "mend what the driver hands over"


def _describe(error: Exception) -> str:
    """Say in text that travels what an error says, whatever it is."""
    if isinstance(error, ValidationError):
        return shown(explain(error))
    said = shown(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
