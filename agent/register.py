"""The register: every column that was seen, by grain, cell and sublattice, with all that was said of it."""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.changes import Watch, empty_watch
from agent.drift import Drift
from agent.scans import Layer, Source
from drivers.contract.context import Context

T = TypeVar("T", np.float32, np.float64)


@dataclass(frozen=True)
class Register:
    """What is known of C columns from K sources.

    Parameters
    ----------
    grain, is_metal : ndarray of shape (C,)
    cell : ndarray of shape (C, 2)
    position_angstrom : ndarray of shape (C, 2)
        (row, column) in the stage's frame as of the middle of the last scan.
    lever_s : ndarray of shape (C,)
        How long before the middle of its scan the beam went over each (`agent.drift`); averaged as places.
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
    offered_e_per_a2 : ndarray of shape (K, C)
        Of the scans that went over each column, whether or not their source spoke of it.
    watch : Watch
        What may have changed.
    middle_s : float
        When the beam was half-way through the last scan that was entered; nan before the first.
    drift : Drift
        Where the specimen goes.
    stage_angstrom : tuple of float or None
        Where the stage said that it was at the last scan.
    """

    grain: NDArray[np.int64]
    is_metal: NDArray[np.bool_]
    cell: NDArray[np.int64]
    position_angstrom: NDArray[np.float64]
    lever_s: NDArray[np.float64]
    seen_s: NDArray[np.float64]
    changed_s: NDArray[np.float64]
    sources: tuple[Source, ...]
    contexts: tuple[Context, ...]
    sums: NDArray[np.float32]
    dose_e_per_a2: NDArray[np.float64]
    taken_e_per_a2: NDArray[np.float64]
    offered_e_per_a2: NDArray[np.float64]
    watch: Watch
    middle_s: float
    drift: Drift
    stage_angstrom: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.grain)

    @property
    def is_seen(self) -> NDArray[np.bool_]:
        """Columns that a scan has shown, (C,); the others are expected by their neighbours alone."""
        return np.isfinite(self.seen_s)


def empty_register() -> Register:
    """Register of a specimen that nothing is known of."""
    none = np.zeros(0)
    return Register(
        grain=none.astype(np.int64),
        is_metal=none.astype(bool),
        cell=np.zeros((0, 2), np.int64),
        position_angstrom=np.zeros((0, 2)),
        lever_s=none,
        seen_s=none,
        changed_s=none,
        sources=(),
        contexts=(),
        sums=np.zeros((0, 0, 5), np.float32),
        dose_e_per_a2=np.zeros((0, 0)),
        taken_e_per_a2=none,
        offered_e_per_a2=np.zeros((0, 0)),
        watch=empty_watch(0, 0),
        middle_s=float("nan"),
        drift=Drift(np.zeros(2), np.zeros((2, 2))),
    )


def rows_of(
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


def adopted(
    register_: Register,
    grain: int,
    cell: NDArray[np.int64],
    is_metal: NDArray[np.bool_],
    place: NDArray[np.int64],
) -> Register:
    """Register in which columns of other grains go by the sites of one that has turned out to hold them.

    A faint frame breaks a grain into several; the next shows that it is one.  Columns that were taken for the
    other sublattice are known no more.

    Parameters
    ----------
    register_ : Register
    grain : int
    cell, is_metal : ndarray of shape (n, 2), (n,)
        Sites of the grain.
    place : ndarray of shape (n,)
        The register's column that stands where each site does; -1 for none.
    """
    known = _site_numbers(register_.grain, register_.cell, register_.is_metal)
    wanted = _site_numbers(np.full(len(cell), grain), cell, is_metal)
    theirs = (place >= 0) & ~np.isin(wanted, known)
    theirs[theirs] = register_.grain[place[theirs]] != grain
    if not theirs.any():
        return register_
    moved = place[theirs]
    grains, cells, metals = register_.grain.copy(), register_.cell.copy(), register_.is_metal.copy()
    grains[moved], cells[moved], metals[moved] = grain, cell[theirs], is_metal[theirs]
    wrong = np.flatnonzero(metals != register_.is_metal)
    sums, dose = register_.sums.copy(), register_.dose_e_per_a2.copy()
    sums[:, wrong], dose[:, wrong] = 0.0, 0.0
    return replace(
        register_,
        grain=grains,
        cell=cells,
        is_metal=metals,
        sums=sums,
        dose_e_per_a2=dose,
        watch=register_.watch.cleared(wrong),
    )


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
        lever_s=more(register_.lever_s, 0.0),
        seen_s=more(register_.seen_s, np.nan),
        changed_s=more(register_.changed_s, np.nan),
        sums=more(register_.sums, 0.0, axis=1),
        dose_e_per_a2=more(register_.dose_e_per_a2, 0.0, axis=1),
        taken_e_per_a2=more(register_.taken_e_per_a2, 0.0),
        offered_e_per_a2=more(register_.offered_e_per_a2, 0.0, axis=1),
        watch=register_.watch.joined(empty_watch(sources, count)),
    )


def with_source(register_: Register, layer: Layer) -> Register:
    """Register that has room for a layer's source."""
    if layer.source in register_.sources:
        return register_
    return replace(
        register_,
        sources=(*register_.sources, layer.source),
        contexts=(*register_.contexts, layer.context),
        sums=np.concatenate([register_.sums, np.zeros((1, len(register_), 5), np.float32)]),
        dose_e_per_a2=np.concatenate([register_.dose_e_per_a2, np.zeros((1, len(register_)))]),
        offered_e_per_a2=np.concatenate([register_.offered_e_per_a2, np.zeros((1, len(register_)))]),
        watch=register_.watch.with_source(),
    )
