"""What is known of each column after many frames: one register, pure, that every map is entered into.

A column keeps its identity by its grain, cell and sublattice (`agent.sites`), found again in each map by the
defects, the stage and the time (`agent.registration`).  Which columns are which is settled here; what a scan
then says of them is entered by `agent.update`.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from agent.belief import believe, fused_layers
from agent.completion import completed
from agent.drift import Steadiness
from agent.foresight import Foresight, extent_of, foresee, levelled, moved
from agent.guiding import REACH, guide, match, pitch_angstrom
from agent.register import Register, adopted, rows_of
from agent.registration import Expectation, Placed, Registration, register
from agent.scans import Scan
from agent.sites import LEAST_METALS, Sites, count_sites
from agent.update import update
from models.fusion_law import FusionLaw


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
        register_, new, changed = update(register_, scan, law, guided.row)
        return register_, Entry(guided.row, new, changed, (), (), drift)
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
        return register_, Entry(row, 0, np.zeros(0, np.int64), registrations, doubts, np.zeros(2))
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
    register_, new, changed = update(register_, scan, law, row)
    return completed(register_, extent_of(scan)), Entry(row, new, changed, registrations, doubts, drift)
