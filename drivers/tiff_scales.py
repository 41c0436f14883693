"""Pixel sizes that ImageJ and OME write into TIFF; RosettaSciIO's reader takes ImageJ's microns alone."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from drivers.file_images import Axis

#: Units by which ImageJ says that it knows none: dots of a printer or a screen.
_NO_UNITS = ("", "pixel", "pixels", "px", "inch", "inches")


def tiff_scales(path: Path) -> list[tuple[Axis, Axis] | None]:
    """Axes of rows and columns of each image of a file, None where nothing usable is said; one at least."""
    from tifffile import TiffFile

    try:
        with TiffFile(path) as file:
            if file.ome_metadata:
                return _of_ome(file.ome_metadata) or [None]
            return [_of_imagej(file.imagej_metadata, file.pages.first.tags) if file.imagej_metadata else None]
    except (ValueError, TypeError, ElementTree.ParseError):
        return [None]  # an image is no worse for a broken description


def _of_imagej(described: dict[str, Any], tags: Any) -> tuple[Axis, Axis] | None:
    """The resolution tags hold pixels a unit; the unit is a line of the description."""
    columns = _unescaped(described.get("unit", ""))
    rows = _unescaped(described.get("yunit", columns))
    if columns.lower() in _NO_UNITS or "XResolution" not in tags or "YResolution" not in tags:
        return None
    (across, a_column), (down, a_row) = tags["XResolution"].value, tags["YResolution"].value
    if not (across and a_column and down and a_row):
        return None
    return Axis("height", a_row / down, rows), Axis("width", a_column / across, columns)


def _unescaped(unit: object) -> str:
    r"""ImageJ writes the micro sign as ``\u00B5``, and Å as ``\u00C5``."""
    text = str(unit)
    for code in ("00B5", "00b5", "00C5", "00c5"):
        text = text.replace(f"\\u{code}", chr(int(code, 16)))
    return text.strip()


def _of_ome(described: str) -> list[tuple[Axis, Axis] | None]:
    """``PhysicalSizeX`` and ``PhysicalSizeY`` of every image, in µm where no unit is named."""
    found: list[tuple[Axis, Axis] | None] = []
    for node in ElementTree.fromstring(described).iter():
        if node.tag.rsplit("}", 1)[-1] != "Pixels":
            continue
        sizes = [node.get("PhysicalSizeY"), node.get("PhysicalSizeX")]
        units = [node.get(f"PhysicalSize{axis}Unit", "µm") for axis in "YX"]
        if sizes[0] is None or sizes[1] is None or "pixel" in units:
            found.append(None)
        else:
            found.append(
                (Axis("height", float(sizes[0]), units[0]), Axis("width", float(sizes[1]), units[1]))
            )
    return found
