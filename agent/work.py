"""The analysis of frames."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.settings import AnalysisSettings
from drivers.contract.facts import Settled
from drivers.contract.header import FrameHeader, Window
from drivers.contract.maps import DefectMap, FrameReference, digest_pixels
from models.analysis import analyse_of_scan, load_analyser
from models.classify import Geometry
from models.mending import Mended, mend
from models.threads import use_threads
from models.windows import Shift, cut_out, lay_into, surroundings

#: Fields whose last frame is kept, one a detector and setting, to read windows in.
_FIELDS_KEPT = 4


@dataclass(frozen=True)
class Field:
    """The last frame of a whole field that could be read.

    With its lattice constant [px], the name of its scan, and when and how far it had moved at last.
    """

    pixels: NDArray[np.float32]
    lattice_px: float
    group: str | None
    at_s: float
    moved: Shift = (0, 0)


class ColumnAnalysis:
    """The analysis of `models.analysis`, with its weights loaded.

    A window is read within the last frame of its field, if there is one; detectors that were read in one scan
    share what it shows of the lattice.  The maps of a session are the same to the bit if its frames come in
    the same order.

    Parameters
    ----------
    settings : AnalysisSettings

    Raises
    ------
    InputError
        If there are no such weights, or no such device.
    """

    def __init__(self, settings: AnalysisSettings) -> None:
        self._threads = settings.threads
        self._analyser = load_analyser(settings.network, device=settings.device)
        self._fields: dict[tuple[Any, ...], Field] = {}
        self._laid: tuple[str, str | None, Shift, Window] | None = None
        self._shown: tuple[str, Window | None, Geometry] | None = None

    def prepare(self) -> None:
        """Give this thread its number of workers: OpenMP keeps that number by thread."""
        use_threads(self._threads)

    def forget(self) -> None:
        """Forget all fields, as at the begin of a session."""
        self._fields.clear()
        self._laid = self._shown = None

    def run(self, pixels: NDArray[Any], settled: Settled, header: FrameHeader) -> DefectMap:
        """Make a map."""

        def frame() -> FrameReference:
            return FrameReference(
                session=header.session,
                sequence=header.sequence,
                file=header.source,
                shape=header.shape,
                sha256=digest_pixels(pixels),
            )

        key, mended = _key(settled, header), mend(pixels)
        if header.window is not None and key in self._fields:
            laid, around = self._lay(key, mended.pixels, header.window, header)
            row, col = header.window.row_px - around.row_px, header.window.col_px - around.col_px
            place = header.window.rebuilt(row_px=row, col_px=col)
            whole = replace(mended, pixels=laid, is_laid=True)
            made = self._read(whole, settled, header, frame, around)
            return cut_out(made, place)
        made = self._read(mended, settled, header, frame, None)
        if header.window is None:
            self._fields.pop(key, None)
            self._fields[key] = Field(
                np.asarray(mended.pixels, np.float32),
                made.header.scale.lattice_px,
                _group(header),
                header.monotonic_s,
            )
            while len(self._fields) > _FIELDS_KEPT:
                self._fields.pop(next(iter(self._fields)))
        return made

    def _read(
        self,
        mended: Mended,
        settled: Settled,
        header: FrameHeader,
        frame: Callable[[], FrameReference],
        around: Window | None,
    ) -> DefectMap:
        """Read a frame, or a window in what is around it.

        Its columns are where another detector of the same scan has shown them, if on the same grid.
        """
        group = _group(header)
        known = self._shown[2] if self._shown is not None and self._shown[:2] == (group, around) else None
        made, shown = analyse_of_scan(mended, settled, self._analyser, frame=frame, geometry=known)
        if group is not None and known is None:
            is_sure = bool(shown.decision.is_decided[0])  # of the largest grain; else the next may show it
            self._shown = (group, around, shown) if is_sure else None
        return made

    def _lay(
        self, key: tuple[Any, ...], pixels: NDArray[Any], window: Window, header: FrameHeader
    ) -> tuple[NDArray[np.float32], Window]:
        """Lay a window into what is around it in its field; returns that, and where in the field it lies.

        The first detector of a scan decides for all what is around, and tells of the drift for those whose
        field is of the same scan as its own.
        """
        field, shift, group = self._fields[key], None, _group(header)
        rows, cols = field.pixels.shape
        around = surroundings(window, (rows, cols), field.lattice_px)
        if self._laid is not None and self._laid[0] == group:
            around = self._laid[3]
            shift = self._laid[2] if self._laid[1] == field.group else None
        row, col = around.row_px, around.col_px
        part = field.pixels[row : row + around.rows_px, col : col + around.cols_px]
        place = window.rebuilt(row_px=window.row_px - row, col_px=window.col_px - col)
        laid, moved = lay_into(
            part,
            pixels,
            place,
            field.lattice_px,
            shift,
            expected=field.moved,
            elapsed_s=max(header.monotonic_s - field.at_s, 0.0),
        )
        self._fields[key] = replace(field, moved=moved, at_s=header.monotonic_s)
        if group is not None:
            self._laid = (group, field.group, moved, around)
        return laid, around


def _group(header: FrameHeader) -> str | None:
    """Name of the scan of frames that several detectors took at once."""
    return None if header.simultaneous is None else header.simultaneous.group


def _key(settled: Settled, header: FrameHeader) -> tuple[Any, ...]:
    """What two frames must have in common to be of one field."""
    stage = None if header.stage is None else (header.stage.x_nm, header.stage.y_nm)
    grid = header.field_shape_px or header.shape
    return (settled.context, grid, header.field_of_view_nm, header.pixel_size_angstrom, stage)
