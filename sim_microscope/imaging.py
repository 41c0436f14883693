"""The imaging model: from the intensity behind a crystal to what a microscope hands over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.ndimage import fourier_gaussian, map_coordinates

from drivers.contract.context import Message
from sim_microscope.contamination import draw_grain, with_grain
from sim_microscope.field import Raster

#: Step of the raster that disturbed scans are interpolated from: this [Å], or this part of the source's
#: standard deviation, whichever is more.  Cubic splines then differ by 0.1 to 0.4 % of the spread from those
#: of a raster three times finer.
_STEP_ANGSTROM, _STEP_SOURCES = 0.2, 0.57

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class Acquisition(Message):
    """How a frame is taken: scan, dose, optics, disturbances and detector.

    Angles are in degrees from the column axis towards the row axis; `*_row` and `*_column` name the
    slow and the fast scan direction.
    """

    pixels: Annotated[int, Field(ge=16, le=16384)]
    """Points along rows and columns."""
    fov_nm: Annotated[float, Field(gt=0, le=10_000)]
    """Edge of the square field of view."""
    dose_e_per_a2: Annotated[float, Field(gt=0, le=1e12)] | None = 1e5
    """Electrons a square ångström; None leaves the Poisson noise out."""
    dwell_us: Positive = 10.0
    flyback_us: NonNegative = 0.0
    """Time between the last point of a row and the first of the next."""
    source_sigma_angstrom: Annotated[float, Field(ge=0, le=100)] = 0.4
    """Standard deviation of the Gaussian source."""
    defocus_angstrom: float = 0.0
    astigmatism_angstrom: NonNegative = 0.0
    astigmatism_deg: float = 0.0
    spherical_um: float = 0.0
    drift_row_angstrom_per_s: float = 0.0
    drift_column_angstrom_per_s: float = 0.0
    """Velocity of the specimen."""
    row_jitter_px: Annotated[float, Field(ge=0, le=16)] = 0.0
    """Standard deviation of the random shift of each row along the fast direction."""
    distortion: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))
    """Displacement gradient of the scan, (row, column) by (row, column), about the field's middle."""
    contamination: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest background that contamination adds, as a fraction of the incident beam."""
    contamination_length_nm: Positive = 3.0
    """Distance over which the contamination varies."""
    gain_counts_per_e: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    offset_counts: Annotated[float, Field(ge=-1e12, le=1e12)] = 0.0
    readout_sigma_counts: Annotated[float, Field(ge=0, le=1e12)] = 0.0
    saturation_counts: Positive | None = None
    """Counts above which the detector reads no more."""

    @model_validator(mode="after")
    def _distortion_is_small(self) -> Self:
        if max(abs(value) for row in self.distortion for value in row) > 0.2:
            raise ValueError(f"distortion {self.distortion}: expected components of at most 0.2 in size")
        return self

    @property
    def pixel_size_angstrom(self) -> float:
        """Nominal distance between neighbouring points [Å]."""
        return self.fov_nm * 10 / self.pixels

    @property
    def electrons_per_pixel(self) -> float:
        """Incident electrons at every point, infinite without a dose."""
        if self.dose_e_per_a2 is None:
            return float("inf")
        return self.dose_e_per_a2 * self.pixel_size_angstrom**2

    @property
    def frame_time_s(self) -> float:
        """Time from the first point to the last."""
        return (self.pixels**2 * self.dwell_us + (self.pixels - 1) * self.flyback_us) * 1e-6


@dataclass(frozen=True)
class ScanMap:
    """Where on the specimen the beam stands at every point of the scan: an affine map.

    Parameters
    ----------
    matrix : ndarray of shape (2, 2)
        Specimen position (row, column) [Å] a pixel.
    origin : ndarray of shape (2,)
        Specimen position of pixel (0, 0) [Å].
    """

    matrix: NDArray[np.float64]
    origin: NDArray[np.float64]

    @classmethod
    def of(cls, acquisition: Acquisition) -> "ScanMap":
        """Scan of an acquisition: nominal raster, scan distortion, and the drift meanwhile."""
        step = acquisition.pixel_size_angstrom
        stretch = np.eye(2) + np.array(acquisition.distortion)
        middle = np.full(2, step * (acquisition.pixels - 1) / 2)
        row_time = (acquisition.pixels * acquisition.dwell_us + acquisition.flyback_us) * 1e-6
        times = np.array([row_time, acquisition.dwell_us * 1e-6])
        drift = np.array([acquisition.drift_row_angstrom_per_s, acquisition.drift_column_angstrom_per_s])
        return cls(stretch * step - np.outer(drift, times), middle - stretch @ middle)

    def to_specimen(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Specimen positions [Å] of pixel coordinates (n, 2)."""
        return pixels @ self.matrix.T + self.origin

    def to_pixels(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixel coordinates of specimen positions (n, 2) [Å]."""
        return np.asarray((positions - self.origin) @ np.linalg.inv(self.matrix).T)

    def bounds(self, pixels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Smallest box on the specimen that holds the scan: lowest and highest (row, column) [Å]."""
        last = pixels - 1.0
        corners = self.to_specimen(np.array([[0, 0], [0, last], [last, 0], [last, last]]))
        return corners.min(axis=0), corners.max(axis=0)


#: Noiseless intensity at the points of a raster.
Renderer = Callable[[Raster], NDArray[np.float32]]


def expose(
    acquisition: Acquisition, renderer: Renderer, rng: np.random.Generator, *, atom_a2: float = 0.0
) -> NDArray[np.float32]:
    """Scan an intensity and detect it.

    Parameters
    ----------
    acquisition : Acquisition
        Scan, dose and detector.
    renderer : callable
        Intensity, as a fraction of the incident beam, on any regular raster of the specimen.
    rng : numpy.random.Generator
        Source of jitter, contamination and noise.
    atom_a2 : float
        Cross section of an atom of the contamination, see `sim_microscope.contamination`; 0 for a background
        without grain.

    Returns
    -------
    ndarray of shape (pixels, pixels), float32
        Detector counts.
    """
    image = scan(acquisition, renderer, rng).astype(np.float64)
    if acquisition.contamination > 0:
        image += contamination_background(acquisition, rng, atom_a2=atom_a2)
    return detect(image, acquisition, rng)


def scan(acquisition: Acquisition, renderer: Renderer, rng: np.random.Generator) -> NDArray[np.float32]:
    """Intensity at every point of the scan, with its distortion, drift and row jitter."""
    scan_map, pixels = ScanMap.of(acquisition), acquisition.pixels
    step = acquisition.pixel_size_angstrom
    straight = np.allclose(scan_map.matrix, np.eye(2) * step, rtol=0, atol=1e-12 * step)
    if straight and acquisition.row_jitter_px == 0:
        return renderer(Raster((pixels, pixels), step, (0.0, 0.0)))
    jitter = (
        rng.normal(0.0, acquisition.row_jitter_px, pixels) if acquisition.row_jitter_px else np.zeros(pixels)
    )
    low, high = scan_map.bounds(pixels)
    low = low - (4 + np.abs(jitter).max()) * step
    high = high + (4 + np.abs(jitter).max()) * step
    step = max(_STEP_ANGSTROM, _STEP_SOURCES * acquisition.source_sigma_angstrom)
    shape = np.ceil((high - low) / step).astype(int) + 1
    regular = renderer(Raster((int(shape[0]), int(shape[1])), step, (float(low[0]), float(low[1]))))
    rows, columns = np.arange(pixels)[:, None], np.arange(pixels)[None] + jitter[:, None]
    matrix, origin = scan_map.matrix / step, (scan_map.origin - low) / step
    coordinates = np.stack([matrix[k, 0] * rows + matrix[k, 1] * columns + origin[k] for k in range(2)])
    return np.asarray(map_coordinates(regular, coordinates, order=3, output=np.float32, mode="nearest"))


def contamination_background(
    acquisition: Acquisition, rng: np.random.Generator, *, atom_a2: float = 0.0
) -> NDArray[np.float64]:
    """Patches of extra scattering, zero over about half the field, in fractions of the beam."""
    length = acquisition.contamination_length_nm * 10 / acquisition.pixel_size_angstrom
    spectrum = np.fft.rfft2(rng.normal(size=(acquisition.pixels,) * 2))
    relief = np.fft.irfft2(
        fourier_gaussian(spectrum, length, n=acquisition.pixels), s=(acquisition.pixels,) * 2
    )
    relief = np.clip(relief / max(float(relief.max()), 1e-12), 0.0, None)
    background = np.asarray(acquisition.contamination * relief)
    if atom_a2 == 0:
        return background
    step = acquisition.pixel_size_angstrom
    grain = draw_grain(background.shape, step, acquisition.source_sigma_angstrom, rng)
    return with_grain(background, grain, atom_a2)


def detect(
    intensity: NDArray[np.float64], acquisition: Acquisition, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Turn intensities into counts as the acquisition's detector does, see `Readout.counts`."""
    readout = Readout(
        acquisition.gain_counts_per_e,
        acquisition.offset_counts,
        acquisition.readout_sigma_counts,
        acquisition.saturation_counts,
    )
    electrons = None if acquisition.dose_e_per_a2 is None else acquisition.electrons_per_pixel
    return readout.counts(intensity, electrons, rng)


@dataclass(frozen=True)
class Readout:
    """A detector from electrons to numbers.

    Parameters
    ----------
    gain_counts_per_e : float
        Counts an electron.
    offset_counts, sigma_counts : float
        Mean and standard deviation of what it reads in the dark.
    saturation_counts : float, optional
        Counts above which it reads no more.
    """

    gain_counts_per_e: float = 1.0
    offset_counts: float = 0.0
    sigma_counts: float = 0.0
    saturation_counts: float | None = None

    def counts(
        self, intensity: NDArray[np.float64], electrons_per_pixel: float | None, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Turn intensities into counts: Poisson noise, gain, offset, read-out noise and saturation.

        With None for the incident electrons they are not counted; the gain then applies to the intensity.
        """
        electrons = np.maximum(intensity, 0.0)
        if electrons_per_pixel is not None:
            electrons = rng.poisson(electrons * electrons_per_pixel).astype(np.float64)
        counts = electrons * self.gain_counts_per_e + self.offset_counts
        if self.sigma_counts > 0:
            counts += rng.normal(0.0, self.sigma_counts, counts.shape)
        if self.saturation_counts is not None:
            counts = np.minimum(counts, self.saturation_counts)
        return counts.astype(np.float32)
