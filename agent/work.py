"""The analysis of frames."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.settings import AnalysisSettings
from drivers.contract.facts import Settled
from drivers.contract.header import FrameHeader
from drivers.contract.maps import DefectMap, FrameReference, digest_pixels
from models.analysis import analyse, load_analyser
from models.threads import use_threads
from models.windows import cut_out, lay_into

#: Fields whose last frame is kept, one a detector and setting, to read windows in.
_FIELDS_KEPT = 4


@dataclass(frozen=True)
class Field:
    """The last frame of a whole field that could be read, and its lattice constant [px]."""

    pixels: NDArray[np.float32]
    lattice_px: float


class ColumnAnalysis:
    """The analysis of `models.analysis`, with its weights loaded.

    A window is read within the last frame of its field, if there is one: the maps of a session are the same
    to the bit if its frames come in the same order.

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

    def prepare(self) -> None:
        """Give this thread its number of workers: OpenMP keeps that number by thread."""
        use_threads(self._threads)

    def forget(self) -> None:
        """Forget all fields, as at the begin of a session."""
        self._fields.clear()

    def run(self, pixels: NDArray[Any], settled: Settled, header: FrameHeader) -> DefectMap:
        """Make a map."""
        frame = FrameReference(
            session=header.session,
            sequence=header.sequence,
            shape=header.shape,
            sha256=digest_pixels(pixels),
        )
        key = _key(settled, header)
        if header.window is not None and key in self._fields:
            field = self._fields[key]
            laid = lay_into(field.pixels, pixels, header.window, field.lattice_px)
            return cut_out(analyse(laid, settled, self._analyser), header.window, frame)
        made = analyse(pixels, settled, self._analyser, frame=frame)
        if header.window is None:
            self._fields.pop(key, None)
            self._fields[key] = Field(np.asarray(pixels, np.float32), made.header.scale.lattice_px)
            while len(self._fields) > _FIELDS_KEPT:
                self._fields.pop(next(iter(self._fields)))
        return made


def _key(settled: Settled, header: FrameHeader) -> tuple[Any, ...]:
    """What two frames must have in common to be of one field."""
    stage = None if header.stage is None else (header.stage.x_nm, header.stage.y_nm)
    grid = header.field_shape_px or header.shape
    return (settled.context, grid, header.field_of_view_nm, header.pixel_size_angstrom, stage)
