"""What is known of each column after many frames: one register, pure, that every map is entered into.

A column keeps its identity by its grain, cell and sublattice (`agent.sites`), found again in each map by the
defects, the stage and the time (`agent.registration`).  Its evidence is kept by source, so that what a source
repeats is not counted as new (`models.fusion`).  A frame's own prior is taken out of its posteriors; the
specimen's shares are learnt from all evidence and put in once.  A column that changed starts anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import logsumexp

from agent.changes import Watch, empty_watch, watch_for_changes
from agent.registration import Expectation, Placed, Registration, register, turn_between_deg
from agent.sites import Sites, count_sites
from drivers.contract.context import Context
from models.fusion import ON_METAL, START_SHARES, FusionLaw, said, source_weights

T = TypeVar("T", np.float32, np.float64)

#: The shares that the specimen is expected to have count as much as this many columns of a sublattice.
_SHARE_COLUMNS = 20.0

_MOST_ROUNDS, _CONVERGED = 200, 1e-6

#: Time over which a drift is averaged [s], and how much of what could not be foreseen always stays so.
_MEMORY_S, _LEAST_UNSEEN = 3.0, 0.2

#: Two detectors' columns of one scan are the same if nearer than this part of the distance of neighbours.
_SAME = 0.3


@dataclass(frozen=True)
class Source:
    """One detector at one beam energy."""

    detector: str
    energy_kev: float


@dataclass(frozen=True)
class Layer:
    """What one detector says of the columns of a scan; S columns.

    Parameters
    ----------
    context : Context
    dose_e_per_a2 : float
        That made it.
    log_likelihood : ndarray of shape (S, 5)
        Calibrated (`models.fusion.calibrate`); -inf for the other sublattice's classes.
    is_usable : ndarray of shape (S,)
        Columns that it may speak of: not foreign, and of a grain whose sublattices are decided.
    """

    context: Context
    dose_e_per_a2: float
    log_likelihood: NDArray[np.float64]
    is_usable: NDArray[np.bool_]

    @property
    def source(self) -> Source:
        """Detector and energy."""
        return Source(self.context.detector.name, self.context.energy_kev)


@dataclass(frozen=True)
class Scan:
    """One pass of the beam, read: S columns, one layer a detector.

    Parameters
    ----------
    positions_angstrom : ndarray of shape (S, 2)
        (row, column) in the stage's frame: where the stage would have to go to centre the column.
    is_metal, grain : ndarray of shape (S,)
    layers : tuple of Layer
    taken_s : float
        End of the scan, on any one clock.
    stage_angstrom : tuple of float or None
        Where the stage said that it was, (row, column); None where it said nothing.
    """

    positions_angstrom: NDArray[np.float64]
    is_metal: NDArray[np.bool_]
    grain: NDArray[np.int64]
    layers: tuple[Layer, ...]
    taken_s: float
    stage_angstrom: tuple[float, float] | None = None


@dataclass(frozen=True)
class Steadiness:
    """How far the specimen may go unseen.

    Parameters
    ----------
    stage_sigma_angstrom : float
        Of where the stage says it is.
    scan_sigma_angstrom : float
        Of where the beam is while the stage stands still.
    drift_sigma_angstrom_per_s : float
        Of the velocity of drift that has not been seen before.
    """

    stage_sigma_angstrom: float = 5.0
    scan_sigma_angstrom: float = 0.4
    drift_sigma_angstrom_per_s: float = 2.0


@dataclass(frozen=True)
class Register:
    """What is known of C columns from K sources.

    Parameters
    ----------
    grain, is_metal : ndarray of shape (C,)
    cell : ndarray of shape (C, 2)
    position_angstrom : ndarray of shape (C, 2)
        (row, column) in the stage's frame as of the last scan.
    seen_s, changed_s : ndarray of shape (C,)
        When each was last seen, and last found changed (nan: never).
    sources : tuple of Source
    contexts : tuple of Context
        One of each source.
    sums : ndarray of shape (K, C, 5), float32
        Sum of every frame's log likelihoods times its dose and half dose (`models.fusion`).
    dose_e_per_a2 : ndarray of shape (K, C)
        Of the frames that the sums hold.
    taken_e_per_a2 : ndarray of shape (C,)
        All that each column has taken, also before a change; a scan counts once, whatever reads it.
    watch : Watch
        What may have changed.
    scanned_s : float
        When the last scan was entered; nan before the first.
    velocity_angstrom_per_s : ndarray of shape (2,)
        Of the drift, as seen over the last seconds.
    stage_angstrom : tuple of float or None
        Where the stage said that it was at the last scan.
    watched_s : float
        How long the drift has been watched.
    """

    grain: NDArray[np.int64]
    is_metal: NDArray[np.bool_]
    cell: NDArray[np.int64]
    position_angstrom: NDArray[np.float64]
    seen_s: NDArray[np.float64]
    changed_s: NDArray[np.float64]
    sources: tuple[Source, ...]
    contexts: tuple[Context, ...]
    sums: NDArray[np.float32]
    dose_e_per_a2: NDArray[np.float64]
    taken_e_per_a2: NDArray[np.float64]
    watch: Watch
    scanned_s: float
    velocity_angstrom_per_s: NDArray[np.float64]
    stage_angstrom: tuple[float, float] | None = None
    watched_s: float = 0.0

    def __len__(self) -> int:
        return len(self.grain)


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
    """

    row: NDArray[np.int64]
    new: int
    changed: NDArray[np.int64]
    registrations: tuple[Registration, ...]
    doubts: tuple[str, ...]

    @property
    def is_entered(self) -> bool:
        """Whether any column was."""
        return bool((self.row >= 0).any())


@dataclass(frozen=True)
class Belief:
    """Posteriors of the register's columns.

    Parameters
    ----------
    probability : ndarray of shape (C, 5)
    entropy_nats : ndarray of shape (C,)
    shares : ndarray of shape (5,)
        Of the classes within their sublattice, as learnt from all evidence.
    """

    probability: NDArray[np.float64]
    entropy_nats: NDArray[np.float64]
    shares: NDArray[np.float64]


def empty_register() -> Register:
    """Register of a specimen that nothing is known of."""
    none = np.zeros(0)
    return Register(
        grain=none.astype(np.int64),
        is_metal=none.astype(bool),
        cell=np.zeros((0, 2), np.int64),
        position_angstrom=np.zeros((0, 2)),
        seen_s=none,
        changed_s=none,
        sources=(),
        contexts=(),
        sums=np.zeros((0, 0, 5), np.float32),
        dose_e_per_a2=np.zeros((0, 0)),
        taken_e_per_a2=none,
        watch=empty_watch(0, 0),
        scanned_s=float("nan"),
        velocity_angstrom_per_s=np.zeros(2),
    )


def join_layers(first: Scan, second: Scan) -> Scan:
    """Make one scan of two detectors' maps of one pass of the beam.

    The columns are the first's; where the second has none, it says nothing.
    """
    tree = cKDTree(first.positions_angstrom)
    pitch = float(np.median(tree.query(first.positions_angstrom, k=2)[0][:, 1]))
    distance, nearest = cKDTree(second.positions_angstrom).query(first.positions_angstrom)
    same = (distance < _SAME * pitch) & (second.is_metal[nearest] == first.is_metal)
    layers = tuple(
        Layer(
            layer.context,
            layer.dose_e_per_a2,
            np.where(same[:, None], layer.log_likelihood[nearest], _silence(first.is_metal)),
            layer.is_usable[nearest] & same,
        )
        for layer in second.layers
    )
    return replace(first, layers=first.layers + layers)


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
    counted, doubts = _count_grains(register_, scan)
    found: list[tuple[Sites, int, Registration | None]] = []
    expectation = _expect(register_, scan, steadiness)
    fused = _fused_layers(scan, law)
    shares = believe(register_, law).shares
    grains = int(register_.grain.max(initial=-1)) + 1
    is_placed = len(register_) == 0
    for sites in counted:
        placed = Placed(sites, fused[sites.member])
        best = _best_grain(register_, placed, shares, expectation, law)
        if best is not None and best[1].is_decided:
            found.append((sites, best[0], best[1]))
            # Where one grain went, the others went.
            expectation = Expectation(best[1].drift_angstrom, min(expectation.sigma_angstrom, 1.0))
            is_placed = True
        elif is_placed and _is_fresh(register_, placed, expectation, best):
            found.append((sites, grains, None))
            grains += 1
        else:
            doubts.append(best[1].doubt if best else "the lattice is turned against all that was seen before")
    return _enter_found(register_, scan, law, found, tuple(doubts))


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


def _expect(register_: Register, scan: Scan, steadiness: Steadiness) -> Expectation:
    """Where the specimen should have gone since the last scan."""
    if not len(register_):
        return Expectation(np.zeros(2), steadiness.stage_sigma_angstrom)
    elapsed = max(scan.taken_s - register_.scanned_s, 0.0)
    is_still = scan.stage_angstrom is not None and scan.stage_angstrom == register_.stage_angstrom
    still = steadiness.scan_sigma_angstrom if is_still else steadiness.stage_sigma_angstrom
    # A drift that was watched goes on much as it was.
    unseen = _MEMORY_S / (_MEMORY_S + register_.watched_s)
    spread = np.hypot(still, steadiness.drift_sigma_angstrom_per_s * max(unseen, _LEAST_UNSEEN) * elapsed)
    return Expectation(register_.velocity_angstrom_per_s * elapsed, float(spread))


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
    placed: Placed,
    shares: NDArray[np.float64],
    expectation: Expectation,
    law: FusionLaw,
) -> tuple[int, Registration] | None:
    """The register's grain that a grain is most likely to be, and how."""
    logs = fused_likelihood(register_, law)
    found = []
    for grain in np.unique(register_.grain):
        sites = _lattice_of(register_, int(grain))
        result = register(Placed(sites, logs[sites.member]), placed, shares, expectation)
        if result is not None:
            found.append((int(grain), result))
    return max(found, key=lambda pair: pair[1].margin_nats, default=None)


def _is_fresh(
    register_: Register,
    placed: Placed,
    expectation: Expectation,
    best: tuple[int, Registration] | None,
) -> bool:
    """Whether a grain, in a scan whose drift is known, stands where no column has been seen before."""
    if not len(register_):
        return True
    there = register_.position_angstrom + expectation.drift_angstrom
    spots = placed.sites.expected(placed.sites.cell.astype(np.float64))
    pitch = float(np.linalg.norm(placed.sites.basis[0]))
    near = cKDTree(there).query(spots)[0] < pitch
    turned = best is None or abs(turn_between_deg(_lattice_of(register_, best[0]), placed.sites)) > 1.0
    return bool(near.mean() < 0.1) or turned


def _enter_found(
    register_: Register,
    scan: Scan,
    law: FusionLaw,
    found: list[tuple[Sites, int, Registration | None]],
    doubts: tuple[str, ...],
) -> tuple[Register, Entry]:
    """Enter the grains whose place is known."""
    row = np.full(len(scan.grain), -1, np.int64)
    registrations = tuple(result for _, _, result in found if result is not None)
    if not found:
        return register_, Entry(row, 0, np.zeros(0, np.int64), registrations, doubts)
    before = len(register_)
    register_ = _moved(register_, scan, registrations)
    for sites, grain, result in found:
        cell = sites.cell + (0 if result is None else np.array(result.shift))
        register_, row[sites.member] = _rows_of(register_, grain, cell, sites.is_metal)
    for layer in scan.layers:
        register_ = _with_source(register_, layer)
    seen = np.flatnonzero(row >= 0)
    rows = row[seen]
    position, seen_s = register_.position_angstrom.copy(), register_.seen_s.copy()
    position[rows], seen_s[rows] = scan.positions_angstrom[seen], scan.taken_s
    taken = register_.taken_e_per_a2.copy()
    taken[rows] += max(layer.dose_e_per_a2 for layer in scan.layers)
    register_ = replace(
        register_,
        position_angstrom=position,
        seen_s=seen_s,
        taken_e_per_a2=taken,
        scanned_s=scan.taken_s,
        stage_angstrom=scan.stage_angstrom,
    )
    register_, changed = _with_evidence(register_, scan, law, seen, rows)
    return register_, Entry(row, len(register_) - before, changed, registrations, doubts)


def _moved(register_: Register, scan: Scan, registrations: tuple[Registration, ...]) -> Register:
    """Register with its columns where the specimen now is, and the velocity that took it there."""
    if not registrations:
        return register_
    drift = max(registrations, key=lambda result: result.shared).drift_angstrom
    elapsed = scan.taken_s - register_.scanned_s
    before = register_.velocity_angstrom_per_s
    velocity = before
    if elapsed > 0:  # over some seconds: two scans soon after each other say little of a velocity
        velocity = before + elapsed / (elapsed + _MEMORY_S) * (drift / elapsed - before)
    return replace(
        register_,
        position_angstrom=register_.position_angstrom + drift,
        velocity_angstrom_per_s=velocity,
        watched_s=register_.watched_s + max(elapsed, 0.0),
    )


def _rows_of(
    register_: Register, grain: int, cell: NDArray[np.int64], is_metal: NDArray[np.bool_]
) -> tuple[Register, NDArray[np.int64]]:
    """Places of sites in a register, which is lengthened by those that it lacks."""
    known = _site_numbers(register_.grain, register_.cell, register_.is_metal)
    wanted = _site_numbers(np.full(len(cell), grain), cell, is_metal)
    _, inverse = np.unique(np.concatenate([known, wanted]), return_inverse=True)
    place = np.full(int(inverse.max()) + 1, -1)
    place[inverse[: len(known)]] = np.arange(len(known))
    fresh = place[inverse[len(known) :]] < 0
    place[inverse[len(known) :][fresh]] = len(known) + np.arange(int(fresh.sum()))
    return _lengthened(register_, grain, cell[fresh], is_metal[fresh]), place[inverse[len(known) :]]


def _site_numbers(
    grain: NDArray[np.int64], cell: NDArray[np.int64], is_metal: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """One number a site, for cells less than a million from the origin."""
    row, column = cell.T + 2**20
    return np.asarray(((grain * 2**21 + row) * 2**21 + column) * 2 + is_metal)


def _lengthened(
    register_: Register, grain: int, cell: NDArray[np.int64], is_metal: NDArray[np.bool_]
) -> Register:
    """Register with further columns, of which nothing is known."""
    count, sources = len(cell), len(register_.sources)

    def more(array: NDArray[T], fill: float, axis: int = 0) -> NDArray[T]:
        shape = array.shape[:axis] + (count,) + array.shape[axis + 1 :]
        return np.concatenate([array, np.full(shape, fill, array.dtype)], axis=axis)

    return replace(
        register_,
        grain=np.concatenate([register_.grain, np.full(count, grain)]),
        is_metal=np.concatenate([register_.is_metal, is_metal]),
        cell=np.concatenate([register_.cell, cell]),
        position_angstrom=more(register_.position_angstrom, 0.0),
        seen_s=more(register_.seen_s, np.nan),
        changed_s=more(register_.changed_s, np.nan),
        sums=more(register_.sums, 0.0, axis=1),
        dose_e_per_a2=more(register_.dose_e_per_a2, 0.0, axis=1),
        taken_e_per_a2=more(register_.taken_e_per_a2, 0.0),
        watch=register_.watch.joined(empty_watch(sources, count)),
    )


def _with_source(register_: Register, layer: Layer) -> Register:
    """Register that has room for a layer's source."""
    if layer.source in register_.sources:
        return register_
    return replace(
        register_,
        sources=(*register_.sources, layer.source),
        contexts=(*register_.contexts, layer.context),
        sums=np.concatenate([register_.sums, np.zeros((1, len(register_), 5), np.float32)]),
        dose_e_per_a2=np.concatenate([register_.dose_e_per_a2, np.zeros((1, len(register_)))]),
        watch=register_.watch.with_source(),
    )


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
    changed_s = register_.changed_s.copy()
    changed_s[changed] = scan.taken_s
    return (
        replace(
            register_,
            sums=sums,
            dose_e_per_a2=dose,
            changed_s=changed_s,
            watch=watch.cleared(changed),
        ),
        changed,
    )


def fused_likelihood(register_: Register, law: FusionLaw) -> NDArray[np.float64]:
    """Log likelihoods (C, 5) of all evidence of each column by the law; -inf for the other sublattice."""
    if not register_.sources:
        return _silence(register_.is_metal)
    dose = register_.dose_e_per_a2
    weights = source_weights(said(dose, law).T, law.correlation).T  # (K, C)
    per_source = weights / (dose + law.half_dose_e_per_a2)
    logs = np.einsum("kc,kcl->cl", per_source, register_.sums.astype(np.float64))
    return np.where(register_.is_metal[:, None] == ON_METAL, logs, -np.inf)


def believe(register_: Register, law: FusionLaw) -> Belief:
    """Posteriors of all columns, under shares learnt from all of them (expectation maximisation)."""
    logs = fused_likelihood(register_, law)
    shares = START_SHARES.copy()
    for metal in (False, True):
        chosen, classes = register_.is_metal == metal, np.flatnonzero(metal == ON_METAL)
        if chosen.any():
            shares[classes] = _learn_shares(logs[chosen][:, classes], START_SHARES[classes])
    with np.errstate(divide="ignore"):
        total = logs + np.log(shares)
    total -= logsumexp(total, axis=1, keepdims=True)
    probability = np.exp(total)
    entropy = -(probability * np.where(probability > 0, total, 0.0)).sum(axis=1)
    return Belief(probability, entropy, shares)


def _learn_shares(logs: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (L,) of the classes of columns with log likelihoods (n, L)."""
    likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares = start
    for _ in range(_MOST_ROUNDS):
        joint = likelihood * shares
        count = (joint / joint.sum(axis=1, keepdims=True)).sum(axis=0) + _SHARE_COLUMNS * start
        updated = count / count.sum()
        if np.abs(updated - shares).max() < _CONVERGED:
            return np.asarray(updated)
        shares = updated
    return shares


def _fused_layers(scan: Scan, law: FusionLaw) -> NDArray[np.float64]:
    """What a scan's layers say together, as one observation, (S, 5); nothing of columns none may speak of."""
    strength = np.stack([said(layer.dose_e_per_a2, law) * layer.is_usable for layer in scan.layers], axis=1)
    weights = source_weights(strength, law.correlation)
    total = _silence(scan.is_metal)
    for layer, weight in zip(scan.layers, weights.T, strict=True):
        total = total + np.nan_to_num(layer.log_likelihood, neginf=0.0) * weight[:, None]
    return total


def _silence(is_metal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Log likelihoods that say nothing, (S, 5)."""
    return np.where(is_metal[:, None] == ON_METAL, 0.0, -np.inf)


def _silent_if_unknown(logs: NDArray[np.float64], is_metal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Log likelihoods without nan."""
    return np.where(np.isnan(logs), _silence(is_metal), logs)


def join_scans(maps: Sequence[Scan]) -> Scan:
    """One scan of all detectors' maps of one pass of the beam, in order.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not maps:
        raise ValueError("expected at least one map of a scan, found none")
    joined = maps[0]
    for further in maps[1:]:
        joined = join_layers(joined, further)
    return joined
