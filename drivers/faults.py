"""What can go wrong between a bridge and its clients, as a script, and what becomes of each message.

Pure: `FaultyLink` is told what passes and when, and says what is delivered when.  The same script, seed and
messages give the same faults.  `drivers.fault_relay` puts it between any bridge and any client.
"""

import json
import random
import tomllib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from drivers.contract.codec import explain
from drivers.contract.context import Message
from drivers.contract.errors import InputError
from drivers.contract.quantities import NotNegative, Positive

#: Faults of the link, which the relay makes.
LinkFault = Literal[
    "delay",  # every message comes later
    "jitter",  # each message comes later by another time, in order
    "loss",  # the link is cut: both ends see it close
    "half_open",  # the link stands, and nothing passes one way
    "missing",  # single messages never come
    "duplicated",
    "reordered",
    "truncated",  # the last part ends early, or parts are missing
    "altered",  # bits are turned
    "stale_metadata",  # frames have the facts of an earlier one, in a header that is sound
    "stalled_frame",  # a frame does not come to its end, and holds up what is behind it
]

#: Faults of the instrument, which `drivers.faulty_microscope` makes, and whoever restarts a bridge.
InstrumentFault = Literal[
    "driver_hangs",  # the call under way does not return
    "ramp_hangs",  # a change of energy does not settle
    "stale_state",  # the state that is read back is that from before the fault
    "restart",  # another session begins
]

LINK_FAULTS: tuple[str, ...] = get_args(LinkFault)
INSTRUMENT_FAULTS: tuple[str, ...] = get_args(InstrumentFault)

Socket = Literal["control", "data"]
Direction = Literal["to_client", "to_bridge"]


class Fault(Message):
    """Something that goes wrong for a while."""

    kind: LinkFault | InstrumentFault
    begins_s: NotNegative = 0.0
    """Seconds after the script begins."""
    lasts_s: Positive = 1.0
    share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Of the messages that single ones are hit of; the others meet all of them."""
    by_s: Positive = 0.2
    """How late a message comes, at most where it varies."""
    socket: Socket | Literal["both"] = "both"
    direction: Direction | Literal["both"] = "to_client"

    def is_on(self, at_s: float) -> bool:
        """Whether it is going wrong at this time of the script."""
        return self.begins_s <= at_s < self.ends_s

    @property
    def ends_s(self) -> float:
        """When it is over, in seconds of the script."""
        return self.begins_s + self.lasts_s

    def later(self, by_s: float) -> "Fault":
        """Return the same fault, later."""
        return self.rebuilt(begins_s=self.begins_s + by_s)


Script = tuple[Fault, ...]
_SCRIPT: TypeAdapter[Script] = TypeAdapter(Script)


def read_script(path: Path) -> Script:
    """Read a script: a TOML file with one ``[[fault]]`` for each.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        if set(tree) - {"fault"}:
            raise InputError(f"{path}: expected [[fault]] alone, found {', '.join(sorted(tree))}")
        return _SCRIPT.validate_json(json.dumps(tree.get("fault", []), default=str))
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected a TOML file of faults ({error})") from None


@dataclass(frozen=True)
class Delivery:
    """A message as it is to be delivered, and when."""

    due_s: float
    parts: Sequence[bytes]


@dataclass
class _Way:
    """One direction of one socket: nothing overtakes on it, unless a fault says so."""

    free_s: float = 0.0
    swapped: list[Sequence[bytes]] = field(default_factory=list)
    stale: dict[str, Any] | None = None


class FaultyLink:
    """Both sockets of every client, both ways.

    Parameters
    ----------
    script : sequence of Fault
    seed : int
    """

    def __init__(self, script: Sequence[Fault], seed: int = 0) -> None:
        self.script: Script = tuple(script)
        self._rng = random.Random(seed)
        self._ways: dict[tuple[bytes, Socket, Direction], _Way] = {}

    def is_cut(self, at_s: float) -> bool:
        """Whether there is no link at all."""
        return any(fault.kind == "loss" and fault.is_on(at_s) for fault in self.script)

    def pass_on(
        self, client: bytes, socket: Socket, direction: Direction, parts: Sequence[bytes], at_s: float
    ) -> list[Delivery]:
        """Say what becomes of a message, and of one before it that waited for another to overtake it."""
        way = self._ways.setdefault((client, socket, direction), _Way())
        messages, due_s = [parts], max(at_s, way.free_s)
        for fault in self.script:
            is_here = fault.socket in ("both", socket) and fault.direction in ("both", direction)
            if is_here and fault.is_on(at_s):
                messages, due_s = self._hit(fault, way, messages, at_s, due_s)
        if way.swapped and messages and not any(message is way.swapped[-1] for message in messages):
            messages = [*messages, *way.swapped]
            way.swapped.clear()
        way.free_s = max(way.free_s, due_s)
        return [Delivery(due_s, message) for message in messages]

    def left_over(self, at_s: float) -> list[tuple[bytes, Socket, Direction, Delivery]]:
        """Return messages that waited for another to overtake them until no such fault was on any more."""
        if any(fault.kind == "reordered" and fault.is_on(at_s) for fault in self.script):
            return []
        late = []
        for (client, socket, direction), way in self._ways.items():
            late += [(client, socket, direction, Delivery(at_s, message)) for message in way.swapped]
            way.swapped.clear()
        return late

    def forget(self) -> None:
        """Forget what was under way, as when the link is cut."""
        self._ways.clear()

    def _hit(
        self, fault: Fault, way: _Way, messages: list[Sequence[bytes]], at_s: float, due_s: float
    ) -> tuple[list[Sequence[bytes]], float]:
        """Let one fault work on messages."""
        is_frame = bool(messages) and bytes(messages[0][0]).startswith(b"frame ")
        match fault.kind:
            case "delay":
                return messages, max(due_s, at_s + fault.by_s)
            case "jitter":
                return messages, max(due_s, at_s + self._rng.uniform(0.0, fault.by_s))
            case "stalled_frame":
                return messages, max(due_s, fault.ends_s if is_frame else due_s)
            case "half_open" | "loss":
                return [], due_s
            case "stale_metadata" if is_frame:
                return [self._stale(way, message) for message in messages], due_s
        if not messages or self._rng.random() >= fault.share:
            return messages, due_s
        match fault.kind:
            case "missing":
                messages = []
            case "duplicated":
                messages = [*messages, *messages]
            case "reordered" if not way.swapped:
                way.swapped, messages = list(messages), []
            case "truncated":
                messages = [self._truncate(message) for message in messages]
            case "altered":
                messages = [self._alter(message) for message in messages]
        return messages, due_s

    def _truncate(self, parts: Sequence[bytes]) -> Sequence[bytes]:
        if len(parts) > 1 and self._rng.random() < 0.3:
            return parts[: self._rng.randrange(1, len(parts))]
        last = bytes(parts[-1])
        return [*parts[:-1], last[: self._rng.randrange(len(last) + 1)]]

    def _alter(self, parts: Sequence[bytes]) -> Sequence[bytes]:
        """Turn one to four bits of one part."""
        index = self._rng.randrange(len(parts))
        part = bytearray(parts[index])
        for _ in range(self._rng.randint(1, 4)):
            if part:
                part[self._rng.randrange(len(part))] ^= 1 << self._rng.randrange(8)
        return [*parts[:index], bytes(part), *parts[index + 1 :]]

    def _stale(self, way: _Way, parts: Sequence[bytes]) -> Sequence[bytes]:
        """Give a frame the facts of the first one that the fault met, but its own number and pixels."""
        header = json.loads(bytes(parts[1]))
        way.stale = way.stale or header
        own = ("session", "sequence", "dtype", "shape", "checksum", "window", "field_shape_px")
        return [*with_header({**way.stale, **{name: header.get(name) for name in own}}), *parts[2:]]


def with_header(header: dict[str, Any]) -> list[bytes]:
    """Return topic and header of a message, with the checksum that the header needs."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return [f"{header['kind']} {zlib.crc32(text):08x}".encode(), text]
