"""What the agent tells the world: numbered messages by topic, and the last of each for who joins late.

`docs/wire-agent.md` says how it looks on the wire.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq
import zmq.asyncio

from drivers.contract.context import Message
from drivers.contract.maps import COLUMN_DTYPE, DefectMap

#: Version of what is published.
PUBLISH_VERSION = 1

#: Longest request on the snapshot socket that is looked at [bytes].
_MAX_ASKED = 200

#: Names of the records' fields, as they stand in the header of a map.
COLUMN_FIELDS = np.lib.format.dtype_to_descr(COLUMN_DTYPE)

Parts = tuple[bytes, bytes, bytes]


@dataclass(frozen=True)
class PackedMap:
    """A map as it travels: the JSON of its header, and its columns as raw records."""

    header: str
    columns: bytes
    count: int


def pack_map(defect_map: DefectMap) -> PackedMap:
    """Pack a map; that takes a while, and can be done before the map may be told."""
    header = defect_map.header
    return PackedMap(header.model_dump_json(), defect_map.to_bytes(), header.columns)


class Publisher:
    """Sends messages to all who listen; a slow listener loses some and can tell by the numbers.

    Parameters
    ----------
    maps : zmq.Socket
        A bound PUB socket.
    session : str
    clock : callable
        Monotonic [s].
    """

    def __init__(
        self, maps: "zmq.Socket[bytes]", session: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._maps, self._session, self._clock = maps, session, clock
        self._numbers: dict[str, int] = {}
        self._last: dict[str, Parts] = {}

    def publish(self, topic: str, body: Message | dict[str, Any], **more: Any) -> None:
        """Send a message; never waits.

        Parameters
        ----------
        topic : str
        body : Message or dict
            What there is to say.
        **more
            Further fields of the envelope.
        """
        text = body.model_dump_json() if isinstance(body, Message) else json.dumps(body)
        self._send(topic, text, more, b"")

    def publish_map(self, packed: PackedMap, **more: Any) -> None:
        """Send a map: its header, and its columns as raw records."""
        more["columns"] = {"count": packed.count, "dtype": COLUMN_FIELDS}
        self._send("map", packed.header, more, packed.columns)

    def last(self, topic: str) -> list[bytes]:
        """Return the parts of the last message of a topic, three each; of every topic if it is empty."""
        if topic:
            return list(self._last.get(topic, ()))
        return [part for parts in self._last.values() for part in parts]

    def _send(self, topic: str, text: str, more: dict[str, Any], raw: bytes) -> None:
        """Number and send a body that is JSON already, with further fields of its envelope."""
        number = self._numbers.get(topic, 0) + 1
        self._numbers[topic] = number
        envelope = {
            "version": PUBLISH_VERSION,
            "topic": topic,
            "session": self._session,
            "number": number,
            "sent_s": self._clock(),
            **more,
        }
        # The body is put in as it is rather than parsed and written once more.
        head = json.dumps(envelope)[:-1]
        parts = (topic.encode(), f'{head}, "body": {text}}}'.encode(), raw)
        self._last[topic] = parts
        self._maps.send_multipart(parts)


async def answer_snapshots(socket: zmq.asyncio.Socket, publisher: Publisher) -> None:
    """Answer who asks for the last messages until cancelled; what is no question is answered with nothing.

    Parameters
    ----------
    socket : zmq.asyncio.Socket
        A bound ROUTER socket.  A REQ socket sends one part, a topic or nothing.
    publisher : Publisher
    """
    while True:
        identity, *parts = await socket.recv_multipart()
        asked = parts[-1] if parts and len(parts[-1]) <= _MAX_ASKED else b"?"
        delimiter = [b""] if len(parts) > 1 else []
        answer = publisher.last(asked.decode("utf-8", "replace"))
        await socket.send_multipart([identity, *delimiter, *(answer or [b""])])
