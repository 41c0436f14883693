"""Which frames a bridge holds, who has had them, and whether there is room for another.

Sequence numbers say everything: a ring holds those from `first_sequence` to before `next_sequence`, and a
client has been sent those before `sent`, of which it has those before `acknowledged` safe.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivers.contract.codec import Buffer

#: Bytes of frames that a bridge holds, by default.
RING_BYTES = 256 * 2**20

#: Frames that an instrument may be ahead of the client that paces it, by default.
AHEAD = 8


@dataclass
class Subscription:
    """How far one client is."""

    credits: int
    sent: int
    acknowledged: int
    is_end_sent: bool = False

    def may_send(self) -> bool:
        """Whether the client has credit for another frame."""
        return self.sent - self.acknowledged < self.credits

    def acknowledge(self, next_sequence: int) -> None:
        """Take credits back; a number out of range counts as the nearest possible one."""
        self.acknowledged = min(max(self.acknowledged, next_sequence), self.sent)


@dataclass
class Ring:
    """The newest frames, encoded, within a bound of bytes.

    A ring that `may_drop` gives up its oldest frame for a new one.  Another one gives up only frames
    below `pace`, which the client that paces it has safe; `granted` says how far it can go on.
    """

    max_bytes: int = RING_BYTES
    ahead: int = AHEAD
    may_drop: bool = False
    first_sequence: int = 0
    pace: int = 0
    dropped: int = 0
    """Frames given up before any client had been sent them."""
    _entries: deque[Sequence[Buffer]] = field(default_factory=deque)
    _bytes: int = 0
    _largest: int = 0
    _sent: int = 0

    @property
    def next_sequence(self) -> int:
        """The number of the frame to come."""
        return self.first_sequence + len(self._entries)

    def append(self, parts: Sequence[Buffer]) -> None:
        """Hold one more frame, and give up old ones to stay within the bound."""
        size = sum(memoryview(part).nbytes for part in parts)
        self._entries.append(parts)
        self._bytes += size
        self._largest = max(self._largest, size)
        while self._bytes > self.max_bytes and len(self._entries) > 1 and self._may_give_up():
            gone = self._entries.popleft()
            self._bytes -= sum(memoryview(part).nbytes for part in gone)
            self.dropped += self.first_sequence >= self._sent
            self.first_sequence += 1

    def entry(self, sequence: int) -> Sequence[Buffer]:
        """Return a frame that is held."""
        return self._entries[sequence - self.first_sequence]

    def mark_sent(self, sequence: int) -> None:
        """Note that some client was sent a frame."""
        self._sent = max(self._sent, sequence + 1)

    def granted(self) -> int | None:
        """Return the sequence number that the instrument may go on to but not reach; None is no limit."""
        if self.may_drop:
            return None
        unsafe = self.next_sequence - max(self.pace, self.first_sequence)
        unsafe_bytes = sum(
            memoryview(part).nbytes
            for index in range(len(self._entries) - unsafe, len(self._entries))
            for part in self._entries[index]
        )
        by_bytes = (self.max_bytes - unsafe_bytes) // self._largest if self._largest else self.ahead
        room = min(self.ahead - unsafe, by_bytes)
        return self.next_sequence + (max(room, 0) if unsafe else max(room, 1))

    def _may_give_up(self) -> bool:
        return self.may_drop or self.first_sequence < self.pace
