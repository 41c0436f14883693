"""The whole way from an array and its context to a defect map; what the daemon and the command line call."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from drivers.contract.context import Context
from drivers.contract.errors import InputError
from drivers.contract.facts import Facts, Settled, Sourced
from drivers.contract.maps import (
    DefectMap,
    DetectorEvidence,
    FrameReference,
    MapHeader,
    ModelReference,
    digest_pixels,
)
from models.checkpoint import Weights, load_shipped, load_weights
from models.classify import Geometry, classify_columns
from models.contexts import stand_in
from models.foreignness import Familiar, load_shipped_familiar
from models.frames import as_array
from models.map_flags import doubts, stand_in_flags
from models.map_records import (
    column_records,
    count_classes,
    grain_records,
    masked_fraction,
    sound_concentrations,
)
from models.mending import Mended, mend
from models.pixel_size import measure_scale, scale_flags
from models.plausibility import weigh_contexts
from models.reading import read_columns
from models.threads import Helper, threads_for

#: The weights that are taken unless others are asked for.
DEFAULT_MODEL = "mlp-simple"


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

    The same array, context and analyser give the same map to the bit on one machine, if torch has the same
    number of threads (`torch.set_num_threads`, which each thread of a program has for itself).

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
    known = None if frame is None else lambda: frame
    return analyse_of_scan(array, context, analyser, frame=known)[0]


def analyse_of_scan(
    array: ArrayLike | Mended,
    context: Context | Settled,
    analyser: Analyser,
    *,
    frame: Callable[[], FrameReference] | None = None,
    geometry: Geometry | None = None,
) -> tuple[DefectMap, Geometry]:
    """`analyse` one of the frames that several detectors took in one pass of the beam.

    Parameters
    ----------
    array, context, analyser
        As for `analyse`; what was mended before is taken as it is.
    frame : callable, optional
        Makes out which frame it is, while the frame is read; by default from the pixels that are given.
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
    pixels = array.pixels if isinstance(array, Mended) else as_array(array)
    mended = array if isinstance(array, Mended) else mend(pixels)
    with torch.inference_mode(), threads_for(pixels.size, analyser.device) as helper:
        reference = helper.start(
            frame or (lambda: FrameReference(shape=_shape(pixels), sha256=digest_pixels(pixels)))
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
    pixels, shape = mended.pixels, _shape(mended.pixels)
    lattice, shown = (None, None) if geometry is None else (geometry.lattice, geometry.decision)
    reading = read_columns(
        pixels, analyser.device, with_borders=mended.is_laid, lattice=lattice, helper=helper
    )
    result = classify_columns(
        reading,
        context,
        analyser.weights,
        analyser.familiar,
        is_doped=is_doped,
        shown=shown,
        helper=helper,
    )
    grains = reading.grains  # by now they know what they say under the declared context
    weighed = helper.start(lambda: weigh_contexts(grains, context, is_doped=is_doped))
    unread = helper.start(lambda: reading.unread)
    scale = measure_scale(reading, settled)
    columns = column_records(result, scale.pixel_size_angstrom)
    prior = result.posterior.prior
    found = sound_concentrations(columns, prior, is_doped=is_doped)
    evidence = weighed()
    evidence.check_host()
    masked = masked_fraction(reading.lattice, shape)
    x2, vac1, vac2, metal, dopant = prior.tolist()
    header = MapHeader(
        frame=reference(),
        settled=settled,
        model=analyser.reference,
        scale=scale,
        grains=grain_records(result),
        prior=(x2, vac1, vac2, metal, dopant),
        columns=len(columns),
        counts=count_classes(columns),
        concentrations=found,
        mean_entropy_nats=float(columns["entropy_nats"].mean(dtype=np.float64)),
        masked_fraction=masked,
        detector_evidence=tuple(
            DetectorEvidence(detector=name, log_evidence_nats=value)
            for name, value in evidence.log_odds.items()
        ),
        flags=scale_flags(scale, settled.context.specimen.host)
        + doubts(columns, result, evidence, unread(), shape)
        + mended.flags
        + stand_in_flags(approximated)
        + mended.cut_off.flags(masked),
    )
    return DefectMap(header, columns), result.geometry


def as_settled(context: Context) -> Settled:
    """Give a context the facts that say that all of it came from the caller."""
    specimen, detector = context.specimen, context.detector

    def text(value: str) -> Sourced[str]:
        return Sourced[str](value=value, source="caller")

    def number(value: float) -> Sourced[float]:
        return Sourced[float](value=value, source="caller")

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


def _shape(array: NDArray[np.generic]) -> tuple[int, int]:
    return (int(array.shape[0]), int(array.shape[1]))
