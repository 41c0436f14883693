"""What a scan adds to the register, once its columns are known for what they are: places, doses, evidence.

Evidence is kept by source, so that what a source repeats is not counted as new (`models.fusion`).  The prior
of a frame is no part of it (`agent.sightings`); the specimen's shares are put in once, where all evidence is
summed up (`agent.belief`).  A column that changed starts anew.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.belief import believe
from agent.boxes import inner, is_inside
from agent.changes import watch_for_changes
from agent.foresight import extent_of
from agent.register import Register, with_source
from agent.scans import Scan
from models.fusion_law import FusionLaw

#: What a scan shows of where a column is counts this much at least: scans are distorted each in its own way.
_LEAST_PART = 0.2


def update(
    register_: Register, scan: Scan, law: FusionLaw, row: NDArray[np.int64]
) -> tuple[Register, int, NDArray[np.int64]]:
    """Enter what a scan says of its columns.

    Parameters
    ----------
    register_ : Register
        That has moved along with the specimen.
    scan : Scan
    law : FusionLaw
    row : ndarray of shape (S,)
        Place in the register of each of the scan's columns, -1 for those that are left out.

    Returns
    -------
    register : Register
    new : int
        Columns that had not been seen before.
    changed : ndarray of shape (m,)
        Places of the columns found changed.
    """
    for layer in scan.layers:
        register_ = with_source(register_, layer)
    seen = np.flatnonzero(row >= 0)
    rows = row[seen]
    new = int(np.isnan(register_.seen_s[rows]).sum())
    position, seen_s = register_.position_angstrom.copy(), register_.seen_s.copy()
    taken, dose = register_.taken_e_per_a2.copy(), max(layer.dose_e_per_a2 for layer in scan.layers)
    gone_over = is_inside(register_.position_angstrom, extent_of(scan))
    gone_over[rows] = True
    taken[gone_over] += dose
    # A faint look shows a column to a fraction of its width: places are averaged by dose.
    part = np.where(np.isnan(seen_s[rows]), 1.0, np.maximum(dose / taken[rows], _LEAST_PART))[:, None]
    position[rows] += part * (scan.positions_angstrom[seen] - position[rows])
    lever = register_.lever_s.copy()
    lever[rows] += part[:, 0] * (scan.levers_s[seen] - lever[rows])
    seen_s[rows] = scan.taken_s
    register_ = replace(
        register_,
        position_angstrom=position,
        lever_s=lever,
        seen_s=seen_s,
        taken_e_per_a2=taken,
        offered_e_per_a2=_offered(register_, scan, rows),
        middle_s=scan.middle_s,
        stage_angstrom=scan.stage_angstrom,
    )
    register_, changed = _with_evidence(register_, scan, law, seen, rows)
    return register_, new, changed


def _offered(register_: Register, scan: Scan, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Doses (K, C) with those of a scan, of all columns that it went over, found in it or not."""
    within = is_inside(register_.position_angstrom, inner(extent_of(scan)))
    within[rows] = True
    offered = register_.offered_e_per_a2.copy()
    for layer in scan.layers:
        offered[register_.sources.index(layer.source), within] += layer.dose_e_per_a2
    return offered


def _with_evidence(
    register_: Register,
    scan: Scan,
    law: FusionLaw,
    seen: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[Register, NDArray[np.int64]]:
    """Register with what a scan's layers say of its columns; and the columns found changed."""
    sums, dose = register_.sums.copy(), register_.dose_e_per_a2.copy()
    new_sums, new_dose = np.zeros_like(sums), np.zeros_like(dose)
    for layer in scan.layers:
        source = register_.sources.index(layer.source)
        spoken = layer.is_usable[seen]
        logs = np.nan_to_num(layer.log_likelihood[seen[spoken]], neginf=0.0)
        new_sums[source, rows[spoken]] = logs * (layer.dose_e_per_a2 + law.half_dose_e_per_a2)
        new_dose[source, rows[spoken]] = layer.dose_e_per_a2
    separations = [law.separation(context) for context in register_.contexts]
    # What is under suspicion must not speak for itself.
    base = believe(
        replace(register_, sums=sums - register_.watch.sums, dose_e_per_a2=dose - register_.watch.dose),
        law,
    )
    watch, changed = watch_for_changes(
        register_.watch, sums, dose, new_sums, new_dose, base.probability, separations, law
    )
    sums, dose = sums + new_sums, dose + new_dose
    # Before a change a column was another: only what was seen since speaks of it now.
    sums[:, changed], dose[:, changed] = watch.sums[:, changed], watch.dose[:, changed]
    changed_s, offered = register_.changed_s.copy(), register_.offered_e_per_a2.copy()
    changed_s[changed], offered[:, changed] = scan.taken_s, dose[:, changed]
    return (
        replace(
            register_,
            sums=sums,
            dose_e_per_a2=dose,
            offered_e_per_a2=offered,
            changed_s=changed_s,
            watch=watch.cleared(changed),
        ),
        changed,
    )
