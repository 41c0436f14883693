"""Where the beam stands at every point of a scan over a specimen that drifts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.contract.header import Window
from sim_microscope.imaging import ScanMap


@dataclass(frozen=True)
class ScanPath:
    """A raster of points, row by row.

    Parameters
    ----------
    shape : tuple of int
        Points along (row, column).
    step_angstrom : float
        Distance between neighbouring points as the instrument declares it [Å].
    corner_angstrom : tuple of float
        First point (row, column) against the middle of the field, as declared [Å].
    dwell_us : float
        Time at every point.
    flyback_us : float
        Time between the last point of a row and the first of the next.
    magnification : float
        True over declared distances.
    """

    shape: tuple[int, int]
    step_angstrom: float
    corner_angstrom: tuple[float, float]
    dwell_us: float
    flyback_us: float
    magnification: float = 1.0

    @classmethod
    def of_field(
        cls,
        fov_nm: float,
        field_shape_px: tuple[int, int],
        window: Window | None = None,
        *,
        dwell_us: float,
        flyback_us: float,
        magnification: float = 1.0,
    ) -> "ScanPath":
        """Scan of a whole field, `fov_nm` wide along a row, or of a window of its grid."""
        step = fov_nm * 10 / field_shape_px[1]
        middle = [(edge - 1) / 2 for edge in field_shape_px]
        shape, first = field_shape_px, (0, 0)
        if window is not None:
            shape, first = (window.rows_px, window.cols_px), (window.row_px, window.col_px)
        corner = ((first[0] - middle[0]) * step, (first[1] - middle[1]) * step)
        return cls(shape, step, corner, dwell_us, flyback_us, magnification)

    @property
    def true_step_angstrom(self) -> float:
        """Distance between neighbouring points on the specimen [Å]."""
        return self.step_angstrom * self.magnification

    @property
    def row_time_s(self) -> float:
        """Time from the start of a row to the start of the next."""
        return (self.shape[1] * self.dwell_us + self.flyback_us) * 1e-6

    @property
    def duration_s(self) -> float:
        """Time from the first point to the end of the last row's flyback."""
        return self.shape[0] * self.row_time_s

    def scan_map(self, start: NDArray[np.float64], end: NDArray[np.float64]) -> ScanMap:
        """Map pixels to the specimen, for a field whose middle moves steadily over it.

        Parameters
        ----------
        start, end : ndarray of shape (2,)
            Specimen position (row, column) of the field's middle at the start and the end [Å].
        """
        times = np.array([self.row_time_s, self.dwell_us * 1e-6])
        velocity = (end - start) / self.duration_s
        matrix = np.eye(2) * self.true_step_angstrom + np.outer(velocity, times)
        return ScanMap(matrix, start + np.array(self.corner_angstrom) * self.magnification)

    def box(
        self, scan_map: ScanMap, rows: float | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Box on the specimen that the first `rows` rows fill (by default all): corners (row, column) [Å].

        Half a pixel beyond the outermost points; its skew by the drift during the scan is left out.
        """
        rows = self.shape[0] if rows is None else rows
        ends = scan_map.to_specimen(np.array([[-0.5, -0.5], [rows - 0.5, self.shape[1] - 0.5]]))
        return ends.min(axis=0), ends.max(axis=0)

    def contains(self, pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether pixel coordinates (n, 2) lie in the scanned area."""
        return np.asarray(np.all((pixels >= -0.5) & (pixels < np.array(self.shape) - 0.5), axis=1))
