"""What the reader of a map should know of the whole: what does not fit, or is in doubt."""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from drivers.contract.context import ColumnClass
from drivers.contract.maps import ColumnFlag, FlagKind, MapFlag
from models.classify import Classification
from models.jumps import Jumps
from models.plausibility import ContextEvidence
from models.reading import Reading

#: Foreignness above which a column is like nothing in training (`models.foreignness`).
FOREIGN = 2.0

#: So many spots on no lattice are told; where all is read there are 5 at most, in 140 simulated frames.
_LEAST_UNREAD = 7

#: Part of foreign columns above which the whole map is doubtful.
_MANY_FOREIGN = 0.1

#: Defects less or more deep than this, over what is expected, are not those that were said.  Of 157 simulated
#: frames read under their own context two lie outside (Cu in WTe2, at 1.16 and 1.23).
_SHALLOW, _DEEP = 0.85, 1.12

#: So many columns, and so large a part of those that are not whole, may not lie beyond every class.  On 130
#: frames read under their own context 4 at most did, but where metal was missing or a boundary near.
_LEAST_BEYOND, _PART_BEYOND = 5, 0.05

#: So many metal columns between metal and dopant, and this part of the dopants' number, are no accident.
_LEAST_BETWEEN, _PART_BETWEEN = 4, 0.2


def doubts(
    columns: NDArray[np.void],
    result: Classification,
    evidence: ContextEvidence,
    unread: Tensor,
    shape: tuple[int, int],
) -> tuple[MapFlag, ...]:
    """What the reader of the map should know; `unread` are places of spots on no lattice, (K, 2) [px]."""
    reading = result.reading
    told: list[tuple[FlagKind, str | None]] = [
        ("context_contradicted", evidence.contradiction),
        ("detector_decides", evidence.hinge),
        ("host_doubtful", evidence.host_doubt),
        ("undecided", _undecided(result)),
        ("unread", _unread(unread)),
        ("layered", _layered(reading.jumps)),
        ("uneven", _uneven("row", *reading.jumps.rows)),
        ("uneven", _uneven("column", *reading.jumps.columns)),
        ("padded", _padded(reading, shape)),
        _filtered(reading) or ("defects_unlike", _too_shallow_or_deep(result.depth)),
        ("defects_unlike", _between(columns, result)),
        ("many_foreign", _beyond(columns, result)),
        ("many_foreign", _foreign(columns)),
    ]
    return tuple(MapFlag(kind=kind, message=message) for kind, message in told if message)


def _undecided(result: Classification) -> str | None:
    """What to tell of grains of which it is not decided which sublattice is the metal."""
    undecided = [k for k, decided in enumerate(result.decision.is_decided.tolist()) if not decided]
    if not undecided:
        return None
    return (
        f"which sublattice is the metal is not decided in grain {', '.join(map(str, undecided))}; its "
        "probabilities weigh both"
    )


def _unread(places: Tensor) -> str | None:
    """What to tell of spots on no lattice, at places (K, 2) [px]."""
    if len(places) < _LEAST_UNREAD:
        return None
    (top, left), (bottom, right) = places.amin(0).round().tolist(), places.amax(0).round().tolist()
    return (
        f"{len(places)} spots as bright as columns lie on no lattice that was found, in rows "
        f"{top:.0f} to {bottom:.0f} and columns {left:.0f} to {right:.0f}: a grain or an island was "
        "left out, or something lies on the specimen; look at the picture there, and take a field "
        "that the grain fills"
    )


def _layered(jumps: Jumps) -> str | None:
    """What to tell of grains too bright to be of one layer."""
    if not jumps.layers:
        return None
    pairs = ", ".join(f"{bright} beside {dim}" for dim, bright, _ in jumps.layers)
    most = max(step for _, _, step in jumps.layers)
    return (
        f"grains ({pairs}) differ in mean brightness by up to {most:.1f} times what common columns stand "
        "out by, which grains of one layer do not: the brighter one has a second layer, or lies under "
        "contamination, and what is said of its columns is wrong; take a field of the monolayer"
    )


def _uneven(what: str, place: float, change: float) -> str | None:
    """What to tell of a line of pixels, a row or a column, from which on the contrast is another."""
    if not change:
        return None
    return (
        f"from about pixel {what} {place:.0f} on columns stand out {math.exp(change):.2f} times as "
        "far as before, all along the line: gain, dwell time or current changed, or fewer of summed "
        "frames reach there; defects beside it may be none, so scan again, divide by the number of "
        "frames, or crop"
    )


def _padded(reading: Reading, shape: tuple[int, int]) -> str:
    """What to tell of what was not recorded in a frame of such a shape; nothing if there is nothing."""
    rows, columns = reading.part
    left_out = [
        f"{number} {what}"
        for number, what in (
            (rows.start, "rows above"),
            (shape[0] - rows.stop, "rows below"),
            (columns.start, "columns of pixels on the left"),
            (shape[1] - columns.stop, "columns of pixels on the right"),
        )
        if number
    ]
    told = []
    if left_out:
        told.append(
            f"{', '.join(left_out)} were left out, which hold one value, repeat the next one, or are far "
            "brighter or darker than the rest"
        )
    if reading.blank:
        told.append(
            f"{100 * reading.blank:.1f} % of the pixels lie in areas of one value, so no column is sought "
            "there, and columns beside are marked as cut by an edge"
        )
    return "; ".join(told) + ": give the frame as recorded, without padding" if told else ""


def _filtered(reading: Reading) -> tuple[FlagKind, str] | None:
    """What to tell of a frame that other software has filtered."""
    if reading.patch_filter is not None:
        return "denoised", (
            f"the frame was denoised by {len(reading.patch_filter.components)} components of patches of "
            f"{reading.patch_filter.edge} px, which draws rare columns towards common ones; intensities are "
            "measured with that undone as far as can be told, so give the frame as recorded if there is one"
        )
    if reading.masked:
        return "filtered", (
            "frequencies between the lattice's spots are missing, as a mask on spots, background "
            "subtraction, a Wiener filter or a change of the values of a denoised image leaves it: columns "
            "look like the mean of those around, and vacancies and dopants go unseen, however sure the map "
            "is; give the frame as recorded"
        )
    return None


def _too_shallow_or_deep(depth: float) -> str | None:
    """What to tell of a frame whose defects are less or more deep than they should be."""
    if _SHALLOW < depth < _DEEP:
        return None
    reasons = (
        "another dopant, host or detector than was said, or grains whose sublattices were exchanged"
        if depth < 1
        else "blur, defocus or astigmatism beyond the usual, or another dopant, host or detector than said"
    )
    return (
        f"columns that are not whole lie {depth:.2f} times as far from whole ones as their classes should: "
        f"{reasons}; do not trust the numbers of defects until that is clear"
    )


def _between(columns: NDArray[np.void], result: Classification) -> str | None:
    """What to tell of metal columns that are neither metal nor dopant."""
    between, dopants = int(result.between.sum()), int((columns["cls"] == ColumnClass.DOPANT).sum())
    if between < max(_LEAST_BETWEEN, _PART_BETWEEN * dopants):
        return None
    return (
        f"{between} metal columns stand between metal and dopant, far from both: another "
        "dopant than was said, or a signal that is not linear, as of an export with gamma or of a "
        "detector near saturation; do not trust the number of dopants"
    )


def _beyond(columns: NDArray[np.void], result: Classification) -> str | None:
    """What to tell of columns beyond every class."""
    sound = (columns["flags"] & int(ColumnFlag.BOUNDARY | ColumnFlag.EDGE | ColumnFlag.RIM)) == 0
    beyond = sound & (result.beyond.numpy() > FOREIGN)
    defects = sound & (beyond | ~np.isin(columns["cls"], (ColumnClass.X2, ColumnClass.METAL)))
    if beyond.sum() < max(_LEAST_BEYOND, _PART_BEYOND * defects.sum()):
        return None
    return (
        f"{beyond.sum()} of {defects.sum()} columns that are not whole lie beyond every "
        "class: metal that is missing, atoms too many, or another dopant, host or detector than "
        "was said"
    )


def _foreign(columns: NDArray[np.void]) -> str | None:
    """What to tell of a map many of whose columns are like none of training."""
    foreign = float((columns["foreign"] > FOREIGN).mean())
    if foreign <= _MANY_FOREIGN:
        return None
    return (
        f"{100 * foreign:.0f} % of the columns are unlike any of training; "
        "check host, energy and detector, focus and contamination"
    )


def stand_in_flags(approximated: tuple[str, ...]) -> tuple[MapFlag, ...]:
    """Say it if another context stands in; `approximated` is from `models.contexts.stand_in`."""
    if not approximated:
        return ()
    return (MapFlag(kind="context_approximated", message=f"read {', '.join(approximated)}"),)
