import json

import pytest
import zmq

from agent.actions import Notice
from agent.listening import Listener
from agent.publish import Publisher, pack_map
from agent.sockets import address_of, bind
from drivers.contract.errors import InputError
from drivers.contract.maps import DefectMap


@pytest.fixture
def context():
    with zmq.Context() as context:
        yield context


def note(text):
    return Notice(level="info", text=text)


def test_messages_are_numbered_by_topic_and_the_last_of_each_is_kept(context):
    with context.socket(zmq.PUB) as socket:
        publisher = Publisher(socket, "s1", lambda: 7.0)
        for text in ("one", "two"):
            publisher.publish("notice", note(text))
        publisher.publish("other", {"kind": "other"})
    topic, text, raw = publisher.last("notice")
    assert (topic, raw) == (b"notice", b"")
    envelope = json.loads(text)
    assert (envelope["number"], envelope["session"], envelope["sent_s"]) == (2, "s1", 7.0)
    assert envelope["body"] == {"kind": "notice", "level": "info", "text": "two", "remedy": ""}
    assert len(publisher.last("")) == 6
    assert publisher.last("none") == []


def test_a_port_in_use_names_the_setting_and_the_way_out(context):
    with context.socket(zmq.PUB) as taken:
        port = taken.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(InputError, match=rf"{port} is in use.*publish\.maps.*port 0"):
            bind(context, zmq.PUB, f"tcp://127.0.0.1:{port}", "publish.maps")


def test_an_address_that_is_none_is_named(context):
    with pytest.raises(InputError, match=r"publish\.maps: expected an address"):
        bind(context, zmq.PUB, "nonsense", "publish.maps")


def test_a_listener_tells_what_it_missed_and_hears_nothing_twice(context, make):
    with bind(context, zmq.PUB, "tcp://127.0.0.1:0", "publish.maps") as socket:
        publisher = Publisher(socket, "s1")
        with Listener(context, address_of(socket), None, ["map"]) as listener:
            heard = listener.messages(timeout_s=1.0)
            packed = pack_map(DefectMap(make.map_header(0.25, columns=3), make.columns_of(3)))
            while True:  # until the subscription has arrived
                publisher.publish_map(packed)
                if listener._socket.poll(20):
                    break
            first = next(heard)
            publisher._numbers["map"] += 4
            publisher.publish_map(packed)
            second = next(heard)
            socket.send_multipart([b"map", b"{garbage", b""])
            socket.send_multipart([b"map", json.dumps(second.envelope).encode(), b""])
            publisher.publish_map(packed)
            third = next(heard)
    assert (first.gap, second.gap, third.gap) == (0, 4, 0)
    assert third.envelope["number"] == second.envelope["number"] + 1
    assert len(first.columns) == 3
    assert first.envelope["body"]["mean_entropy_nats"] == 0.25


def test_who_subscribes_and_never_reads_holds_nobody_up(context):
    with bind(context, zmq.PUB, "tcp://127.0.0.1:0", "publish.maps") as socket:
        publisher = Publisher(socket, "s1")
        dead, live = (context.socket(zmq.SUB) for _ in range(2))
        with dead, live:
            for listener in (dead, live):
                listener.setsockopt(zmq.RCVHWM, 10)
                listener.connect(address_of(socket))
                listener.subscribe("notice")
            while not (dead.poll(20) and live.poll(20)):  # until both subscriptions have arrived
                publisher.publish("notice", note("one"))
            while live.poll(100):
                live.recv_multipart()
            numbers = []
            for _ in range(600):  # more than is kept for one that does not read
                publisher.publish("notice", note("x" * 10_000))
                assert live.poll(5000)
                numbers.append(json.loads(live.recv_multipart()[1])["number"])
    assert numbers == list(range(numbers[0], numbers[0] + 600))


def test_documents_are_heard_by_those_alone_who_ask_for_them(context):
    with bind(context, zmq.PUB, "tcp://127.0.0.1:0", "publish.maps") as socket:
        publisher = Publisher(socket, "s1")
        publisher.publish("doc/start", {"uid": "1"})
        publisher.publish("notice", {"text": "one"})
        for topics, expected in (((), ["notice"]), (("doc/start",), ["doc/start"])):
            with Listener(context, address_of(socket), None, topics) as listener:
                sent = [publisher.last(topic) for topic in ("doc/start", "notice")]
                assert [heard.topic for parts in sent for heard in listener._take(*parts)] == expected
