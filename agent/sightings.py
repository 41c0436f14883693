"""From published maps to scans that evidence is made of: where the columns are, and what a map adds."""

import numpy as np
from numpy.typing import NDArray

from agent.boxes import Box
from agent.ledger import dose_of
from agent.scans import Layer, Scan
from drivers.contract.header import FrameHeader
from drivers.contract.maps import ColumnFlag, DefectMap, Sublattice
from models.fusion import calibrate, likelihoods
from models.fusion_law import FusionLaw


def read_map(defect_map: DefectMap, header: FrameHeader, law: FusionLaw, flyback_us: float = 0.0) -> Scan:
    """Read the map of one frame.

    Parameters
    ----------
    defect_map : DefectMap
    header : FrameHeader
        Of its frame: window, stage, dose and time.  Without a stage position the field is taken to stand at
        the origin; without a dose the map counts as one of the law's half dose.
    law : FusionLaw
    flyback_us : float
        From the end of a row to the start of the next.

    Returns
    -------
    Scan
        Of one layer, in which foreign columns and those of undecided sublattices say nothing.
    """
    columns = defect_map.columns
    is_metal = np.asarray(columns["sublattice"] == Sublattice.METAL)
    context = defect_map.header.settled.context
    logs = likelihoods(
        columns["p"].astype(np.float64), np.array(defect_map.header.prior, np.float64), is_metal
    )
    dose = dose_of(header)
    mute = defect_map.is_flagged(ColumnFlag.UNDECIDED) | defect_map.is_flagged(ColumnFlag.FOREIGN)
    layer = Layer(
        context=context,
        dose_e_per_a2=dose or law.half_dose_e_per_a2,
        log_likelihood=calibrate(logs, is_metal, context.detector, dose, law),
        is_usable=~mute,
    )
    row_us = 0.0 if header.dwell_us is None else header.shape[1] * header.dwell_us + flyback_us
    duration_s = header.shape[0] * row_us * 1e-6
    passed = (columns["row_px"].astype(np.float64) + 0.5) / header.shape[0]
    return Scan(
        positions_angstrom=_positions(defect_map, header),
        is_metal=is_metal,
        grain=columns["grain"].astype(np.int64),
        layers=(layer,),
        taken_s=header.monotonic_s,
        stage_angstrom=None if header.stage is None else (header.stage.y_nm * 10, header.stage.x_nm * 10),
        lead_s=(0.5 - passed) * duration_s,
        duration_s=duration_s,
    )


def field_box(defect_map: DefectMap, header: FrameHeader) -> Box:
    """What the whole scan field covers, also where the frame is a window of it, in the stage's frame [Å]."""
    rows, cols = header.field_shape_px or header.shape
    half = np.array([rows, cols]) * defect_map.header.scale.pixel_size_angstrom / 2
    centre = _stage(header)
    low, high = centre - half, centre + half
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _positions(defect_map: DefectMap, header: FrameHeader) -> NDArray[np.float64]:
    """Positions (row, column) [Å] of a map's columns in the stage's frame."""
    columns = defect_map.columns
    position = np.stack([columns["row_px"], columns["col_px"]], axis=1).astype(np.float64)
    if header.window is not None:
        position += (header.window.row_px, header.window.col_px)
    shape = np.array(header.field_shape_px or header.shape)
    from_centre = position - (shape - 1) / 2
    return np.asarray(_stage(header) + from_centre * defect_map.header.scale.pixel_size_angstrom)


def _stage(header: FrameHeader) -> NDArray[np.float64]:
    """Point of the specimen at the middle of the field, (row, column) [Å]; the origin if it is not known."""
    if header.stage is None:
        return np.zeros(2)
    return np.array([header.stage.y_nm, header.stage.x_nm]) * 10.0
