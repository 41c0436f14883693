"""Writes the smallest DM3 and DM4 files that hold one image, as DigitalMicrograph lays them out."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Codes of the simple types.
_I32, _U16, _F32 = 3, 4, 6

#: What DigitalMicrograph calls an image of unsigned numbers of two bytes.
_UINT16_IMAGE = 10


def dm_file(image: NDArray[np.uint16], *, version: int, step_nm: float) -> bytes:
    """Return a file of version 3 or 4 with an image (row, column) and a few tags of its context."""
    rows, columns = image.shape
    axis = {"Origin": 0.0, "Scale": step_nm, "Units": "nm"}
    context = {
        "Microscope Info": {"Voltage": 80e3, "Illumination Mode": "STEM", "Probe Current (nA)": 0.03},
        "DigiScan": {"Sample Time": 4.0, "Rotation": 0.0},
        "DataBar": {"Signal Name": "HAADF"},
    }
    whole = {
        "DocumentObjectList": {"": {"ImageSource": 0}},
        "ImageList": {
            "": {
                "ImageData": {
                    "Calibrations": {
                        "Brightness": {"Origin": 0.0, "Scale": 1.0, "Units": ""},
                        "Dimension": [axis, axis],
                    },
                    "Data": image,
                    "DataType": _UINT16_IMAGE,
                    "Dimensions": [columns, rows],
                    "PixelDepth": 2,
                },
                "ImageTags": context,
                "Name": "scan",
            }
        },
    }
    body = _group(whole, version)[8 if version == 4 else 0 :]
    return struct.pack(">iqi" if version == 4 else ">iii", version, len(body), 1) + body + bytes(8)


def _count(number: int, version: int) -> bytes:
    return struct.pack(">q" if version == 4 else ">i", number)


def _group(tags: "dict[str, Any] | list[Any]", version: int) -> bytes:
    """Pack a group; a list is one whose tags have no names."""
    named = list(tags.items()) if isinstance(tags, dict) else [("", value) for value in tags]
    inner = b"".join(_tag(name, value, version) for name, value in named)
    body = struct.pack(">bb", 1, 0) + _count(len(named), version) + inner
    return (_count(len(body), version) if version == 4 else b"") + body


def _tag(name: str, value: Any, version: int) -> bytes:
    is_group = isinstance(value, dict | list)
    content = _group(value, version) if is_group else _value(value, version)
    return struct.pack(">bh", 20 if is_group else 21, len(name)) + name.encode("latin-1") + content


def _value(value: Any, version: int) -> bytes:
    """Pack a number, a text (an array of UTF-16) or an array of numbers of two bytes."""
    if isinstance(value, int | float):
        kind, code = (_I32, "<i") if isinstance(value, int) else (_F32, "<f")
        described, data = (kind,), struct.pack(code, value)
    else:
        numbers = np.frombuffer(value.encode("utf-16-le"), "<u2") if isinstance(value, str) else value
        described, data = (20, _U16, numbers.size), numbers.astype("<u2").tobytes()
    head = b"%%%%" + b"".join(_count(number, version) for number in (len(described), *described))
    body = head + data
    return (_count(len(body), version) if version == 4 else b"") + body
