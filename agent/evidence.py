"""What is known of each column after many frames: one register, pure, that every map is entered into.

A column keeps its identity by its grain, cell and sublattice (`agent.sites`), found again in each map by the
defects, the stage and the time (`agent.registration`).  Its evidence is kept by source, so that what a source
repeats is not counted as new (`models.fusion`).  A frame's own prior is taken out of its posteriors; the
specimen's shares are learnt from all evidence and put in once.  A column that changed starts anew.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from agent.belief import believe, fused_layers
from agent.boxes import inner, is_inside
from agent.changes import watch_for_changes
from agent.completion import completed
from agent.drift import Steadiness
from agent.foresight import Foresight, extent_of, foresee, levelled, moved
from agent.guiding import REACH, guide, match, pitch_angstrom
from agent.register import Register, adopted, rows_of, with_source
from agent.registration import Expectation, Placed, Registration, register
from agent.scans import Scan
from agent.sites import LEAST_METALS, Sites, count_sites
from models.fusion_law import FusionLaw

#: What a scan shows of where a column is counts this much at least: scans are distorted each in its own way.
_LEAST_PART = 0.2

_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Entry:
    """How a scan was entered.

    Parameters
    ----------
    row : ndarray of shape (S,)
        Place in the register of each of the scan's columns, -1 for those that were left out.
    new : int
        Columns that had not been seen before.
    changed : ndarray of shape (m,)
        Places of the columns found changed.
    registrations : tuple of Registration
        Of each grain that was compared.
    doubts : tuple of str
        Why grains were left out, in words.
    drift_angstrom : ndarray of shape (2,)
        How far the specimen has gone since the scan before.
    """

    row: NDArray[np.int64]
    new: int
    changed: NDArray[np.int64]
    registrations: tuple[Registration, ...]
    doubts: tuple[str, ...]
    drift_angstrom: NDArray[np.float64]

    @property
    def is_entered(self) -> bool:
        """Whether any column was."""
        return bool((self.row >= 0).any())


def enter(register_: Register, scan: Scan, law: FusionLaw, steadiness: Steadiness) -> tuple[Register, Entry]:
    """Enter a scan into a register.

    Parameters
    ----------
    register_ : Register
        Is left as it is.
    scan : Scan
    law : FusionLaw
    steadiness : Steadiness

    Returns
    -------
    register : Register
        With the scan; the same as before if no grain could be entered.
    entry : Entry
    """
    foresight = foresee(register_, scan, steadiness)
    scan = levelled(scan, foresight.drift.velocity_angstrom_per_s)
    expectation = foresight.expectation
    fused = fused_layers(scan, law)
    belief = believe(register_, law)
    shares, known = belief.shares, belief.log_likelihood
    guided = guide(register_, known, scan.positions_angstrom, scan.is_metal, fused, shares, expectation)
    if guided is not None:
        register_, scan, drift = moved(register_, scan, guided.shown_angstrom, foresight)
        return _enter_rows(register_, scan, law, guided.row, Entry(guided.row, 0, _NONE, (), (), drift))
    counted, doubts = _count_grains(register_, scan)
    found: list[tuple[Sites, int, Registration | None]] = []
    grains = int(register_.grain.max(initial=-1)) + 1
    is_placed = len(register_) == 0
    for sites in counted:
        placed = Placed(sites, fused[sites.member])
        best = _best_grain(register_, known, placed, shares, expectation)
        is_found = best is not None and best[1].is_decided
        drift = best[1].drift_angstrom if best is not None and is_found else expectation.drift_angstrom
        if (best is None or is_found or is_placed) and _is_turned_round(register_, scan, sites, drift):
            doubts.append(
                f"a grain of {len(sites.member)} columns has its sublattices the other way round than was "
                "seen before; one of the two is wrong"
            )
        elif best is not None and is_found:
            found.append((sites, best[0], best[1]))
            # Where one grain went, the others went.
            expectation = Expectation(best[1].drift_angstrom, min(expectation.sigma_angstrom, 1.0))
            is_placed = True
        elif is_placed and _is_fresh(register_, placed, expectation):
            found.append((sites, grains, None))
            grains += 1
        else:
            doubts.append(best[1].doubt if best else "the lattice is turned against all that was seen before")
    return _enter_found(register_, scan, law, found, tuple(doubts), foresight)


def _count_grains(register_: Register, scan: Scan) -> tuple[list[Sites], list[str]]:
    """Counted grains of a scan, the largest first, a1 chosen as in the register."""
    toward = 0.0
    if len(register_):
        basis = _lattice_of(register_, int(np.bincount(register_.grain).argmax())).basis[0]
        toward = float(np.rad2deg(np.arctan2(basis[0], basis[1])))
    counted, doubts = [], []
    usable = np.any([layer.is_usable for layer in scan.layers], axis=0)
    for number in np.unique(scan.grain):
        members = np.flatnonzero(scan.grain == number)
        if not usable[members].any():
            doubts.append(f"grain {number}: nothing is said of it (undecided sublattices, or foreign)")
            continue
        sites = count_sites(scan.positions_angstrom[members], scan.is_metal[members], toward_deg=toward)
        if sites is None:
            doubts.append(f"grain {number}: its {len(members)} columns cannot be counted as one lattice")
        else:
            counted.append(replace(sites, member=members[sites.member]))
    return sorted(counted, key=lambda sites: -len(sites.member)), doubts


def _lattice_of(register_: Register, grain: int) -> Sites:
    """All columns of one grain of a register as counted sites."""
    member = np.flatnonzero(register_.grain == grain)
    cell, is_metal = register_.cell[member], register_.is_metal[member]
    place = cell + np.where(is_metal, 0.0, 1 / 3)[:, None]
    design = np.concatenate([np.ones((len(member), 1)), place], axis=1)
    solution = np.linalg.lstsq(design, register_.position_angstrom[member], rcond=None)[0]
    return Sites(member, cell, is_metal, solution[1:], solution[0])


def _best_grain(
    register_: Register,
    known: NDArray[np.float64],
    placed: Placed,
    shares: NDArray[np.float64],
    expectation: Expectation,
) -> tuple[int, Registration] | None:
    """The register's grain that a grain is most likely to be, and how.

    What is left of a grain that another has taken in, a column or two, spans no lattice and is none.
    """
    found = []
    for grain in np.flatnonzero(np.bincount(register_.grain, register_.is_metal) >= LEAST_METALS):
        sites = _lattice_of(register_, int(grain))
        result = register(Placed(sites, known[sites.member]), placed, shares, expectation)
        if result is not None:
            found.append((int(grain), result))
    return max(found, key=lambda pair: pair[1].margin_nats, default=None)


def _is_turned_round(register_: Register, scan: Scan, sites: Sites, drift: NDArray[np.float64]) -> bool:
    """Whether most of a grain's columns stand on known ones of the other sublattice."""
    if not len(register_):
        return False
    spots, reach = scan.positions_angstrom[sites.member] - drift, REACH * pitch_angstrom(register_)
    same, other = (
        int((match(register_, spots, is_metal, reach) >= 0).sum())
        for is_metal in (sites.is_metal, ~sites.is_metal)
    )
    return other > max(same, len(spots) / 2)


def _is_fresh(register_: Register, placed: Placed, expectation: Expectation) -> bool:
    """Whether a grain, in a scan whose drift is known, stands where no column has been seen before."""
    if not len(register_):
        return True
    there = register_.position_angstrom + expectation.drift_angstrom
    spots = placed.sites.expected(placed.sites.cell.astype(np.float64))
    pitch = float(np.linalg.norm(placed.sites.basis[0]))
    near = cKDTree(there).query(spots)[0] < pitch
    return bool(near.mean() < 0.1)


def _enter_found(
    register_: Register,
    scan: Scan,
    law: FusionLaw,
    found: list[tuple[Sites, int, Registration | None]],
    doubts: tuple[str, ...],
    foresight: Foresight,
) -> tuple[Register, Entry]:
    """Enter the grains whose place is known."""
    row = np.full(len(scan.grain), -1, np.int64)
    registrations = tuple(result for _, _, result in found if result is not None)
    if not found:
        return register_, Entry(row, 0, _NONE, registrations, doubts, np.zeros(2))
    before, drift = len(register_), np.zeros(2)
    if registrations:
        drift = max(registrations, key=lambda result: result.shared).drift_angstrom
        register_, scan, drift = moved(register_, scan, drift, foresight)
    elif not before:
        register_ = replace(register_, drift=foresight.drift)
    for sites, grain, result in found:
        cell = sites.cell + (0 if result is None else np.array(result.shift))
        if before:
            spots = scan.positions_angstrom[sites.member]
            there = match(register_, spots, sites.is_metal, REACH * pitch_angstrom(register_))
            register_ = adopted(register_, grain, cell, sites.is_metal, there)
            wrong = match(register_, spots, ~sites.is_metal, REACH * pitch_angstrom(register_))
            register_ = adopted(register_, grain, cell, sites.is_metal, wrong)
        register_, row[sites.member] = rows_of(register_, grain, cell, sites.is_metal)
    entry = Entry(row, 0, _NONE, registrations, doubts, drift)
    register_, entry = _enter_rows(register_, scan, law, row, entry)
    return completed(register_, extent_of(scan)), entry


def _enter_rows(
    register_: Register, scan: Scan, law: FusionLaw, row: NDArray[np.int64], entry: Entry
) -> tuple[Register, Entry]:
    """Enter a scan's columns (S) of known places in a register that has moved along; -1 is left out."""
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
    return register_, replace(entry, changed=changed, new=new)


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
