"""What each fault does to messages, and a script of them; the trials are in `test_fault_trials.py`."""

import json
import zlib

import pytest
from pydantic import ValidationError

from drivers.contract.codec import pack, unpack
from drivers.contract.errors import InputError
from drivers.contract.messages import GetState, Goodbye
from drivers.faults import LINK_FAULTS, Fault, FaultyLink, read_script, with_header

FIRST, SECOND = pack(GetState()), pack(Goodbye())


def pass_on(link, *messages, at_s=0.5):
    return [
        (delivery.due_s, list(delivery.parts))
        for message in messages
        for delivery in link.pass_on(b"c", "control", "to_client", message, at_s)
    ]


def link_with(kind, seed=0, **fields):
    return FaultyLink([Fault(kind=kind, **({"share": 1.0} | fields))], seed)


@pytest.mark.parametrize("kind", LINK_FAULTS)
def test_no_fault_touches_what_passes_before_or_after_it(kind):
    link = link_with(kind, begins_s=1.0, lasts_s=1.0)
    assert pass_on(link, FIRST, at_s=0.9) == [(0.9, FIRST)]
    assert pass_on(link, SECOND, at_s=2.0) == [(2.0, SECOND)]


@pytest.mark.parametrize("kind", ["half_open", "loss", "missing"])
def test_what_is_lost_never_comes(kind):
    assert pass_on(link_with(kind), FIRST, SECOND) == []


def test_one_way_of_a_half_open_link_is_sound():
    link = link_with("half_open")
    assert [each.parts for each in link.pass_on(b"c", "control", "to_bridge", FIRST, 0.5)] == [FIRST]


def test_a_delay_keeps_the_order_and_jitter_too():
    assert pass_on(link_with("delay", by_s=0.2), FIRST) == [(0.7, FIRST)]
    came = pass_on(link_with("jitter", by_s=0.2), *[FIRST] * 50)
    assert [due_s for due_s, _ in came] == sorted(due_s for due_s, _ in came)
    assert 0.5 < came[0][0] < came[-1][0] < 0.7


def test_a_repeated_message_comes_twice_and_a_reordered_one_after_the_next():
    assert [parts for _, parts in pass_on(link_with("duplicated"), FIRST)] == [FIRST, FIRST]
    link = link_with("reordered")
    assert [parts for _, parts in pass_on(link, FIRST, SECOND)] == [SECOND, FIRST]
    assert pass_on(link, FIRST) == []
    assert link.left_over(0.9) == []
    ((client, socket, direction, late),) = link.left_over(1.1)
    assert (client, socket, direction, late.parts) == (b"c", "control", "to_client", FIRST)


@pytest.mark.parametrize("kind", ["altered", "truncated"])
def test_spoilt_bytes_differ_and_the_same_seed_spoils_the_same(kind):
    long = with_header({"kind": "get_state", "more": "x" * 500})
    came = [parts for _, parts in pass_on(link_with(kind), *[long] * 20)]
    assert came == [parts for _, parts in pass_on(link_with(kind), *[long] * 20)]
    assert came != [parts for _, parts in pass_on(link_with(kind, seed=1), *[long] * 20)]
    assert all(parts != long for parts in came)


def test_stale_metadata_are_sound_to_every_check_and_belong_to_an_earlier_frame(frame_parts):
    link = link_with("stale_metadata")
    (_, _), (_, second) = pass_on(link, frame_parts(0, energy_kev=80.0), frame_parts(1, energy_kev=60.0))
    frame = unpack(second)
    assert (frame.header.sequence, frame.header.energy_kev) == (1, 80.0)


def test_a_frame_that_stalls_holds_up_what_is_behind_it(frame_parts):
    link = link_with("stalled_frame", lasts_s=1.0)
    assert [due_s for due_s, _ in pass_on(link, FIRST, frame_parts(0), SECOND)] == [0.5, 1.0, 1.0]


def test_a_script_is_a_file(tmp_path):
    path = tmp_path / "faults.toml"
    path.write_text(
        '[[fault]]\nkind = "altered"\nbegins_s = 2.0\nlasts_s = 0.5\n\n[[fault]]\nkind = "loss"\n'
    )
    first, second = read_script(path)
    assert (first.kind, first.ends_s, second.kind) == ("altered", 2.5, "loss")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[fault]]\nkind = "earthquake"', "earthquake"),
        ('[fault]\nkind = "loss"', "faults.toml"),
        ("[[", "expected a TOML file"),
        ('[[faults]]\nkind = "loss"', "found faults"),
    ],
    ids=["unknown", "no list", "no TOML", "typo"],
)
def test_what_is_no_script_is_named(tmp_path, text, complaint):
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_script(path)


def test_a_rewritten_header_has_the_right_checksum():
    topic, text = with_header({"kind": "get_state"})
    assert topic == f"get_state {zlib.crc32(text):08x}".encode()
    assert json.loads(text) == {"kind": "get_state"}


@pytest.fixture
def frame_parts():
    import numpy as np

    from drivers.contract.codec import pack_frame
    from drivers.contract.frame import build_frame
    from drivers.contract.header import FrameFacts

    def make(sequence, **facts):
        frame = build_frame(
            FrameFacts(**facts),
            np.ones((4, 4), np.uint8),
            session="s",
            sequence=sequence,
            monotonic_s=1.0,
            wall_time_unix_s=1.0,
        )
        return [bytes(part) for part in pack_frame(frame)]

    return make


def test_a_fault_is_not_moved_before_its_script():
    assert Fault(kind="loss", begins_s=1.0).later(2.0).begins_s == 3.0
    with pytest.raises(ValidationError):
        Fault(kind="loss", begins_s=1.0).later(-2.0)
