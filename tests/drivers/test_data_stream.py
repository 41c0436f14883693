"""Whatever a line does to messages, frames come once and in order, or their loss is announced."""

import random

import numpy as np
import pytest

from drivers.contract.codec import pack, pack_frame, unpack
from drivers.contract.errors import WireError
from drivers.contract.frame import Frame, build_frame
from drivers.contract.header import FrameFacts
from drivers.contract.messages import (
    Acknowledge,
    Dropped,
    Heartbeat,
    Rejected,
    Resume,
    Resumed,
    SessionEnded,
)
from drivers.data_stream import DataStream
from drivers.flow import Ring, Subscription

FRAMES = 25


def packed_frame(number):
    frame = build_frame(
        FrameFacts(host="WSe2"),
        np.full((3, 3), number, np.uint8),
        session="s-1",
        sequence=number,
        monotonic_s=0.0,
        wall_time_unix_s=0.0,
    )
    return [bytes(part) for part in pack_frame(frame)]


class Line:
    """Delivers messages, until its faults are used up not as they were sent."""

    def __init__(self, rng, faults):
        self.rng, self.faults, self.queue = rng, faults, []

    def send(self, parts):
        parts = [bytes(part) for part in parts]
        if self.faults and self.rng.random() < 0.3:
            self.faults -= 1
            match self.rng.choice(["lose", "repeat", "swap", "flip", "cut"]):
                case "lose":
                    return
                case "repeat":
                    self.queue.append(parts)
                case "swap":
                    self.queue.insert(max(0, len(self.queue) - 2), parts)
                    return
                case "flip":
                    which = self.rng.randrange(len(parts))
                    where = self.rng.randrange(len(parts[which]))
                    altered = bytearray(parts[which])
                    altered[where] ^= 1 << self.rng.randrange(8)
                    parts = [*parts[:which], bytes(altered), *parts[which + 1 :]]
                case "cut":
                    parts = [*parts[:-1], parts[-1][:-1]]
        self.queue.append(parts)

    def take(self):
        return self.queue.pop(0) if self.queue else None


class Bridge:
    """What the bridge does with its data socket, without one."""

    def __init__(self, line):
        self.ring, self.subscription, self.line, self.has_ended = Ring(), Subscription(4, 0, 0), line, False
        for number in range(FRAMES):
            self.ring.append(packed_frame(number))

    def hear(self, parts):
        try:
            message = unpack(parts)
        except WireError:
            return
        if isinstance(message, Acknowledge):
            self.subscription.acknowledge(message.next_sequence)
        if isinstance(message, Resume):
            start = min(message.next_sequence, FRAMES)
            safe = min(message.safe_sequence, start)
            self.subscription = Subscription(message.credits, start, safe)
            self.has_ended = False
            self.line.send(pack(Resumed(session="s-1", next_sequence=start, number=message.number)))

    def send(self):
        subscription = self.subscription
        while subscription.sent < FRAMES and subscription.may_send():
            self.line.send(self.ring.entry(subscription.sent))
            subscription.sent += 1
        if subscription.sent == FRAMES and not self.has_ended:
            self.has_ended = True
            self.line.send(pack(SessionEnded(session="s-1", next_sequence=FRAMES, is_aborted=False)))


def resume(stream):
    """Connect a stream and answer as a bridge does."""
    question = stream.connect("token")
    stream.hear(pack(Resumed(session="s-1", next_sequence=0, number=question.number)))


def heartbeat():
    return Heartbeat(
        session="s-1", monotonic_s=0.0, wall_time_unix_s=0.0, first_sequence=0, next_sequence=FRAMES
    )


@pytest.mark.parametrize("seed", range(150))
def test_every_frame_comes_once_and_in_order_over_a_bad_line(seed):
    rng = random.Random(seed)
    down, up = Line(rng, faults=6), Line(rng, faults=2)
    stream, bridge = DataStream(4, 1000), Bridge(down)
    stream.begin("s-1", 0)
    up.send(pack(stream.connect("token")))
    numbers, silent = [], 0
    for _ in range(5000):
        parts = up.take()
        if parts is not None:
            bridge.hear(parts)
        bridge.send()
        parts = down.take()
        silent = 0 if parts is not None else silent + 1
        if parts is None:
            if silent > 20 and stream.is_resuming:  # as the client does: connect again
                up.send(pack(stream.connect("token")))
                silent = 0
            elif silent > 10 and (question := stream.ask_for_lost(heartbeat())):
                up.send(pack(question))
            continue
        heard = stream.hear(parts)
        for answer in heard.answers:
            up.send(pack(answer))
        for content in heard.passed:
            assert isinstance(content, Frame | Rejected | SessionEnded | Dropped)
            if isinstance(content, Frame):
                assert np.all(content.pixels == content.header.sequence)
                numbers.append(content.header.sequence)
                for answer in stream.acknowledge(content.header):
                    up.send(pack(answer))
        if heard.is_over:
            break
    assert numbers == list(range(FRAMES))


def test_an_end_that_comes_before_the_last_frames_makes_it_ask_for_them():
    stream = DataStream(4, 1000)
    stream.begin("s-1", 0)
    resume(stream)
    heard = stream.hear(pack(SessionEnded(session="s-1", next_sequence=2, is_aborted=False)))
    assert not heard.is_over
    assert heard.answers[0].next_sequence == 0


def test_an_aborted_session_is_over_whatever_is_missing():
    stream = DataStream(4, 1000)
    stream.begin("s-1", 0)
    stream.connect("token")
    heard = stream.hear(pack(SessionEnded(session="s-1", next_sequence=2, is_aborted=True)))
    assert heard.is_over
    dropped, end = heard.passed
    assert (dropped.first_sequence, dropped.last_sequence) == (0, 1)
    assert isinstance(end, SessionEnded)
    assert not stream.hear(pack(SessionEnded(session="s-1", next_sequence=2, is_aborted=True))).passed


def answers_to(stream, heard):
    """What is asked, after a silence if need be."""
    return heard.answers or (stream.ask_for_lost(heartbeat()),)


def test_a_gap_that_stays_is_announced_as_dropped():
    stream = DataStream(4, 1000)
    stream.begin("s-1", 0)
    passed, question = [], stream.connect("token")
    for _ in range(12):
        stream.hear(pack(Resumed(session="s-1", next_sequence=0, number=question.number)))
        heard = stream.hear(packed_frame(3))
        passed += heard.passed
        if isinstance(passed[-1], Frame):
            break
        (question,) = answers_to(stream, heard)
    assert isinstance(passed[0], Rejected)
    assert (passed[-2].first_sequence, passed[-2].last_sequence, passed[-2].count) == (0, 2, 3)
    assert passed[-1].header.sequence == 3


def altered_frame(number):
    *parts, pixels = packed_frame(number)
    return [*parts, bytes([pixels[0] ^ 1]) + pixels[1:]]


def test_a_burst_of_noise_is_outlasted():
    stream = DataStream(4, 1000)
    stream.begin("s-1", 0)
    resume(stream)
    heard = stream.hear(altered_frame(0))
    while heard.answers:  # all at once, as quickly as the bridge answers
        (question,) = heard.answers
        stream.hear(pack(Resumed(session="s-1", next_sequence=0, number=question.number)))
        heard = stream.hear(altered_frame(0))
    assert not stream.hear(packed_frame(1)).passed
    question = stream.ask_for_lost(heartbeat())
    stream.hear(pack(Resumed(session="s-1", next_sequence=0, number=question.number)))
    assert stream.hear(packed_frame(0)).passed[0].header.sequence == 0


def test_a_frame_that_is_always_altered_is_announced_as_dropped():
    stream = DataStream(4, 1000)
    stream.begin("s-1", 0)
    passed, question = [], stream.connect("token")
    for _ in range(12):
        stream.hear(pack(Resumed(session="s-1", next_sequence=0, number=question.number)))
        heard = stream.hear(altered_frame(0))
        passed += heard.passed
        if isinstance(passed[-1], Dropped):
            break
        (question,) = answers_to(stream, heard)
    assert (passed[-1].first_sequence, passed[-1].last_sequence) == (0, 0)
    assert stream.hear(packed_frame(1)).passed[0].header.sequence == 1


def test_an_end_that_is_altered_often_still_comes():
    stream = DataStream(4, 1000)
    stream.begin("s-1", 0)
    question = stream.connect("token")
    topic, header = pack(SessionEnded(session="s-1", next_sequence=0, is_aborted=False))
    for _ in range(8):
        stream.hear(pack(Resumed(session="s-1", next_sequence=0, number=question.number)))
        heard = stream.hear([topic, bytes([header[0] ^ 1]) + header[1:]])
        (question,) = heard.answers or (stream.ask_for_lost(heartbeat()),)
    stream.hear(pack(Resumed(session="s-1", next_sequence=0, number=question.number)))
    assert stream.hear([topic, header]).is_over


def test_a_drop_that_will_come_again_is_passed_on_once():
    stream = DataStream(4, 1000)
    stream.begin("s-1", 0)
    question = stream.connect("token")
    dropped = pack(Dropped(session="s-1", first_sequence=0, last_sequence=1, count=2, reason="too late"))
    assert not stream.hear(dropped).passed
    stream.hear(pack(Resumed(session="s-1", next_sequence=0, number=question.number)))
    assert len(stream.hear(dropped).passed) == 1


def test_what_is_in_hand_stays_unsafe_over_a_new_connection():
    stream = DataStream(4, 1000)
    stream.begin("s-1", 0)
    resume(stream)
    frames = [stream.hear(packed_frame(number)).passed[0] for number in range(3)]
    stream.acknowledge(frames[0].header)
    again = stream.connect("other")
    assert (again.token, again.next_sequence, again.safe_sequence) == ("other", 3, 1)


def test_a_frame_of_the_session_before_makes_none_of_this_one_safe():
    """It may be written to disk long after another session has begun."""
    stream = DataStream(4, 1000)
    stream.begin("s-1", 0)
    resume(stream)
    old = stream.hear(packed_frame(0)).passed[0]
    stream.begin("s-2", 0)
    resume(stream)
    assert stream.acknowledge(old.header) == ()


def test_a_frame_of_another_session_is_not_taken_for_one_of_this():
    stream = DataStream(4, 1000)
    stream.begin("s-2", 0)
    resume(stream)
    (told,) = stream.hear(packed_frame(0)).passed
    assert isinstance(told, Rejected)
    assert "expected a frame of the session s-2, found one of s-1" in told.reason
    assert stream.expected == 0


def test_what_the_bridge_holds_back_for_want_of_credits_is_not_asked_for_as_lost():
    stream = DataStream(1, 1000)
    stream.begin("s-1", 0)
    resume(stream)
    (frame,) = stream.hear(packed_frame(0)).passed
    assert stream.ask_for_lost(heartbeat()) is None
    stream.acknowledge(frame.header)
    assert stream.ask_for_lost(heartbeat()).next_sequence == 1
