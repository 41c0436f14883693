"""Which contrasts to expect of the columns under a context: read from a shipped table.

`columnist derive contrasts` makes the table from column kernels (`models.training.contrasts`).
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from drivers.contract.context import Context, Specimen
from drivers.contract.errors import InputError
from models.contexts import context_name, context_number, reference_contexts

#: Names of a row's entries in the table.
FIELDS = ("x2", "metal_over_x2", "vacancy1_over_x2", "vacancy2_over_x2", "dopant_over_metal")


@dataclass(frozen=True)
class ExpectedContrast:
    """Contrast of columns above the background, expected under a context.

    Parameters
    ----------
    metal : float
        M over X2, > 0.
    vacancy1, vacancy2 : float
        Single and double vacancy over X2.
    dopant : float or None
        D over M; None if no dopant is looked for.
    """

    metal: float
    vacancy1: float
    vacancy2: float
    dopant: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.metal) and self.metal > 0):
            raise InputError(f"expected a positive contrast of M over X2, found {self.metal}")


@cache
def expected_contrast(context: Context) -> ExpectedContrast:
    """Look up the contrasts of a context.

    Parameters
    ----------
    context : Context
        One of `reference_contexts`; without a dopant, one of them whose dopant is left out.

    Raises
    ------
    InputError
        If the context is not in the table.
    """
    _, metal, vacancy1, vacancy2, dopant = _row(context)
    has_dopant = context.specimen.dopant is not None
    return ExpectedContrast(metal, vacancy1, vacancy2, dopant if has_dopant else None)


def brightest_contrast(context: Context) -> float:
    """Contrast of the brighter whole column above the hexagon centres, as a fraction of the beam."""
    x2, metal, *_ = _row(context)
    return x2 * max(1.0, metal)


def x2_contrast(context: Context) -> float:
    """Contrast of a whole chalcogen column above the hexagon centres, as a fraction of the beam."""
    return _row(context)[0]


def _row(context: Context) -> tuple[float, ...]:
    """Entries of a context, in the order of `FIELDS`."""
    if context.specimen.dopant is None:
        host = context.specimen.host
        dopant = next(c.specimen.dopant for c in reference_contexts() if c.specimen.host == host)
        context = Context(
            specimen=Specimen(host=host, dopant=dopant),
            energy_kev=context.energy_kev,
            detector=context.detector,
            convergence_mrad=context.convergence_mrad,
        )
    context_number(context)
    return tuple(_table()["contexts"][context_name(context)])


@cache
def _table() -> dict[str, Any]:
    """The shipped table, checked to hold every context."""
    table: dict[str, Any] = json.loads((files("models") / "data" / "contrasts.json").read_text())
    names = {context_name(context) for context in reference_contexts()}
    if tuple(table["fields"]) != FIELDS or set(table["contexts"]) != names:
        raise InputError(
            "models/data/contrasts.json was made for other contexts than this code's; "
            "make it again with `columnist derive contrasts`"
        )
    return table
