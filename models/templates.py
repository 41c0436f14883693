"""Which moments to expect of the five classes under a context: read from a shipped table.

`columnist derive templates` makes the table from simulated frames (`models.training.templates`).
"""

import itertools
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from drivers.contract.context import ColumnClass, Context
from drivers.contract.errors import InputError
from models.contexts import context_number, reference_contexts
from models.zernike import ORDERS

_PATH = Path(str(files("models") / "data" / "templates.npz"))

#: Source sizes of the table, standard deviations [Å].
SOURCES_ANGSTROM = (0.3, 0.45, 0.6, 0.75)

#: The one of them that aligned moments are brought to.
_COMMON_SOURCE = 2

#: Steps between two source sizes that are looked up.
_STEPS = 6


@dataclass(frozen=True)
class Templates:
    """Moments expected under one context, for source sizes from the smallest to the largest; P of them.

    Parameters
    ----------
    whole : Tensor of shape (P, 2, 6)
        Of the common column of the chalcogen and of the metal sublattice.
    first : Tensor of shape (P, 2, 6)
        Of the first defect of each sublattice (single vacancy, dopant), less the whole column's.
    axes : Tensor of shape (P, 2, 6)
        Direction in which the first defect differs most beside the scatter of columns; it has length 1
        along it.
    second : Tensor of shape (P, 6)
        Of the double vacancy, less the whole chalcogen column's.
    scatter : Tensor of shape (2, 6, 6)
        Covariance of the columns of each sublattice about their class, over frames of 1e5 e/Å².
    common : int
        Place of the source size that aligned moments are brought to.
    """

    whole: Tensor
    first: Tensor
    axes: Tensor
    second: Tensor
    scatter: Tensor
    common: int

    @property
    def double(self) -> Tensor:
        """Length of the double vacancy along the chalcogen's axis, (P,)."""
        return (self.second * self.axes[:, 0]).sum(1)


def find_templates(context: Context) -> Templates:
    """Look up what to expect of a context's columns.

    Raises
    ------
    InputError
        If the context is not one of `models.contexts.reference_contexts`.
    """
    return _templates(context_number(context))


@cache
def _templates(number: int) -> Templates:
    moments, scatter = load_table()
    return make_templates(moments[number], scatter)


def make_templates(moments: Tensor, scatter: Tensor) -> Templates:
    """Templates of a context.

    Parameters
    ----------
    moments : Tensor of shape (len(SOURCES_ANGSTROM), 5, 6)
        Of the classes, for each source size.
    scatter : Tensor of shape (2, 6, 6)
        Covariance of the columns of each sublattice about their class.
    """
    fine = _interpolate(moments.double())  # (P, 5, 6)
    whole = fine[:, [ColumnClass.X2, ColumnClass.METAL]]
    first = fine[:, [ColumnClass.VAC1, ColumnClass.DOPANT]] - whole
    axes = torch.linalg.solve(scatter.double(), first[..., None])[..., 0]
    axes = axes / (axes * first).sum(2, keepdim=True)
    second = fine[:, ColumnClass.VAC2] - whole[:, 0]
    return Templates(whole, first, axes, second, scatter.double(), _COMMON_SOURCE * _STEPS)


def _interpolate(moments: Tensor) -> Tensor:
    """Moments for `_STEPS` steps between neighbouring source sizes, linearly, shape (P, 5, 6)."""
    part = torch.arange(_STEPS, dtype=torch.float64)[:, None, None] / _STEPS
    between = [(1 - part) * low + part * high for low, high in itertools.pairwise(moments)]
    return torch.cat([*between, moments[-1:]])


@cache
def load_table() -> tuple[Tensor, Tensor]:
    """The shipped table: moments (576, sources, 5, 6), and scatter of the sublattices (2, 6, 6)."""
    with np.load(_PATH, allow_pickle=False) as data:
        moments, scatter = torch.from_numpy(data["moments"]), torch.from_numpy(data["scatter"])
    if moments.shape != (len(reference_contexts()), len(SOURCES_ANGSTROM), len(ColumnClass), len(ORDERS)):
        raise InputError(
            f"{_PATH.name} was made for other contexts than this code's; make it again with "
            "`columnist derive templates`"
        )
    return moments.float(), scatter.float()
