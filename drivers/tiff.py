"""TIFF files: every image but thumbnails, brighter where its values are larger, with its scale."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from drivers.contract.errors import InputError
from drivers.file_images import Axis, RawSignal, grey_of_colour
from drivers.rosetta import taken_over
from drivers.tiff_channels import channel_names, channels_of
from drivers.tiff_pages import check_tiff_pages
from drivers.tiff_scales import tiff_scales


def read_tiff(path: Path) -> tuple[RawSignal, ...]:
    """Read the images of a TIFF file.

    Raises
    ------
    InputError
        If its pages go round or are too many, colours lie in planes, or 0 is white in some images only.
    """
    from rsciio.tiff import file_reader
    from tifffile import TiffFile

    check_tiff_pages(path)
    with TiffFile(path) as file:
        pages = [one.keyframe for one in file.series]
        names = channel_names(file)
        _check_colours_lie_together(file.series)
    kept = [k for k, page in enumerate(pages) if not page.is_reduced] or [*range(len(pages))]  # no thumbnails
    read = taken_over(file_reader(str(path)))
    signals = _whitened(tuple(_greyed(read[k]) for k in kept), [pages[k] for k in kept])
    found = [
        (k, channel)
        for k, signal in zip(kept, signals, strict=True)
        for channel in channels_of(signal, pages[k], names[k] if k < len(names) else ())
    ]
    if any(axis.unit for _, signal in found for axis in signal.axes[-2:]):
        return tuple(signal for _, signal in found)
    scales = tiff_scales(path)
    return tuple(_scaled(signal, scales[min(k, len(scales) - 1)]) for k, signal in found)


def _check_colours_lie_together(series: Sequence[Any]) -> None:
    """Raise `InputError` for a colour image in planes, which the reader takes for a damaged one."""
    from tifffile import PHOTOMETRIC

    if any(one.keyframe.photometric == PHOTOMETRIC.RGB and not one.axes.endswith("S") for one in series):
        raise InputError(
            "expected a grey image, found a colour image in planes of red, green and blue; save one channel "
            "as grey"
        )


def _whitened(signals: tuple[RawSignal, ...], pages: list[Any]) -> tuple[RawSignal, ...]:
    """Signals in which more is brighter, also where their pages say that 0 is white.

    Raises
    ------
    InputError
        If only some pages say so, or their values have no largest one.
    """
    from tifffile import PHOTOMETRIC

    kinds = [(page.photometric, page.bitspersample) for page in pages]
    if all(photometric != PHOTOMETRIC.MINISWHITE for photometric, _ in kinds):
        return signals
    is_whole = all(signal.data.dtype.kind in "bu" for signal in signals)
    if len(set(kinds)) > 1 or not is_whole:
        where = "in some of its images" if is_whole else "among values without a largest one"
        raise InputError(
            "expected values that are larger where the image is brighter, found that 0 is white "
            f"{where}; save the image as grey, with black at 0"
        )
    most = 2 ** kinds[0][1] - 1
    return tuple(
        replace(one, data=(most - one.data.astype(np.uint64)).astype(one.data.dtype)) for one in signals
    )


def _greyed(signal: RawSignal) -> RawSignal:
    """A signal of red, green and blue as grey, if they are the same."""
    return replace(signal, data=grey_of_colour(signal.data)) if signal.data.dtype.names else signal


def _scaled(signal: RawSignal, scales: tuple[Axis, Axis] | None) -> RawSignal:
    """A signal with other axes for rows and columns, if these are given."""
    if scales is None or len(signal.axes) < 2:
        return signal
    return replace(signal, axes=signal.axes[:-2] + scales)
