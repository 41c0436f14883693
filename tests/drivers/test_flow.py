import pytest

from drivers.flow import Ring, Subscription


def filled(count, *, size=10, **options):
    ring = Ring(**options)
    for number in range(count):
        ring.append([b"t", b"j", bytes([number]) * (size - 2)])
    return ring


def test_a_ring_holds_what_fits():
    ring = filled(3, max_bytes=100)
    assert (ring.first_sequence, ring.next_sequence) == (0, 3)
    assert ring.entry(1)[2] == b"\1" * 8


def test_an_instrument_that_waits_loses_nothing_that_is_not_safe():
    ring = filled(12, max_bytes=50)
    assert ring.first_sequence == 0
    assert ring.dropped == 0


def test_safe_frames_are_kept_for_late_clients_while_there_is_room():
    ring = filled(4, max_bytes=50)
    ring.pace = 4
    ring.append([b"x" * 10])
    assert ring.first_sequence == 0
    ring.append([b"x" * 10])
    assert ring.first_sequence == 1


def test_an_instrument_that_runs_free_drops_the_oldest_and_counts_those_nobody_had():
    ring = filled(4, max_bytes=50, may_drop=True)
    ring.mark_sent(0)
    for _ in range(3):
        ring.append([b"x" * 10])
    assert ring.first_sequence == 2
    assert ring.dropped == 1


def test_an_instrument_that_waits_may_be_a_few_frames_ahead():
    ring = filled(2, ahead=3, max_bytes=1000)
    assert ring.granted() == 3
    ring.append([b"x" * 10])
    assert ring.granted() == 3
    ring.pace = 2
    assert ring.granted() == 5


def test_large_frames_are_granted_by_their_bytes():
    ring = filled(2, size=100, ahead=8, max_bytes=250)
    assert ring.granted() == 2
    ring.pace = 1
    assert ring.granted() == 3


def test_one_frame_is_granted_however_large_frames_are():
    ring = filled(1, size=1000, max_bytes=10)
    ring.pace = 1
    assert ring.granted() == 2


def test_an_instrument_that_runs_free_has_no_limit():
    assert filled(9, may_drop=True).granted() is None


@pytest.mark.parametrize(("told", "counts"), [(2, 2), (1, 1), (99, 4), (0, 1)])
def test_an_acknowledgement_out_of_range_counts_as_the_nearest_possible(told, counts):
    subscription = Subscription(credits=2, sent=4, acknowledged=1)
    subscription.acknowledge(told)
    assert subscription.acknowledged == counts


def test_credits_bound_what_is_under_way():
    subscription = Subscription(credits=2, sent=1, acknowledged=0)
    assert subscription.may_send()
    subscription.sent = 2
    assert not subscription.may_send()
