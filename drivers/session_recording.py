"""A recorded session as a recording that can be played."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from drivers.contract.codec import explain
from drivers.contract.errors import InputError
from drivers.contract.header import FrameFacts, FrameHeader
from drivers.recording import UNKNOWN_S, Held, Recording
from drivers.session_layout import DamagedSessionError, Row, event_tree
from drivers.session_reader import SessionReader

#: Stage positions [nm] that lie this close are one.
STAGE_NM = 1.0

#: Longest pause [s] between two frames that a replay keeps.
LONGEST_S = 600.0


def read_session(folder: Path) -> Recording:
    """Find every frame of a recorded session; pixels are read when their turn comes.

    A session that is cut short is played up to the damage, with a note.

    Raises
    ------
    InputError
        If the folder holds no session, or none of its frames is whole.
    """
    reader = SessionReader(folder)
    frames: list[Held] = []
    notes: list[str] = []
    before_s: float | None = None
    try:
        for row in reader.rows():
            event = event_tree(row.event)
            if event["kind"] != "frame_seen" or row.array is None:
                continue
            header = _header(event.get("header"), row, notes)
            if header is None:
                continue
            elapsed_s = UNKNOWN_S if before_s is None else header.monotonic_s - before_s
            before_s = header.monotonic_s
            frames.append(
                Held(
                    position=_position(header, len(frames)),
                    facts=_facts(header),
                    shape=header.shape,
                    lasts_s=min(max(elapsed_s, 0.0), LONGEST_S),
                    load=_loader(reader, row),
                )
            )
    except DamagedSessionError as error:
        notes.append(f"played up to frame {len(frames)} only: {error}")
    if not frames:
        reader.close()
        raise InputError(f"{folder}: holds no whole frame" + (f": {'; '.join(notes)}" if notes else ""))
    return Recording(reader.name[:90], tuple(frames), is_series=True, notes=tuple(notes))


def _header(tree: object, row: Row, notes: list[str]) -> FrameHeader | None:
    try:
        return FrameHeader.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        notes.append(f"entry {row.position} is left out: {explain(error)}")
        return None


def _facts(header: FrameHeader) -> FrameFacts:
    known: dict[str, Any] = {name: getattr(header, name) for name in FrameFacts.model_fields}
    source = f"session {header.session} frame {header.sequence}"
    return FrameFacts(**(known | {"source": known["source"] or source}))


def _position(header: FrameHeader, number: int) -> str:
    """Name the place of a frame: stage and field; of a frame that does not know them, its number."""
    if header.stage is None:
        return f"frame {number}"
    stage = header.stage
    place = ", ".join(f"{round(value / STAGE_NM) * STAGE_NM:g}" for value in (stage.x_nm, stage.y_nm))
    return f"{place} nm, field {header.field_of_view_nm}"


def _loader(reader: SessionReader, row: Row) -> Callable[[], NDArray[Any]]:
    def load() -> NDArray[Any]:
        pixels = reader.array(row)
        if pixels is None:
            raise InputError(f"entry {row.position} has lost its pixels")
        return pixels

    return load
