"""What a listener makes of messages that no agent should send."""

import json

import pytest
import zmq

from agent.listening import Heard, Listener
from drivers.contract.errors import InputError

SOUND = {"version": 1, "topic": "mode", "session": "s1", "number": 1, "body": {"kind": "announce_mode"}}

UNSOUND = {
    "no JSON": b"{",
    "a list": b"[]",
    "deeply nested": b"[" * 50_000,
    "a number for a topic": json.dumps(SOUND | {"topic": 1.5}).encode(),
    "a list for a session": json.dumps(SOUND | {"session": []}).encode(),
    "an infinite number": json.dumps(SOUND | {"number": float("inf")}).encode(),
    "a text for a number": json.dumps(SOUND | {"number": "1"}).encode(),
    "no body": json.dumps(SOUND | {"body": None}).encode(),
}


@pytest.fixture
def listener():
    with zmq.Context() as context, Listener(context, "inproc://nobody", None) as listener:
        yield listener


@pytest.mark.parametrize("text", UNSOUND.values(), ids=UNSOUND)
def test_what_is_no_message_is_passed_over(listener, text):
    assert list(listener._take(b"mode", text, b"")) == []
    assert len(list(listener._take(b"mode", json.dumps(SOUND).encode(), b""))) == 1


@pytest.mark.parametrize(
    "columns", [None, [], 1.5, {}, {"count": "9"}, {"count": {}}, {"count": 2}, {"count": -1}]
)
def test_records_that_are_not_as_many_as_told_are_refused(columns):
    with pytest.raises(InputError):
        assert Heard("map", SOUND | {"columns": columns}, b"x" * 49).columns is not None
