"""The analysis of frames."""

from typing import Any

from numpy.typing import NDArray

from agent.settings import AnalysisSettings
from drivers.contract.facts import Settled
from drivers.contract.header import FrameHeader
from drivers.contract.maps import DefectMap, FrameReference, digest_pixels
from models.analysis import analyse, load_analyser
from models.threads import use_threads


class ColumnAnalysis:
    """The analysis of `models.analysis`, with its weights loaded.

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

    def prepare(self) -> None:
        """Give this thread its number of workers: OpenMP keeps that number by thread."""
        use_threads(self._threads)

    def run(self, pixels: NDArray[Any], settled: Settled, header: FrameHeader) -> DefectMap:
        """Make a map."""
        frame = FrameReference(
            session=header.session,
            sequence=header.sequence,
            shape=header.shape,
            sha256=digest_pixels(pixels),
        )
        return analyse(pixels, settled, self._analyser, frame=frame)
