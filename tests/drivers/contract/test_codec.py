import random
import zlib

import pytest

from drivers.contract.codec import MAX_JSON_BYTES, pack, rejected, unpack
from drivers.contract.errors import ChecksumError, EnvelopeError, MessageError, WireError
from drivers.contract.messages import Goodbye, Hello, Rejected


def test_a_message_comes_back_as_it_went():
    hello = Hello(client="agent", role="reader", versions=(3, 1))
    assert unpack(pack(hello)) == hello


def test_the_topic_begins_with_the_kind_so_that_subscribers_can_choose():
    assert pack(Goodbye())[0].startswith(b"goodbye ")


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"hello"],
        [b"hello", b"{}"],
        [b"", b""],
        [b"\xff\xfe 00000000", b"{}"],
        [b"x" * 10**6, b"{}"],
        [b"hello 00000000", b"x" * (MAX_JSON_BYTES + 1)],
    ],
    ids=["nothing", "one", "no-checksum", "empty", "binary", "long-topic", "long-json"],
)
def test_an_envelope_that_is_none_is_a_wire_error(parts):
    with pytest.raises(WireError):
        unpack(parts)


def test_json_is_looked_at_up_to_its_longest_and_no_further():
    def padded(size: int) -> list[bytes]:
        text = bytes(pack(Goodbye())[1]).ljust(size)
        return [b"goodbye %08x" % zlib.crc32(text), text]

    assert unpack(padded(MAX_JSON_BYTES)) == Goodbye()
    with pytest.raises(EnvelopeError, match=f"at most {MAX_JSON_BYTES} bytes of JSON"):
        unpack(padded(MAX_JSON_BYTES + 1))


def test_altered_json_is_found():
    topic, text = pack(Hello(client="agent"))
    with pytest.raises(ChecksumError):
        unpack([topic, bytes(text).replace(b"agent", b"agenT")])


def test_a_topic_of_another_kind_is_refused():
    topic, text = pack(Goodbye())
    with pytest.raises(MessageError, match="found 'goodbye'"):
        unpack([bytes(topic).replace(b"goodbye", b"hello"), text])


def test_whatever_is_rejected_keeps_its_header(frame_parts):
    announcement = rejected(MessageError("why", "do so"), frame_parts)
    assert announcement.raw_header == frame_parts[1].decode()
    assert (announcement.session, announcement.sequence) == ("s-1", 3)
    assert announcement.pixel_bytes == 1536
    assert (announcement.reason, announcement.remedy) == ("why", "do so")


def test_what_is_rejected_is_of_the_session_that_it_names_itself(frame_parts):
    error = MessageError("why", "do so")
    assert rejected(error, frame_parts, session="another").session == "s-1"
    assert rejected(error, [b"x", b"{}"], session="another").session == "another"


@pytest.mark.parametrize(
    "text", [b'{"session": 3, "sequence": -1}', b"\xff\xfe", b'{"sequence": 1e99}', b"[[[", b"[" * 60000]
)
def test_garbled_headers_can_be_announced(text):
    assert isinstance(rejected(MessageError("why", "do so"), [b"x", text]), Rejected)


def test_mutilated_messages_are_wire_errors_or_intact(frame_parts):
    rng = random.Random(7)
    for _ in range(3000):
        parts = [bytearray(part) for part in frame_parts]
        for _ in range(rng.randint(1, 4)):
            part = rng.choice(parts)
            if not part:
                continue
            where = rng.randrange(len(part))
            match rng.randrange(4):
                case 0:
                    part[where] ^= 1 << rng.randrange(8)
                case 1:
                    del part[where:]
                case 2:
                    part[where:where] = rng.randbytes(rng.randint(1, 9))
                case 3:
                    del part[where]
        received = [bytes(part) for part in parts]
        try:
            unpack(received)
        except WireError as error:
            rejected(error, received)
        else:
            assert received == frame_parts
