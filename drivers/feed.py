"""The data plane of a bridge: frames as far as credits reach, word of those that cannot be had, and the end.

What clients say on the control socket, and whom frames wait for, is the matter of `drivers.bridge`.
"""

from drivers.contract.messages import Dropped, Resume, Resumed, SessionEnded, SessionStarted
from drivers.flow import Ring, Subscription
from drivers.roster import Client
from drivers.router import Router


class Feed:
    """Sends clients what they are due.

    Parameters
    ----------
    router : Router
        The data socket.
    ring : Ring
        The frames that are held.
    started : SessionStarted
        What everybody hears first.
    """

    def __init__(self, router: Router, ring: Ring, started: SessionStarted) -> None:
        self._router = router
        self._ring = ring
        self._started = started

    def resume(self, identity: bytes, asked: Resume) -> Subscription:
        """Answer who asks for frames from some number on; returns how far it is."""
        first, end = self._ring.first_sequence, self._ring.next_sequence
        start = min(max(asked.next_sequence, first), end)
        safe = start if asked.safe_sequence is None else min(asked.safe_sequence, start)
        resumed = Resumed(session=self._started.session, next_sequence=start, number=asked.number)
        self._router.send(identity, resumed)
        self._router.send(identity, self._started)
        if asked.next_sequence < first:
            self._announce_drop(identity, asked.next_sequence, first)
        return Subscription(asked.credits, start, safe)

    def send_due(self, client: Client) -> bool:
        """Send a client what there is and what its credits allow; whether it has been sent all there is."""
        subscription, data = client.subscription, client.data
        if subscription is None or data is None:
            return False
        first = self._ring.first_sequence
        if subscription.sent < first:
            self._announce_drop(data, subscription.sent, first)
            subscription.sent = subscription.acknowledged = first
        while subscription.sent < self._ring.next_sequence and subscription.may_send():
            self._send_frame(data, subscription, client.max_frame_bytes)
        return subscription.sent == self._ring.next_sequence

    def send_end(self, client: Client, *, is_aborted: bool, reason: str) -> None:
        """Mark the end of the session, once for each client."""
        subscription, data = client.subscription, client.data
        if subscription is None or data is None or subscription.is_end_sent:
            return
        subscription.is_end_sent = True
        marker = SessionEnded(
            session=self._started.session,
            next_sequence=self._ring.next_sequence,
            is_aborted=is_aborted,
            reason=reason[:500],
        )
        self._router.send(data, marker)

    def _send_frame(self, data: bytes, subscription: Subscription, max_frame_bytes: int) -> None:
        number = subscription.sent
        parts = self._ring.entry(number)
        self._ring.mark_sent(number)
        subscription.sent += 1
        if sum(memoryview(part).nbytes for part in parts[2:]) > max_frame_bytes:
            self._announce_drop(data, number, number + 1, "larger than the client takes")
        else:
            self._router.send_parts(data, parts)

    def _announce_drop(
        self, data: bytes, first: int, end: int, reason: str = "the bridge holds them no longer"
    ) -> None:
        dropped = Dropped(
            session=self._started.session,
            first_sequence=first,
            last_sequence=end - 1,
            count=end - first,
            reason=reason,
        )
        self._router.send(data, dropped)
