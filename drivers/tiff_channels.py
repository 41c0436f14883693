"""The detectors of a scan that a TIFF file keeps as channels of one image: one image each, by name."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np

from drivers.file_images import RawSignal
from drivers.file_metadata import Tag
from drivers.file_tags import CHANNEL

#: More channels than detectors record at once (16 segments) are a spectrum.
_MOST_CHANNELS = 16

#: Names by which RosettaSciIO knows the axes C and S.
_AXES = ("color|em-wavelength|channel", "sample")


def channel_names(file: Any) -> list[list[str]]:
    """Names that ImageJ or OME gives the channels of each image of an open TIFF file, as far as it does."""
    try:
        if file.imagej_metadata:
            return [[str(label or "").strip() for label in file.imagej_metadata.get("Labels") or ()]]
        tree = ElementTree.fromstring(file.ome_metadata) if file.ome_metadata else ()
    except (ValueError, TypeError, ElementTree.ParseError):
        return []  # an image is no worse for a broken description
    images = [node for node in tree if node.tag.endswith("}Image")]
    return [
        [str(node.get("Name", "")).strip() for node in image.iter() if node.tag.endswith("}Channel")]
        for image in images
    ]


def channels_of(signal: RawSignal, page: Any, names: Sequence[str]) -> tuple[RawSignal, ...]:
    """An image with channels as one signal a channel; every other one, and one in colour, as it is.

    Parameters
    ----------
    signal : RawSignal
    page : tifffile.TiffPage
        Its first page, which says whether the channels are colours or opacity.
    names : sequence of str
        The channels' names; they count only if they tell all of them apart.
    """
    from tifffile import EXTRASAMPLE, PHOTOMETRIC

    places = [index for index, axis in enumerate(signal.axes) if axis.name in _AXES]
    is_grey = page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
    is_opaque = all(extra == EXTRASAMPLE.UNSPECIFIED for extra in page.extrasamples)
    if len(places) != 1 or signal.data.ndim != len(signal.axes) or not (is_grey and is_opaque):
        return (signal,)
    (place,) = places
    count = signal.data.shape[place]
    if not 2 <= count <= _MOST_CHANNELS:
        return (signal,)
    axes = tuple(axis for index, axis in enumerate(signal.axes) if index != place)
    axes = (*axes[:-2], *(replace(axis, is_navigation=False) for axis in axes[-2:]))
    first = list(names[:count])
    is_named = all(first) and len(set(first)) == count
    return tuple(
        replace(
            signal,
            data=channel,
            axes=axes,
            title=first[number] if is_named else f"channel {number}",
            tags={**signal.tags, CHANNEL: Tag(first[number])} if is_named else signal.tags,
        )
        for number, channel in enumerate(np.moveaxis(signal.data, place, 0))
    )
