"""The 31 features of a column (Dan et al., arXiv 2606.09419): contrast vector (8), context vector (23)."""

import torch
from torch import Tensor

from drivers.contract.context import DETECTORS, ENERGIES_KEV, Context
from drivers.contract.errors import InputError, UnknownMaterialError
from drivers.contract.materials import ATOMIC_NUMBERS, find_host
from models.zernike import ORDERS

#: Detectors in the order of their one-hot block.
DETECTOR_NAMES = ("HAADF", "MAADF")

#: Moments of a column, the first of its contrast features.
MOMENTS = len(ORDERS)

CONTRAST_FEATURES = MOMENTS + 2
CONTEXT_FEATURES = 23

_SHELLS = 6

#: Electrons in the shells K, L, M, ... of the neutral atom's ground state (NIST Atomic Spectra Database).
SHELL_POPULATIONS = {
    "S": (2, 8, 6),
    "Ti": (2, 8, 10, 2),
    "V": (2, 8, 11, 2),
    "Cr": (2, 8, 13, 1),
    "Mn": (2, 8, 13, 2),
    "Fe": (2, 8, 14, 2),
    "Co": (2, 8, 15, 2),
    "Ni": (2, 8, 16, 2),
    "Cu": (2, 8, 18, 1),
    "Se": (2, 8, 18, 6),
    "Nb": (2, 8, 18, 12, 1),
    "Mo": (2, 8, 18, 13, 1),
    "Te": (2, 8, 18, 18, 6),
    "Ta": (2, 8, 18, 32, 11, 2),
    "W": (2, 8, 18, 32, 12, 2),
    "Re": (2, 8, 18, 32, 13, 2),
}


def encode_contrast(moments: Tensor, is_metal: Tensor) -> Tensor:
    """Join moments and the sublattice flag to the contrast vector.

    The flag says on which sublattice, as decided for the whole frame, the column is.  Under a context it is
    the same as the paper's flag for the brighter or dimmer sublattice, and stays defined where the two tie.

    Parameters
    ----------
    moments : Tensor of shape (S, 6)
        From `models.zernike.zernike_moments`, of the levelled frame.
    is_metal : Tensor of shape (S,)
        bool.

    Returns
    -------
    Tensor of shape (S, 8)
        The moments, then 1 on the metal sublattice, then 1 on the chalcogen sublattice.
    """
    flag = is_metal.to(moments)[:, None]
    return torch.cat([moments, flag, 1 - flag], dim=1)


def encode_context(context: Context) -> Tensor:
    """Encode a context.

    Returns
    -------
    Tensor of shape (23,)
        Shell populations over atomic number of M, X and D (6 each, each block sums to 1), one-hot detector
        (HAADF, MAADF), one-hot energy (60, 80, 100 keV).

    Raises
    ------
    InputError
        If the dopant is missing, or detector or energy are none of those above.
    """
    specimen = context.specimen
    if specimen.dopant is None:
        raise InputError(
            f"expected the dopant that {specimen.host} may hold, found none; "
            "name the element that the classifier shall look for"
        )
    if context.detector.name not in DETECTOR_NAMES:
        known = " or ".join(f"{d.name} ({d.inner_mrad:g}-{d.outer_mrad:g} mrad)" for d in DETECTORS.values())
        found = context.detector
        raise InputError(
            f"expected detector {known}, or one whose angles are within a tenth of theirs, found "
            f"{found.name!r} ({found.inner_mrad:g}-{found.outer_mrad:g} mrad); name the one whose annulus is "
            "nearest, and doubt the classes the more the farther it is"
        )
    if context.energy_kev not in ENERGIES_KEV:
        raise InputError(
            f"expected a beam energy of {', '.join(map(str, ENERGIES_KEV))} keV, found "
            f"{context.energy_kev:g} keV; choose the nearest"
        )
    host = find_host(specimen.host)
    blocks = [_shells(symbol) for symbol in (host.metal, host.chalcogen, specimen.dopant)]
    detector = [float(context.detector.name == name) for name in DETECTOR_NAMES]
    energy = [float(context.energy_kev == energy) for energy in ENERGIES_KEV]
    return torch.tensor([*blocks[0], *blocks[1], *blocks[2], *detector, *energy])


def _shells(symbol: str) -> list[float]:
    """Shell populations over atomic number, padded to six."""
    if symbol not in SHELL_POPULATIONS:
        raise UnknownMaterialError(
            f"element {symbol!r} has no shell populations here; known are {', '.join(SHELL_POPULATIONS)}"
        )
    shells = SHELL_POPULATIONS[symbol]
    padded = (*shells, *[0] * (_SHELLS - len(shells)))
    return [population / ATOMIC_NUMBERS[symbol] for population in padded]
