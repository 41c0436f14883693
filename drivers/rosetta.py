"""What the readers of RosettaSciIO return, as signals of ours."""

from typing import Any

import numpy as np

from drivers.file_images import Axis, RawSignal
from drivers.file_metadata import flatten


def taken_over(signals: list[dict[str, Any]]) -> tuple[RawSignal, ...]:
    """Take over what a reader returned."""
    raw = []
    for signal in signals:
        metadata = dict(signal.get("metadata") or {})
        tags = flatten(dict(signal.get("original_metadata") or {})) | flatten(metadata)
        axes = tuple(
            Axis(
                name=_text(axis.get("name")),
                scale=float(axis.get("scale", 1.0)),
                unit=_text(axis.get("units")) or None,
                is_navigation=bool(axis.get("navigate", False)),
            )
            for axis in signal["axes"]
        )
        title = _text(dict(metadata.get("General") or {}).get("title"))
        raw.append(RawSignal(data=np.asarray(signal["data"]), axes=axes, tags=tags, title=title))
    return tuple(raw)


def _text(value: object) -> str:
    """Text of a name or unit, empty for None and for HyperSpy's ``<undefined>``."""
    text = "" if value is None else str(value).strip()
    return "" if text in ("None", "<undefined>", "<no units>", "undefined") else text
