"""The 576 reference contexts: 96 doped pairs, three beam energies, two detectors, in one fixed order."""

from functools import cache

import torch
from torch import Tensor

from drivers.contract.context import DETECTORS, ENERGIES_KEV, Context, Specimen
from drivers.contract.errors import InputError
from drivers.contract.materials import doped_pairs
from models.encoding import encode_context


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


def context_name(context: Context) -> str:
    """Short name of a context, for example ``"WSe2-Ti 80 keV HAADF"``."""
    specimen = context.specimen
    return f"{specimen.host}-{specimen.dopant} {context.energy_kev:g} keV {context.detector.name}"


@cache
def context_table() -> Tensor:
    """Context vectors of all reference contexts, shape (576, 23)."""
    return torch.stack([encode_context(context) for context in reference_contexts()])
