"""An analysis that no bad frame and no failing device ends: the frame fails, or another device goes on."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from agent.parts import Analysis
from drivers.contract.errors import InputError
from drivers.contract.facts import Settled
from drivers.contract.header import FrameHeader
from drivers.contract.maps import DefectMap


class SteadyAnalysis:
    """Stands before an analysis.

    Parameters
    ----------
    first : Analysis
    make_second : callable, optional
        Makes an analysis on another device, for the case that the first one's fails.
    device : str
        Where that is, for people.
    """

    def __init__(
        self, first: Analysis, make_second: Callable[[], Analysis] | None = None, device: str = "cpu"
    ) -> None:
        self._analysis, self._make_second, self._device = first, make_second, device
        self.on_moved: Callable[[str, str], None] = lambda device, reason: None
        """Is told where the analysis goes on and why, before the first map that is made there."""

    def prepare(self) -> None:
        """Set up the thread that `run` will be called in."""
        self._analysis.prepare()

    def run(self, pixels: NDArray[Any], settled: Settled, header: FrameHeader) -> DefectMap:
        """Make a map; if the device fails, of the same frame on the other one.

        Raises
        ------
        InputError
            If the frame cannot be read, for whatever reason: it is recorded, and the next one is analysed.
        """
        try:
            return self._analysis.run(pixels, settled, header)
        except InputError:
            raise
        except Exception as error:  # a device that is gone or full, or a frame that nobody thought of
            reason = f"{type(error).__name__}: {error}"[:1500]
        if self._make_second is None:
            raise InputError(f"the analysis failed on this frame: {reason}")
        self._analysis, self._make_second = self._make_second(), None
        self._analysis.prepare()
        self.on_moved(self._device, reason)
        return self.run(pixels, settled, header)
