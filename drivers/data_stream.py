"""What a client makes of its data socket: every frame once and in order, and a word on whatever is not.

Pure: `DataStream` is told what comes, and says what there is to pass on and what to answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.contract.codec import Buffer, rejected, unpack
from drivers.contract.context import Message
from drivers.contract.errors import (
    ChecksumError,
    EnvelopeError,
    FrameLengthError,
    MessageError,
    WireError,
)
from drivers.contract.frame import Frame
from drivers.contract.header import FrameHeader
from drivers.contract.messages import (
    Acknowledge,
    Dropped,
    Heartbeat,
    Rejected,
    Resume,
    Resumed,
    SessionEnded,
    SessionStarted,
    Unwelcome,
)
from drivers.sequencer import Sequencer

Passed = Frame | Dropped | Rejected | SessionStarted | SessionEnded


#: Errors of bytes that were altered on their way; the same frame may come intact when asked for again.
ALTERED = (ChecksumError, EnvelopeError, FrameLengthError)


@dataclass(frozen=True)
class Heard:
    """What follows from something that came.

    Parameters
    ----------
    passed : tuple
        To pass on to the reader.
    answers : tuple of Message
        To send on the data socket.
    is_over : bool
        The session has ended.
    unwelcome : Unwelcome, optional
        The bridge does not know this client any more.
    """

    passed: tuple[Passed, ...] = ()
    answers: tuple[Message, ...] = ()
    is_over: bool = False
    unwelcome: Unwelcome | None = None


def useless(message: Message | Frame) -> MessageError:
    """What is wrong with a message that is none for a client."""
    return MessageError(
        f"a client has no use for a message of the kind {getattr(message, 'kind', 'Frame')!r} here",
        "send those that docs/wire.md lists under 'From bridge to client'",
    )


class DataStream:
    """Follows one session after another.

    Parameters
    ----------
    credits : int
        Frames that may be under way or in hand unacknowledged.
    max_frame_bytes : int
        Larger frames are not taken.
    session, next_sequence : str and int
        Where a reader goes on that was there before.
    """

    def __init__(self, credits: int, max_frame_bytes: int, session: str = "", next_sequence: int = 0) -> None:
        self.session = session
        self._credits = credits
        self._max_frame_bytes = max_frame_bytes
        self._sequencer = Sequencer(expected=next_sequence)
        self._token = ""
        self._in_hand: list[int] = []
        self._has_begun = bool(session)
        self._has_ended = False

    @property
    def expected(self) -> int:
        """The number of the next frame."""
        return self._sequencer.expected

    @property
    def is_resuming(self) -> bool:
        """Whether the bridge has not answered yet where it goes on."""
        return self._sequencer.is_resuming

    def begin(self, session: str, first_sequence: int) -> SessionEnded | None:
        """Leave the session from before for another; returns its end, if that was never marked."""
        cut_off = None
        if self._has_begun and not self._has_ended:
            cut_off = SessionEnded(
                session=self.session,
                next_sequence=self.expected,
                is_aborted=True,
                reason="cut off: the bridge is in another session now",
            )
        self.session = session
        self._sequencer = Sequencer(expected=first_sequence)
        self._in_hand.clear()
        self._has_begun = self._has_ended = False
        return cut_off

    def connect(self, token: str) -> Resume:
        """Go on over a new connection; returns what to ask."""
        self._token = token
        return self._resume()

    def acknowledge(self, header: FrameHeader) -> tuple[Message, ...]:
        """Take a frame and all before it as safe."""
        if header.session != self.session:
            return ()
        self._in_hand = [number for number in self._in_hand if number > header.sequence]
        return self._settle()

    def ask_for_lost(self, heartbeat: Heartbeat) -> Resume | None:
        """Return what to ask, after a silence, for frames that should have come and did not."""
        has_credit = len(self._in_hand) < self._credits
        is_missing = heartbeat.next_sequence > self.expected and has_credit
        return self._resume() if is_missing or self._sequencer.is_resting else None

    def hear(self, parts: Sequence[Buffer]) -> Heard:
        """Take one message, whatever it is."""
        try:
            message = unpack(parts, max_bytes=self._max_frame_bytes)
        except WireError as error:
            return self._refuse(error, parts)
        match message:
            case Frame():
                return self._hear_frame(message, parts)
            case Rejected():
                return self._place(message, message.sequence, parts)
            case Resumed():
                self._sequencer.resumed(message.number, message.next_sequence)
                return Heard()
            case Dropped():
                is_passed_over = self._sequencer.pass_over(message.last_sequence)
                return Heard((message,), self._settle()) if is_passed_over else Heard()
            case SessionStarted():
                return self._hear_start(message)
            case SessionEnded():
                return self._hear_end(message)
            case Unwelcome():
                return Heard(unwelcome=message)
        return Heard((rejected(useless(message), parts, session=self.session),))

    def _hear_frame(self, frame: Frame, parts: Sequence[Buffer]) -> Heard:
        if frame.header.session != self.session:
            error = MessageError(
                f"expected a frame of the session {self.session}, found one of {frame.header.session}",
                "send frames of the session that the welcome names",
            )
            return Heard((rejected(error, parts),))
        return self._place(frame, frame.header.sequence, parts)

    def _hear_start(self, started: SessionStarted) -> Heard:
        if self._has_begun or started.session != self.session:
            return Heard()
        self._has_begun = True
        return Heard((started,))

    def _hear_end(self, ended: SessionEnded) -> Heard:
        """Take the end, unless frames before it are still to come."""
        passed: list[Passed] = []
        if not ended.is_aborted and (self._sequencer.is_out_of_date or ended.next_sequence > self.expected):
            step = self._sequencer.retry(None)
            if step != "skip":
                return Heard((), (self._resume(),) if step == "resume" else ())
        if not self._has_ended:
            if ended.next_sequence > self.expected:
                reason = "did not come before the end"
                passed.append(self._give_up(self.expected, ended.next_sequence, reason))
            passed.append(ended)
        self._has_ended = True
        return Heard(tuple(passed), is_over=True)

    def _place(self, content: Frame | Rejected, sequence: int | None, parts: Sequence[Buffer]) -> Heard:
        """Take something that has its place in the sequence, or say that it is out of place."""
        if sequence is None:
            return Heard((content,))
        first = self.expected
        step, error = self._sequencer.judge(sequence)
        passed: list[Passed] = []
        if step == "skip" and error is not None:
            passed.append(self._give_up(first, sequence, error.reason))
        elif error is not None:
            passed.append(rejected(error, parts, session=self.session))
        if step == "resume":
            return Heard(tuple(passed), (self._resume(),))
        if step in ("rest", "ignore"):
            return Heard(tuple(passed))
        passed.append(content)
        if isinstance(content, Frame):
            self._in_hand.append(sequence)
            return Heard(tuple(passed))
        return Heard(tuple(passed), self._settle())

    def _refuse(self, error: WireError, parts: Sequence[Buffer]) -> Heard:
        """Announce a message that cannot be used; ask again for one whose bytes were altered."""
        announcement = rejected(error, parts, session=self.session)
        sequence = announcement.sequence
        is_altered = sequence is None or isinstance(error, ALTERED)
        if not is_altered:
            return self._place(announcement, sequence, parts)
        passed: list[Passed] = [] if self._sequencer.is_out_of_date else [announcement]
        step = self._sequencer.retry(sequence)
        if step == "resume":
            return Heard(tuple(passed), (self._resume(),))
        if step == "skip" and sequence is not None:
            reason = "its bytes came altered as often as it was sent"
            passed.append(self._give_up(sequence, sequence + 1, reason))
        return Heard(tuple(passed), self._settle())

    def _give_up(self, first: int, end: int, reason: str) -> Dropped:
        """Announce frames that are asked for no more."""
        return Dropped(
            session=self.session,
            first_sequence=first,
            last_sequence=end - 1,
            count=end - first,
            reason=reason[:500],
        )

    def _resume(self) -> Resume:
        """Ask for every frame from the next one on."""
        return Resume(
            token=self._token,
            number=self._sequencer.ask(),
            next_sequence=self.expected,
            credits=self._credits,
            safe_sequence=min(self._in_hand, default=self.expected),
        )

    def _settle(self) -> tuple[Message, ...]:
        """Give back the credits of all that is safe."""
        if not self._token or self._sequencer.is_out_of_date:
            return ()
        position = min(self._in_hand, default=self.expected)
        return (Acknowledge(token=self._token, next_sequence=position),)
