"""A listener: hears what an agent publishes, from the last of everything on, and tells what it missed."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import zmq
from numpy.typing import NDArray

from drivers.addresses import connect
from drivers.contract.errors import InputError
from drivers.contract.maps import columns_from_bytes
from drivers.keys import ClientKeys

#: How long an agent may take to answer with its last messages [ms].
_SNAPSHOT_MS = 2000


@dataclass(frozen=True)
class Heard:
    """A published message.

    Parameters
    ----------
    topic : str
    envelope : dict
        As published: ``number``, ``session``, ``body`` and so on.
    raw : bytes
        Beside it; the columns of a map.
    gap : int
        Messages of the topic that were missed just before.
    """

    topic: str
    envelope: dict[str, Any]
    raw: bytes
    gap: int = 0

    @property
    def columns(self) -> NDArray[np.void]:
        """Columns of a map.

        Raises
        ------
        InputError
            If the message is none, or its records are not as many as it says.
        """
        told = self.envelope.get("columns")
        count = told.get("count") if isinstance(told, dict) else None
        if not isinstance(count, int):
            raise InputError(
                f"expected the number of columns in the envelope of a map, found {count!r}"[:300]
            )
        return columns_from_bytes(self.raw, count)


class Listener:
    """Hears an agent; first the last message of every topic, then all that follow, none twice.

    Parameters
    ----------
    context : zmq.Context
    maps : str
        Address of the agent's PUB socket.
    snapshot : str or None
        Of its snapshot socket; None to hear only what comes from now on.
    topics : sequence of str
        Only these; none for all but documents.
    keys : ClientKeys, optional
        For an agent that asks for them.

    Raises
    ------
    InputError
        If an address is none.
    """

    def __init__(
        self,
        context: "zmq.Context[Any]",
        maps: str,
        snapshot: str | None,
        topics: Sequence[str] = (),
        keys: ClientKeys | None = None,
    ) -> None:
        self._keys = keys
        self._context, self._snapshot, self._topics = context, snapshot, tuple(topics)
        self._numbers: dict[tuple[str, str], int] = {}
        self._socket = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        if keys is not None:
            keys.show(self._socket)
        try:
            connect(self._socket, maps)
        except InputError:
            self._socket.close()
            raise
        for topic in self._topics or ("",):
            self._socket.subscribe(topic)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close(linger=0)

    def messages(self, timeout_s: float | None = None) -> Iterator[Heard]:
        """Yield messages; ends when nothing comes for `timeout_s`."""
        for topic, text, raw in self._last():
            yield from self._take(topic, text, raw)
        while self._socket.poll(None if timeout_s is None else int(1000 * timeout_s)):
            parts = self._socket.recv_multipart()
            if len(parts) == 3:
                yield from self._take(*parts)

    def _take(self, topic: bytes, text: bytes, raw: bytes) -> Iterator[Heard]:
        """Yield a message unless it was heard before, is not asked for, or is none."""
        try:
            envelope = json.loads(text)
            name, session, number = envelope["topic"], envelope["session"], envelope["number"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        is_sound = isinstance(name, str) and isinstance(session, str) and isinstance(number, int)
        if not is_sound or not isinstance(envelope.get("body"), dict):
            return
        key = (session, name)
        is_wanted = name in self._topics if self._topics else not name.startswith("doc/")
        before = self._numbers.get(key)
        if not is_wanted or (before is not None and number <= before):
            return
        self._numbers[key] = number
        yield Heard(name, envelope, raw, 0 if before is None else number - before - 1)

    def _last(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Ask for the last messages, once the subscription has had time to reach the agent."""
        if self._snapshot is None:
            return
        time.sleep(0.05)
        with self._context.socket(zmq.REQ) as asking:
            asking.setsockopt(zmq.LINGER, 0)
            if self._keys is not None:
                self._keys.show(asking)
            connect(asking, self._snapshot)
            asking.send(b"")
            if not asking.poll(_SNAPSHOT_MS):
                return
            parts = asking.recv_multipart()
        for start in range(0, len(parts) - 2, 3):
            topic, text, raw = parts[start : start + 3]
            yield topic, text, raw
