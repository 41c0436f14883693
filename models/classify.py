"""From the columns that were read of a frame, and its context, to the class of each."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from drivers.contract.context import Context
from models.alignment import align
from models.checkpoint import Weights
from models.contrasts import ExpectedContrast, expected_contrast
from models.encoding import encode_contrast
from models.foreignness import Familiar, score_foreignness
from models.lattice import Lattice
from models.networks.catalogue import find_recipe
from models.open_depth import conclude, conclude_plainly
from models.posterior import Posterior, calibrate, mix, predict_logits, run_network
from models.reading import Reading
from models.scatter import find_between, find_beyond, find_scatter
from models.sublattice import (
    SublatticeDecision,
    decide_by_contrast,
    is_brighter,
    with_more_evidence,
)
from models.templates import find_templates
from models.threads import Helper


@dataclass(frozen=True)
class Geometry:
    """Where the columns of a frame are and which are metals: the same for all detectors of one scan."""

    lattice: Lattice
    decision: SublatticeDecision


@dataclass(frozen=True)
class Classification:
    """Every column of a frame whose surroundings are known well enough; S columns.

    Parameters
    ----------
    chosen : Tensor of shape (S,)
        Places of the columns among the sites of the lattice.
    positions : Tensor of shape (S, 2)
        (row, column) [px].
    is_whole : Tensor of shape (S,)
        Whether the column's disc lies inside the frame; the prior is learnt from these, off boundaries and
        rims.
    posterior : Posterior
        Probabilities of the classes, their entropy, and the frame's prior.
    foreignness : Tensor of shape (S,)
        See `models.foreignness`: above 1 rarer than one column in a hundred.  At least as much as `beyond`.
    beyond : Tensor of shape (S,)
        See `models.scatter.find_beyond`.
    between : Tensor of shape (S,)
        See `models.scatter.find_between`; none of columns at edges, boundaries and rims.
    depth : float
        Of the frame's defects over the expected one (`models.alignment`).
    is_decided : Tensor of shape (S,)
        Whether it is decided which sublattice of the column's grain is the metal.  If not, probabilities
        weigh both, and foreignness rests on the better guess.
    reading : Reading
        All sites, also those too near to the edge.
    decision : SublatticeDecision
        The sublattices, with their margins.
    """

    chosen: Tensor
    positions: Tensor
    is_whole: Tensor
    posterior: Posterior
    foreignness: Tensor
    beyond: Tensor
    between: Tensor
    depth: float
    is_decided: Tensor
    reading: Reading
    decision: SublatticeDecision

    @property
    def geometry(self) -> Geometry:
        """For the other detectors of the same scan."""
        return Geometry(self.reading.lattice, self.decision)


def classify_columns(
    reading: Reading,
    context: Context,
    weights: Weights,
    familiar: Familiar,
    *,
    is_doped: bool = True,
    shown: SublatticeDecision | None = None,
    helper: Helper | None = None,
) -> Classification:
    """Classify every column that was read.

    Parameters
    ----------
    reading : Reading
        From `models.reading`.
    context : Context
        One of `models.contexts.reference_contexts`.
    weights : Weights
        From `models.checkpoint`.
    familiar : Familiar
        From `models.foreignness`.
    is_doped : bool
        Whether there may be dopants.  If not, the context's dopant stands for none, and no column is one.
    shown : SublatticeDecision, optional
        What another detector has shown of this lattice in the same pass of the beam.  Whether a sublattice
        is the metal is then decided by both: under one of them it may be a tie.
    helper : Helper, optional
        Of who has threads for this frame.

    Raises
    ------
    InputError
        If the context is unknown, or there is no whole column.
    """
    helper = helper or Helper()
    decision = decide_by_contrast(reading.grains, _expected(context, is_doped))
    if shown is not None:
        decision = with_more_evidence(decision, shown)

    def by(one: SublatticeDecision) -> Classification:
        return _classify_by(one, reading, context, weights, familiar, helper, is_doped=is_doped)

    result = by(decision)
    is_open = ~decision.is_decided
    if not is_open.any():
        return result
    swapped = replace(decision, metal=torch.where(is_open, 1 - decision.metal, decision.metal))
    odds = torch.where(is_open, decision.margin_nats, torch.inf)[reading.lattice.grain][result.chosen]
    return replace(result, posterior=mix(result.posterior, by(swapped).posterior, odds))


def _classify_by(
    decision: SublatticeDecision,
    reading: Reading,
    context: Context,
    weights: Weights,
    familiar: Familiar,
    helper: Helper,
    *,
    is_doped: bool,
) -> Classification:
    """Classify every column that was read, the metals being where a decision says that they are."""
    chosen = reading.covered.nonzero()[:, 0]
    moments, is_whole = reading.moments[chosen], reading.whole[chosen]
    is_metal = decision.is_metal(reading.lattice)[chosen]
    lattice, templates = reading.lattice, find_templates(context)
    is_regular = is_whole & ~(lattice.boundary | lattice.rim)[chosen]
    is_undone = reading.patch_filter is not None
    at = lattice.positions[chosen] / lattice.lattice_px
    aligned = align(moments, is_metal, is_regular, at, templates, is_doped=is_doped, is_undone=is_undone)
    by_metal = encode_contrast(aligned.moments, is_metal)
    if find_recipe(weights.card["network"]).flag == "metal":
        raw = helper.start(lambda: run_network(weights, by_metal, context))
        foreign = helper.start(lambda: score_foreignness(familiar, by_metal, context))
        scatter = find_scatter(
            by_metal, is_regular, at, templates, aligned.is_quiet, is_filtered=is_undone or reading.masked
        )
        logits = calibrate(weights, raw(), by_metal, context, scatter.noise)
        posterior = conclude(logits, scatter, is_regular, aligned.doubt, is_doped=is_doped)
        beyond = find_beyond(scatter, is_doped=is_doped)
        between = find_between(scatter) & is_regular
        foreignness = torch.maximum(foreign(), beyond)
    else:
        foreignness = score_foreignness(familiar, by_metal, context)
        beyond, between = torch.zeros_like(foreignness), torch.zeros_like(is_regular)
        by_brightness = encode_contrast(moments, is_brighter(reading.contrast, reading.lattice)[chosen])
        posterior = conclude_plainly(
            predict_logits(weights, by_brightness, context), is_regular, is_doped=is_doped
        )
    return Classification(
        chosen=chosen,
        positions=reading.lattice.positions[chosen],
        is_whole=is_whole,
        posterior=posterior,
        foreignness=foreignness,
        beyond=beyond,
        between=between,
        depth=aligned.depth,
        is_decided=decision.is_decided[reading.lattice.grain][chosen],
        reading=reading,
        decision=decision,
    )


def _expected(context: Context, is_doped: bool) -> ExpectedContrast:
    """Contrasts to expect, without the dopant's if there is none."""
    expected = expected_contrast(context)
    return expected if is_doped else replace(expected, dopant=None)
