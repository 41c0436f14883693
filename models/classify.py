"""From a frame and its context to the class of every column."""

from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from drivers.contract.context import Context
from models.checkpoint import Weights
from models.contexts import context_number
from models.contrasts import expected_contrast
from models.encoding import encode_contrast
from models.foreignness import Familiar, score_foreignness
from models.networks.catalogue import find_recipe
from models.posterior import Posterior, infer_posterior, predict_logits
from models.reading import Reading, read_columns
from models.sublattice import SublatticeDecision, decide_sublattice, is_brighter


@dataclass(frozen=True)
class Classification:
    """Every whole column of a frame; S columns.

    Parameters
    ----------
    positions : Tensor of shape (S, 2)
        (row, column) [px].
    posterior : Posterior
        Probabilities of the classes, their entropy, and the frame's prior.
    foreignness : Tensor of shape (S,)
        See `models.foreignness`: above 1 rarer than one column in a hundred.
    is_decided : Tensor of shape (S,)
        Whether it is decided which sublattice of the column's grain is the metal.  If not, classes and
        foreignness rest on a guess and should not be used.
    reading : Reading
        All sites, also those too near to the edge.
    decision : SublatticeDecision
        The sublattices, with their margins.
    """

    positions: Tensor
    posterior: Posterior
    foreignness: Tensor
    is_decided: Tensor
    reading: Reading
    decision: SublatticeDecision


def classify(
    array: ArrayLike,
    context: Context,
    weights: Weights,
    familiar: Familiar,
    device: torch.device | str = "cpu",
) -> Classification:
    """Classify every column of a frame.

    Parameters
    ----------
    array : array_like of shape (M, N)
        Intensities of one frame, any gain and offset.
    context : Context
        One of `models.contexts.reference_contexts`.
    weights : Weights
        From `models.checkpoint`.
    familiar : Familiar
        From `models.foreignness`.
    device : torch.device or str
        Where the frame is read; the network works on the CPU.

    Raises
    ------
    InputError
        If the context is unknown, the array is no frame, or it shows no lattice or no whole column.
    """
    context_number(context)  # before the work
    reading = read_columns(array, device)
    decision = decide_sublattice(reading.image, reading.lattice, expected_contrast(context))
    whole, moments = reading.whole.cpu(), reading.moments.cpu()
    is_metal = decision.is_metal(reading.lattice).cpu()
    by_metal = encode_contrast(moments, is_metal)[whole]
    if find_recipe(weights.card["network"]).flag == "metal":
        contrast = by_metal
    else:
        contrast = encode_contrast(moments, is_brighter(reading.image, reading.lattice).cpu())[whole]
    return Classification(
        positions=reading.lattice.positions.cpu()[whole],
        posterior=infer_posterior(predict_logits(weights, contrast, context)),
        foreignness=score_foreignness(familiar, by_metal, context),
        is_decided=decision.is_decided[reading.lattice.grain.cpu()][whole],
        reading=reading,
        decision=decision,
    )
