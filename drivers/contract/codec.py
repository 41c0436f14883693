"""Bytes to messages and back.

A message is a multipart of ZeroMQ: a topic (its kind, a space, the CRC-32 of the next part in eight
hexadecimal digits), its JSON in UTF-8, and for some kinds raw buffers.  `docs/wire.md` is the reference.
"""

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from drivers.contract.context import Message
from drivers.contract.errors import (
    ChecksumError,
    EnvelopeError,
    FrameLengthError,
    MessageError,
    WireError,
    WireVersionError,
)
from drivers.contract.frame import Frame, check_frame
from drivers.contract.header import WIRE_VERSIONS, FrameHeader
from drivers.contract.messages import Rejected, WireMessage
from drivers.contract.quantities import MAX_FRAME_BYTES

#: Longest JSON part [bytes] that is looked at.
MAX_JSON_BYTES = 65536

_ANY: TypeAdapter[Any] = TypeAdapter(WireMessage)

Buffer = bytes | memoryview


def pack(message: Message, *buffers: Buffer) -> list[Buffer]:
    """Encode a message, which has a `kind`, with the raw buffers that travel beside it."""
    text = message.model_dump_json().encode()
    kind: str = message.kind  # type: ignore[attr-defined]
    return [f"{kind} {zlib.crc32(text):08x}".encode(), text, *buffers]


def pack_frame(frame: Frame) -> list[Buffer]:
    """Encode a frame; its pixels are shown, not copied."""
    flat = frame.pixels.reshape(-1).view(np.uint8)
    return pack(frame.header, flat.data)


def unpack(
    parts: Sequence[Buffer],
    adapter: TypeAdapter[Any] = _ANY,
    *,
    max_bytes: int = MAX_FRAME_BYTES,
    max_json_bytes: int = MAX_JSON_BYTES,
) -> Any:
    """Decode a message; a frame is checked with its pixels and comes as a `Frame`.

    Parameters
    ----------
    parts : sequence of bytes or memoryview
    adapter : TypeAdapter
        Of the messages that are expected; by default all of `WireMessage`.
    max_bytes : int
        Pixels that are taken at most.
    max_json_bytes : int
        JSON that is looked at.

    Raises
    ------
    WireError
        One of its children, which says what is wrong and what to do.
    """
    text = check_envelope(parts, max_json_bytes=max_json_bytes)
    message = parse(text, adapter)
    topic_kind = bytes(parts[0]).split(b" ")[0].decode("ascii")
    if message.kind != topic_kind:
        raise EnvelopeError(
            f"expected a message of the kind {topic_kind!r} that its topic names, found {message.kind!r}",
            "write the message's kind into the topic",
        )
    if not isinstance(message, FrameHeader):
        return message
    if len(parts) != 3:
        raise FrameLengthError(
            f"expected a frame of three parts (topic, header, pixels), found {len(parts)}",
            "send the pixels as one part beside the header",
        )
    return check_frame(message, parts[2], max_bytes=max_bytes)


def check_envelope(parts: Sequence[Buffer], *, max_json_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Return the JSON of a message if its topic is well-formed and its checksum right.

    Raises
    ------
    EnvelopeError, ChecksumError
    """
    if len(parts) < 2:
        raise EnvelopeError(
            f"expected a message of at least two parts (topic, JSON), found {len(parts)}",
            "send multipart messages as docs/wire.md says",
        )
    size = memoryview(parts[1]).nbytes
    if size > max_json_bytes:
        raise EnvelopeError(
            f"expected at most {max_json_bytes} bytes of JSON, found {size}",
            "send pixels as a part of their own",
        )
    topic, text = bytes(memoryview(parts[0])[:200]), bytes(parts[1])
    _, space, digits = topic.partition(b" ")
    if not space or not topic.isascii():
        raise EnvelopeError(
            f"expected a topic of the kind and the checksum of the JSON, found {topic[:60]!r}",
            "send multipart messages as docs/wire.md says",
        )
    expected = f"{zlib.crc32(text):08x}".encode()
    if digits != expected:
        raise ChecksumError(
            f"expected JSON with the checksum {digits[:20].decode()}, found {expected.decode()}",
            "the message was altered on its way, or the topic does not hold the CRC-32 (zlib) of the JSON "
            "part in eight hexadecimal digits; send it again",
        )
    return text


def parse(text: bytes, adapter: TypeAdapter[Any] = _ANY) -> Any:
    """Read the JSON of a message.

    Raises
    ------
    WireVersionError
        If it is of a version that is not spoken here.
    MessageError
        If it is no JSON, of an unknown kind, or out of the contract; every field at fault is named.
    """
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        tree = _tree(text)
        version = tree.get("wire")
        if version is not None and version not in WIRE_VERSIONS:
            raise WireVersionError(
                f"expected a wire version of {', '.join(map(str, WIRE_VERSIONS))}, found {version!r}",
                "bring bridge and agent to the same release, or negotiate a version in the hello",
            ) from None
        raise MessageError(explain(error), "mend these fields, or leave out what is not known") from None


def explain(error: ValidationError) -> str:
    """Say in one line what a validation found: each field, what was expected and what was seen."""
    problems = []
    for item in error.errors(include_url=False)[:8]:
        place = ".".join(str(step) for step in item["loc"] if step != "frame")
        reason = item["msg"].removeprefix("Value error, ")
        says_it = item["type"] in ("value_error", "json_invalid", "missing")
        seen = "" if says_it else f", found {_short(item['input'])}"
        problems.append(f"{place}: {reason}{seen}" if place else f"{reason}{seen}")
    return "; ".join(problems)[:1500]


def rejected(error: WireError, parts: Sequence[Buffer], *, session: str | None = None) -> Rejected:
    """Announce that a message cannot be used, with its header as it came, as far as it is text."""
    text = bytes(memoryview(parts[1])[:MAX_JSON_BYTES]) if len(parts) > 1 else b""
    tree = _tree(text)
    found_session, sequence = tree.get("session"), tree.get("sequence")
    known: dict[str, Any] = {
        "fault": type(error).__name__,
        "reason": error.reason[:2000],
        "remedy": error.remedy[:2000],
        "raw_header": text.decode("utf-8", "replace")[:MAX_JSON_BYTES],
        "pixel_bytes": sum(memoryview(part).nbytes for part in parts[2:]),
    }
    try:
        return Rejected(**known, session=found_session or session, sequence=sequence)
    except ValidationError:  # what the header calls its session or sequence is garbled too
        return Rejected(**known, session=session)


def _tree(text: bytes) -> dict[str, Any]:
    """Read JSON as far as it is an object; anything else is empty."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
