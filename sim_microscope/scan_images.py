"""Images of a scan over a crystal, before the detector: by kernels, or by multislice."""

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import Context
from sim_microscope.aberrations import Aberrations
from sim_microscope.crystal import Crystal
from sim_microscope.field import FieldKernels, Raster, render
from sim_microscope.imaging import ScanMap
from sim_microscope.kernels import vacuum_intensity
from sim_microscope.scan_path import ScanPath
from sim_microscope.simulate import blur_source
from sim_microscope.splat import shift_rows

#: Further points on either side of a row, for the shifts of rows [pixels]; no row is shifted further than
#: `MAX_SHIFT_PX`.
_PAD, MAX_SHIFT_PX = 12, 10.0


def kernel_image(
    crystal: Crystal,
    kernels: FieldKernels,
    path: ScanPath,
    scan_map: ScanMap,
    shifts_px: NDArray[np.float64],
    *,
    source_sigma_angstrom: float,
) -> NDArray[np.float32]:
    """Image of a crystal by its kernels.

    The columns are moved to where the drifting scan sees them and then imaged on a regular raster, so that
    the spectra of a raster serve every frame; the columns' own images are not skewed by the drift, which
    at one percent of skew is some 1 % of the image's spread.

    Parameters
    ----------
    crystal : Crystal
        Columns in specimen coordinates, with those up to `REACH_ANGSTROM` beyond the scan.
    kernels : FieldKernels
        Of the context.
    path, scan_map : ScanPath, ScanMap
        The scan.
    shifts_px : ndarray of shape (rows,)
        Shift of every row of the scan along itself [pixels].
    source_sigma_angstrom : float
        Standard deviation of the source, with what the focus adds [Å].
    """
    step = path.true_step_angstrom
    pad = _PAD if shifts_px.any() else 0
    seen = (scan_map.to_pixels(crystal.positions) + np.array([0, pad])) * step
    placed = Crystal(crystal.specimen, seen, crystal.states, crystal.grains)
    raster = Raster((path.shape[0], path.shape[1] + 2 * pad), step)
    image = render(placed, kernels, raster, source_sigma_angstrom=source_sigma_angstrom)
    return shift_rows(image, shifts_px, pad) if pad else image


def multislice_image(
    crystal: Crystal,
    context: Context,
    path: ScanPath,
    scan_map: ScanMap,
    shifts_px: NDArray[np.float64],
    *,
    source_sigma_angstrom: float,
    defocus_angstrom: float,
    workers: int = os.cpu_count() or 1,
    on_done: Callable[[int], None] = lambda probes: None,
) -> NDArray[np.float32]:
    """Image of a crystal at rest by full multislice; parameters as `kernel_image`."""
    from sim_microscope.reference import Beam, scan_crystal

    detector, convergence = context.detector, context.convergence_mrad
    beam = Beam(
        context.energy_kev,
        (detector.inner_mrad, detector.outer_mrad),
        convergence,
        Aberrations(defocus_angstrom),
    )
    # The source blurs what lies beside the scan into it.
    sigma_px = source_sigma_angstrom / path.true_step_angstrom
    pad = int(np.ceil(2.5 * sigma_px))
    rows, columns = np.meshgrid(*(np.arange(-pad, n + pad, dtype=float) for n in path.shape), indexing="ij")
    shape, shifts = rows.shape, np.pad(shifts_px, pad, mode="edge")[:, None]
    pixels = np.stack([rows, columns + shifts], axis=-1).reshape(-1, 2)
    contrast = scan_crystal(crystal, scan_map.to_specimen(pixels), beam, workers=workers, on_done=on_done)
    image = contrast.reshape(shape) + vacuum_intensity(detector, convergence)
    blurred = blur_source(image, sigma_px).astype(np.float32)
    return np.ascontiguousarray(blurred[pad : pad + path.shape[0], pad : pad + path.shape[1]])
