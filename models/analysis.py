"""The whole way from an array and its context to a defect map; what the daemon and the command line call."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from drivers.contract.context import ColumnClass, Context
from drivers.contract.errors import InputError
from drivers.contract.facts import Facts, Settled, Sourced
from drivers.contract.maps import (
    COLUMN_DTYPE,
    ClassCounts,
    ColumnFlag,
    DefectMap,
    DetectorEvidence,
    FrameReference,
    Grain,
    MapFlag,
    MapHeader,
    ModelReference,
    Scale,
    Sublattice,
    digest_pixels,
)
from drivers.contract.materials import HOSTS, find_host
from models.checkpoint import Weights, load_shipped, load_weights
from models.classify import Classification, Geometry, classify_columns
from models.concentrations import concentrations
from models.contexts import stand_in
from models.foreignness import Familiar, load_shipped_familiar
from models.mending import Mended, mend
from models.plausibility import ContextEvidence, weigh_contexts
from models.reading import read_columns
from models.threads import Helper, threads_for

#: The weights that are taken unless others are asked for.
DEFAULT_MODEL = "mlp-simple"

#: A pixel size that is declared and differs by more than this from the lattice's is reported.
SCALE_TOLERANCE = 0.02

#: A lattice constant that differs by less than this from a host's is told as that host's.
_SAME_LATTICE = 0.01

#: Foreignness above which a column is like nothing in training (`models.foreignness`).
FOREIGN = 2.0

#: Part of foreign columns above which the whole map is doubtful.
_MANY_FOREIGN = 0.1

#: Defects less or more deep than this, over what is expected, are not those that were said.  Of 157 simulated
#: frames read under their own context two lie outside (Cu in WTe2, at 1.16 and 1.23).
_SHALLOW, _DEEP = 0.85, 1.12

#: So many columns, and so large a part of those that are not whole, may not lie beyond every class.  On 130
#: frames read under their own context 4 at most did, but where metal was missing or a boundary near.
_LEAST_BEYOND, _PART_BEYOND = 5, 0.05

#: Declared over measured pixel size, either way, beyond which this is not the host's lattice.  The hosts'
#: lattice constants differ by 17 % at most, and calibrations are wrong by some 4 %.
_OTHER_LATTICE = 1.2

#: A lattice that is a hexagonal one stretched by more than this in one direction is another lattice; a square
#: one is stretched by 1.73, the labelled scans by 1.01 to 1.03.
_LARGEST_STRETCH = 1.5

#: Part of the pixels at the highest value: above the first the tops of columns are cut off in places, above
#: the second (a column's top is a fifth of its area) so many that intensities mean nothing.
_SATURATED_SOME, _SATURATED_MOST = 0.005, 0.1

#: Part of the pixels at the lowest value, beyond those of vacuum, above which the frame was clipped there.
_CLIPPED_SOME = 0.05

#: With fewer values than this (counts of a few electrons) many pixels share the highest by nature.
_FEW_VALUES = 16

#: With fewer than this many have the lowest by nature: none of a few electrons.
_MANY_VALUES = 64


@dataclass(frozen=True)
class Analyser:
    """What every frame is analysed with, loaded once.

    Parameters
    ----------
    weights : Weights
    familiar : Familiar
    reference : ModelReference
    device : str
        Where frames are read, "cpu" or a torch device such as "cuda".
    """

    weights: Weights
    familiar: Familiar
    reference: ModelReference
    device: str = "cpu"


def load_analyser(
    model: str = DEFAULT_MODEL, *, weights: Path | None = None, device: str = "cpu"
) -> Analyser:
    """Load weights, once for any number of frames.

    Parameters
    ----------
    model : str
        Name of shipped weights.
    weights : Path, optional
        Weights of your own (.safetensors beside their card), instead.
    device : str
        "cpu", "cuda", "cuda:1", ...

    Raises
    ------
    InputError
        If there are no such weights, they are damaged, or the device is not there.
    """
    loaded = load_shipped(model) if weights is None else load_weights(weights)
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used ({error}); use cpu") from error
    card: dict[str, Any] = json.loads((files("models") / "weights" / "foreignness.json").read_text())
    reference = ModelReference(
        name=str(loaded.card["network"]),
        weights_sha256=str(loaded.card["sha256"]),
        foreignness_sha256=str(card["sha256"]),
        code_version=version("columnist"),
    )
    return Analyser(loaded, load_shipped_familiar(), reference, device)


def analyse(
    array: ArrayLike,
    context: Context | Settled,
    analyser: Analyser,
    *,
    frame: FrameReference | None = None,
) -> DefectMap:
    """Find and classify every column of a frame, after spikes and lost scan lines are mended.

    The same array, context and analyser give the same map to the bit on one machine.

    Parameters
    ----------
    array : array_like of shape (M, N)
        Intensities of one frame, any gain and offset.  Not modified.
    context : Context or Settled
        What is imaged and how; as settled, with the source of every value.
    analyser : Analyser
        From `load_analyser`.
    frame : FrameReference, optional
        Which frame it is.

    Raises
    ------
    InputError
        If the context is unknown, the array is no frame, or it shows no lattice.
    """
    return analyse_of_scan(array, context, analyser, frame=frame)[0]


def analyse_of_scan(
    array: ArrayLike | Mended,
    context: Context | Settled,
    analyser: Analyser,
    *,
    frame: FrameReference | None = None,
    geometry: Geometry | None = None,
) -> tuple[DefectMap, Geometry]:
    """`analyse` one of the frames that several detectors took in one pass of the beam.

    Parameters
    ----------
    array, context, analyser, frame
        As for `analyse`; what was mended before is taken as it is.
    geometry : Geometry, optional
        From another detector's frame: columns stand where it showed them.

    Returns
    -------
    made : DefectMap
    geometry : Geometry
        For the scan's other frames.

    Raises
    ------
    InputError
        As for `analyse`.
    """
    mended = array if isinstance(array, Mended) else mend(np.asarray(array))
    pixels = mended.pixels if isinstance(array, Mended) else np.asarray(array)
    with threads_for(pixels.size, analyser.device) as helper:
        reference = helper.start(
            lambda: frame or FrameReference(shape=_shape(pixels), sha256=digest_pixels(pixels))
        )
        return _analyse(mended, context, analyser, reference, geometry, helper)


def _analyse(
    mended: Mended,
    context: Context | Settled,
    analyser: Analyser,
    reference: Callable[[], FrameReference],
    geometry: Geometry | None,
    helper: Helper,
) -> tuple[DefectMap, Geometry]:
    """`analyse_of_scan`, with the threads that this frame is worth."""
    settled = context if isinstance(context, Settled) else as_settled(context)
    context, approximated = stand_in(settled.context)
    is_doped = settled.context.specimen.dopant is not None
    pixels = mended.pixels
    is_image = pixels.ndim == 2 and pixels.size > 0 and pixels.dtype.kind in "uif"
    # Of what is none `models.frames` says what is wrong.
    saturated, clipped = (_saturated(pixels), _clipped(pixels)) if is_image else (0.0, 0.0)
    lattice, shown = (None, None) if geometry is None else (geometry.lattice, geometry.decision)
    reading = read_columns(pixels, analyser.device, lattice=lattice, helper=helper)
    result = classify_columns(
        reading,
        context,
        analyser.weights,
        analyser.familiar,
        is_doped=is_doped,
        shown=shown,
        helper=helper,
    )
    weighed = helper.start(lambda: weigh_contexts(reading.grains, context, is_doped=is_doped))
    scale = _scale(result, settled)
    columns = _columns(result, scale.pixel_size_angstrom)
    found = _concentrations(columns, result, is_doped)
    evidence = weighed()
    evidence.check_host()
    masked = _masked_fraction(result, _shape(pixels))
    is_clipped = clipped > masked + _CLIPPED_SOME  # in vacuum many pixels hold nothing by nature
    header = MapHeader(
        frame=reference(),
        settled=settled,
        model=analyser.reference,
        scale=scale,
        grains=_grains(result),
        prior=_five(result.posterior.prior.tolist()),
        columns=len(columns),
        counts=_counts(columns),
        concentrations=found,
        mean_entropy_nats=float(columns["entropy_nats"].mean(dtype=np.float64)),
        masked_fraction=masked,
        detector_evidence=tuple(
            DetectorEvidence(detector=name, log_evidence_nats=value)
            for name, value in evidence.log_odds.items()
        ),
        flags=_scale_flags(scale, settled.context.specimen.host)
        + _flags(columns, result, evidence)
        + mended.flags
        + _notes(approximated, saturated, clipped if is_clipped else 0.0),
    )
    return DefectMap(header, columns), result.geometry


def as_settled(context: Context, origin: str = "caller") -> Settled:
    """Give a context the facts that say that all of it came from one place."""
    specimen, detector = context.specimen, context.detector

    def text(value: str) -> Sourced[str]:
        return Sourced[str](value=value, source=origin)

    def number(value: float) -> Sourced[float]:
        return Sourced[float](value=value, source=origin)

    facts = Facts(
        host=text(specimen.host),
        dopant=text(specimen.dopant or "none"),
        energy_kev=number(context.energy_kev),
        detector=text(detector.name),
        inner_mrad=number(detector.inner_mrad),
        outer_mrad=number(detector.outer_mrad),
        convergence_mrad=number(context.convergence_mrad),
    )
    return Settled(context=context, facts=facts)


def _columns(result: Classification, pixel_size_angstrom: float) -> NDArray[np.void]:
    """One record a column."""
    lattice = result.reading.lattice
    chosen = result.chosen
    columns = np.zeros(len(result.positions), dtype=COLUMN_DTYPE)
    positions = result.positions.numpy()
    columns["row_px"], columns["col_px"] = positions.T
    columns["y_angstrom"], columns["x_angstrom"] = positions.T * pixel_size_angstrom
    is_metal = result.decision.is_metal(lattice)[chosen].numpy()
    columns["sublattice"] = np.where(is_metal, Sublattice.METAL, Sublattice.CHALCOGEN)
    columns["cls"] = result.posterior.label.numpy()
    columns["p"] = result.posterior.probability.numpy()
    columns["entropy_nats"] = result.posterior.entropy_nats.numpy()
    columns["foreign"] = result.foreignness.numpy()
    columns["grain"] = lattice.grain[chosen].numpy()
    flags = {
        ColumnFlag.UNDECIDED: ~result.is_decided.numpy(),
        ColumnFlag.BOUNDARY: lattice.boundary[chosen].numpy(),
        ColumnFlag.FOREIGN: columns["foreign"] > FOREIGN,
        ColumnFlag.RIM: lattice.rim[chosen].numpy(),
        ColumnFlag.EDGE: ~result.is_whole.numpy(),
        ColumnFlag.PREDICTED: ~lattice.measured[chosen].numpy(),
    }
    for flag, applies in flags.items():
        columns["flags"] |= np.where(applies, np.uint8(flag), np.uint8(0))
    return columns


def _counts(columns: NDArray[np.void]) -> ClassCounts:
    x2, vac1, vac2, metal, dopant = np.bincount(columns["cls"], minlength=len(ColumnClass)).tolist()
    return ClassCounts(x2=x2, vac1=vac1, vac2=vac2, metal=metal, dopant=dopant)


def _concentrations(columns: NDArray[np.void], result: Classification, is_doped: bool) -> Any:
    """Concentrations over the columns that can be trusted."""
    doubtful = ColumnFlag.BOUNDARY | ColumnFlag.FOREIGN | ColumnFlag.EDGE | ColumnFlag.RIM
    sound = columns[(columns["flags"] & int(doubtful)) == 0]
    return concentrations(
        sound["p"].astype(np.float64),
        result.posterior.prior.double().numpy(),
        sound["sublattice"] == Sublattice.METAL,
        is_doped=is_doped,
    )


def _scale(result: Classification, settled: Settled) -> Scale:
    """Pixel size from the lattice, beside the declared one."""
    lattice = result.reading.lattice
    host = find_host(settled.context.specimen.host)
    declared = settled.facts.pixel_size_angstrom
    size = host.lattice_constant_angstrom / lattice.lattice_px
    if declared is not None and not 1 / _OTHER_LATTICE < declared.value / size < _OTHER_LATTICE:
        seen = declared.value * lattice.lattice_px
        raise InputError(
            f"{host.name} cannot be this lattice: its lattice constant is {host.lattice_constant_angstrom:g} "
            f"Å, the image's is {seen:.3g} Å by the pixel size {declared.value:.4g} Å ({declared.source}); "
            f"name another host ({', '.join(HOSTS)}), or override a wrong calibration with "
            "--pixel-size-angstrom"
        )
    least, most = torch.linalg.eigvalsh(result.reading.disc.double()).tolist()
    if most > _LARGEST_STRETCH * least:
        raise InputError(
            f"expected the hexagonal lattice of {host.name}, found one stretched {most / least:.2f}-fold in "
            "one direction (a square lattice is, 1.73-fold); check what is imaged, and that rows and "
            "columns of the scan are as far apart and at right angles"
        )
    return Scale(
        lattice_px=lattice.lattice_px,
        pixel_size_angstrom=size,
        declared_pixel_size_angstrom=declared.value if declared else None,
        shear=max(1.0, most / least),
    )


def _grains(result: Classification) -> tuple[Grain, ...]:
    """Summary of every grain."""
    lattice, decision = result.reading.lattice, result.decision
    sizes = torch.bincount(lattice.grain, minlength=len(lattice.vectors)).tolist()
    found = []
    for number, size in enumerate(sizes):
        metal = int(decision.metal[number])
        sign = 1.0 if metal == 1 else -1.0
        ratio = float(decision.ratio[number])
        (a, b), (c, d) = lattice.vectors[number].tolist()
        found.append(
            Grain(
                columns=size,
                vectors_px=((a, b), (c, d)),
                is_decided=bool(decision.is_decided[number]),
                margin_nats=float(decision.margin_nats[number]),
                brightness_nats=sign * float(decision.brightness_nats[number]),
                defect_nats=sign * float(decision.defect_nats[number]),
                metal_over_x2=None if math.isnan(ratio) or ratio <= 0 else ratio**sign,
            )
        )
    return tuple(found)


def _masked_fraction(result: Classification, shape: tuple[int, int]) -> float:
    """Part of the frame that no site stands for: a site stands for half a cell."""
    lattice = result.reading.lattice
    area = float(torch.linalg.det(lattice.vectors[0].double()).abs()) / 2
    return min(1.0, max(0.0, 1 - len(lattice.positions) * area / math.prod(shape)))


def _scale_flags(scale: Scale, host: str) -> tuple[MapFlag, ...]:
    """Say it if the declared pixel size is not the lattice's, and which hosts' it would be."""
    declared = scale.declared_pixel_size_angstrom
    if declared is None or abs(declared / scale.pixel_size_angstrom - 1) <= SCALE_TOLERANCE:
        return ()
    seen = declared * scale.lattice_px
    fitting = [
        name
        for name, other in HOSTS.items()
        if name != host and abs(other.lattice_constant_angstrom / seen - 1) <= _SAME_LATTICE
    ]
    who = f"that of {' or '.join(fitting)}" if fitting else "that of no host that is known"
    return (
        MapFlag(
            kind="scale_mismatch",
            message=f"the declared pixel size {declared:.4g} Å differs by "
            f"{100 * (declared / scale.pixel_size_angstrom - 1):+.1f} % from the lattice's "
            f"{scale.pixel_size_angstrom:.4g} Å, which is believed because the host is said to be {host}; "
            f"by the declared one the lattice constant is {seen:.3g} Å, {who}: check the host too",
        ),
    )


def _flags(
    columns: NDArray[np.void], result: Classification, evidence: ContextEvidence
) -> tuple[MapFlag, ...]:
    """What the reader of the map should know."""
    flags = []
    if evidence.contradiction is not None:
        flags.append(MapFlag(kind="context_contradicted", message=evidence.contradiction))
    if evidence.host_doubt is not None:
        flags.append(MapFlag(kind="host_doubtful", message=evidence.host_doubt))
    undecided = [k for k, decided in enumerate(result.decision.is_decided.tolist()) if not decided]
    if undecided:
        flags.append(
            MapFlag(
                kind="undecided",
                message="which sublattice is the metal is not decided in grain "
                f"{', '.join(map(str, undecided))}; its probabilities weigh both",
            )
        )
    denoised = result.reading.patch_filter
    if denoised is not None:
        flags.append(
            MapFlag(
                kind="denoised",
                message=f"the frame was denoised by {len(denoised.components)} components of patches of "
                f"{denoised.edge} px, which draws rare columns towards common ones; intensities are measured "
                "with that undone as far as can be told, so give the frame as recorded if there is one",
            )
        )
    elif not _SHALLOW < result.depth < _DEEP:
        flags.append(MapFlag(kind="defects_unlike", message=_depth_text(result.depth)))
    sound = (columns["flags"] & int(ColumnFlag.BOUNDARY | ColumnFlag.EDGE | ColumnFlag.RIM)) == 0
    beyond = sound & (result.beyond.numpy() > FOREIGN)
    defects = sound & (beyond | ~np.isin(columns["cls"], (ColumnClass.X2, ColumnClass.METAL)))
    if beyond.sum() >= max(_LEAST_BEYOND, _PART_BEYOND * defects.sum()):
        flags.append(
            MapFlag(
                kind="many_foreign",
                message=f"{beyond.sum()} of {defects.sum()} columns that are not whole lie beyond every "
                "class: metal that is missing, atoms too many, or another dopant, host or detector than "
                "was said",
            )
        )
    foreign = float((columns["foreign"] > FOREIGN).mean())
    if foreign > _MANY_FOREIGN:
        flags.append(
            MapFlag(
                kind="many_foreign",
                message=f"{100 * foreign:.0f} % of the columns are unlike any of training; "
                "check host, energy and detector, focus and contamination",
            )
        )
    return tuple(flags)


def _depth_text(depth: float) -> str:
    """What to tell of a frame whose defects are less or more deep than they should be."""
    reasons = (
        "another dopant, host or detector than was said, or grains whose sublattices were exchanged"
        if depth < 1
        else "blur, defocus or astigmatism beyond the usual, or another dopant, host or detector than said"
    )
    return (
        f"columns that are not whole lie {depth:.2f} times as far from whole ones as their classes should: "
        f"{reasons}; do not trust the numbers of defects until that is clear"
    )


def _saturated(pixels: NDArray[np.generic]) -> float:
    """Part of the pixels that have the highest value.

    Raises
    ------
    InputError
        If these are too many.
    """
    part = float((pixels == pixels.max()).mean())
    values = len(np.unique(pixels[::4, ::4])) if part > _SATURATED_SOME else _FEW_VALUES
    if part > _SATURATED_MOST:
        raise InputError(
            f"expected intensities, found {100 * part:.0f} % of the pixels at the highest value, "
            f"{pixels.max():g}: the detector is saturated or the image clipped; lower the gain or the "
            "contrast, and save the raw intensities"
        )
    return part if values >= _FEW_VALUES else 0.0


def _clipped(pixels: NDArray[np.generic]) -> float:
    """Part of the pixels that have the lowest value, if it is not by nature that many have."""
    part = float((pixels == pixels.min()).mean())
    if part <= _CLIPPED_SOME:
        return 0.0
    return part if len(np.unique(pixels[::4, ::4])) >= _MANY_VALUES else 0.0


def _notes(approximated: tuple[str, ...], saturated: float, clipped: float) -> tuple[MapFlag, ...]:
    """Flags on the context that stands in, on saturation, and on what is cut off at the dark end."""
    flags = []
    if approximated:
        flags.append(MapFlag(kind="context_approximated", message=f"read {', '.join(approximated)}"))
    if saturated > _SATURATED_SOME:
        flags.append(
            MapFlag(
                kind="saturated",
                message=f"{100 * saturated:.1f} % of the pixels have the highest value: the brightest "
                "columns may be cut off",
            )
        )
    if clipped:
        flags.append(
            MapFlag(
                kind="clipped",
                message=f"{100 * clipped:.0f} % of the pixels have the lowest value: the dark end was cut "
                "off, and faint columns with it; save the raw intensities",
            )
        )
    return tuple(flags)


def _shape(array: NDArray[np.generic]) -> tuple[int, int]:
    return (int(array.shape[0]), int(array.shape[1]))


def _five(values: list[float]) -> tuple[float, float, float, float, float]:
    first, second, third, fourth, fifth = (min(1.0, max(0.0, value)) for value in values)
    return first, second, third, fourth, fifth
