"""The 576 reference contexts: 96 doped pairs, three beam energies, two detectors, in one fixed order."""

from functools import cache

import torch
from torch import Tensor

from drivers.contract.context import DETECTORS, ENERGIES_KEV, Context, Specimen
from drivers.contract.errors import InputError
from drivers.contract.materials import dopants_of, doped_pairs
from models.encoding import encode_context
from models.nearest import nearest_detector, nearest_energy_kev


@cache
def reference_contexts() -> tuple[Context, ...]:
    """Every context that the shipped models know; a context's place here is its number."""
    return tuple(
        Context(specimen=Specimen(host=host, dopant=dopant), energy_kev=float(energy_kev), detector=detector)
        for host, dopant in doped_pairs()
        for energy_kev in ENERGIES_KEV
        for detector in DETECTORS.values()
    )


@cache
def _numbers() -> dict[Context, int]:
    """Number of every reference context."""
    return {context: number for number, context in enumerate(reference_contexts())}


def context_number(context: Context) -> int:
    """Place of a context in `reference_contexts`.

    Raises
    ------
    InputError
        If it is none of them: the message says which part differs.  Nothing falls back to another context.
    """
    number = _numbers().get(context)
    if number is None:
        encode_context(context)  # names a missing dopant, an unknown energy or detector
        known = "; ".join(f"{d.name} {d.inner_mrad:g}-{d.outer_mrad:g} mrad" for d in DETECTORS.values())
        detector = context.detector
        raise InputError(
            f"no model was trained for {detector.name} {detector.inner_mrad:g}-{detector.outer_mrad:g} mrad "
            f"at {context.convergence_mrad:g} mrad convergence; trained were {known} at "
            f"{reference_contexts()[0].convergence_mrad:g} mrad: name the nearest of these, or train your own"
        )
    return number


#: How far a convergence may lie from that of the reference contexts, which stands in for it [mrad].
_CONVERGENCE_MRAD = 3.0


def stand_in(context: Context) -> tuple[Context, tuple[str, ...]]:
    """Find the reference context that a context may be read under, and say what differs.

    A specimen without dopant is read under the host's first dopant; the caller then has to leave the class of
    dopants out.

    Raises
    ------
    InputError
        If none lies near enough.
    """
    specimen, said = context.specimen, []
    if specimen.dopant is None:
        specimen = Specimen(host=specimen.host, dopant=dopants_of(specimen.host)[0])
    energy = nearest_energy_kev(context.energy_kev)
    if energy != context.energy_kev:
        said.append(f"{context.energy_kev:g} keV as {energy:g} keV")
    convergence = reference_contexts()[0].convergence_mrad
    if abs(context.convergence_mrad - convergence) > _CONVERGENCE_MRAD:
        convergence = context.convergence_mrad
    elif convergence != context.convergence_mrad:
        said.append(f"{context.convergence_mrad:g} mrad convergence as {convergence:g} mrad")
    own = context.detector
    detector = nearest_detector(own) or own
    if (own.inner_mrad, own.outer_mrad) != (detector.inner_mrad, detector.outer_mrad):
        said.append(
            f"{own.name} {own.inner_mrad:g}-{own.outer_mrad:g} mrad as {detector.name} "
            f"{detector.inner_mrad:g}-{detector.outer_mrad:g} mrad"
        )
    found = Context(specimen=specimen, energy_kev=energy, detector=detector, convergence_mrad=convergence)
    context_number(found)
    return found, tuple(said)


def context_name(context: Context) -> str:
    """Short name of a context, for example ``"WSe2-Ti 80 keV HAADF"``."""
    specimen = context.specimen
    return f"{specimen.host}-{specimen.dopant} {context.energy_kev:g} keV {context.detector.name}"


@cache
@torch.inference_mode(False)  # training has gradients go through it, whoever asks first
def context_table() -> Tensor:
    """Context vectors of all reference contexts, shape (576, 23)."""
    return torch.stack([encode_context(context) for context in reference_contexts()])
