import math

import numpy as np
import pytest
import torch

from drivers.contract.errors import InputError
from models.contrasts import ExpectedContrast
from models.reading import read_columns
from models.sublattice import (
    LEAST_MARGIN_NATS,
    SublatticeDecision,
    decide_by_contrast,
    with_more_evidence,
)

SHAPE = (300, 300)
TIE = ExpectedContrast(metal=1.0, vacancy1=0.55, vacancy2=0.15, dopant=0.4)


def decide(truth, draw, rng, expected, *, noise=0.05):
    """The decision, and whether the sublattice chosen as metal is that of the truth's number 0."""
    reading = read_columns(draw(truth, SHAPE, sigma_px=1.5) + rng.normal(0, noise, SHAPE))
    decision = decide_by_contrast(reading.grains, expected)
    site = int(reading.whole.nonzero()[0])
    near = np.linalg.norm(truth.positions - reading.lattice.positions[site].numpy(), axis=1).argmin()
    return decision, bool(decision.is_metal(reading.lattice)[site]) == (truth.sublattice[near] == 0)


@pytest.mark.parametrize("metal", [1.5, 0.7], ids=["metal brighter", "metal dimmer"])
def test_brightness_decides_where_the_context_expects_a_difference(make_honeycomb, draw, rng, metal):
    truth = make_honeycomb(SHAPE, lattice_px=10.0, heights=(metal, 1.0))
    expected = ExpectedContrast(metal=metal, vacancy1=0.55, vacancy2=0.15, dopant=0.4)
    decision, right = decide(truth, draw, rng, expected)
    assert right
    assert float(decision.brightness_nats.abs()) > LEAST_MARGIN_NATS
    assert decision.is_decided.all()


@pytest.mark.parametrize("vacancies_on", [1, 0])
def test_vacancies_decide_where_the_brightness_ties(make_honeycomb, draw, rng, vacancies_on):
    truth = make_honeycomb(SHAPE, lattice_px=10.0, heights=(1.0, 1.0))
    sites = np.flatnonzero((truth.sublattice == vacancies_on) & (rng.random(len(truth.height)) < 0.05))
    decision, metal_is_0 = decide(truth.dimmed(sites, 0.55), draw, rng, TIE)
    assert metal_is_0 == (vacancies_on == 1)
    assert decision.is_decided.all()
    assert float(decision.brightness_nats) == pytest.approx(0, abs=0.1)


def test_a_tie_without_defects_is_not_decided(make_honeycomb, draw, rng):
    truth = make_honeycomb(SHAPE, lattice_px=10.0, heights=(1.0, 1.0))
    decision, _ = decide(truth, draw, rng, TIE)
    assert not decision.is_decided.any()


def test_contrast_is_proportional_to_the_height_of_a_column(make_honeycomb, draw):
    truth = make_honeycomb(SHAPE, lattice_px=14.0, heights=(1.0, 0.6))
    reading = read_columns(draw(truth, SHAPE, sigma_px=1.8))
    contrast = reading.contrast[reading.whole]
    side = reading.lattice.sublattice[reading.whole]
    levels = torch.stack([contrast[side == k].median() for k in (0, 1)])
    assert float(levels.min() / levels.max()) == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("metal", [0.0, -1.0, math.nan])
def test_a_metal_without_contrast_cannot_be_looked_for(metal):
    with pytest.raises(InputError, match="positive contrast of M over X2"):
        ExpectedContrast(metal=metal, vacancy1=0.5, vacancy2=0.1)


def test_what_one_detector_decides_holds_where_the_other_has_a_tie():
    def decision(for_one):
        nats = torch.tensor(for_one, dtype=torch.float64)
        return SublatticeDecision((nats > 0).long(), nats.abs(), nats, 0 * nats, torch.ones(2))

    both = with_more_evidence(decision([0.5, -0.3]), decision([-20.0, 9.0]))
    assert both.metal.tolist() == [0, 1]
    assert both.margin_nats.tolist() == pytest.approx([19.5, 8.7])
    assert both.is_decided.all()


@pytest.mark.parametrize(
    ("brightness", "defects", "margin"),
    [
        (6.0, 3.0, 9.0),
        (-6.0, 9.0, 0.0),
        (6.0, -3.5, 0.0),
        (6.0, -2.0, 4.0),
        (-30.0, 4.0, 26.0),
        (0.0, -5.0, 5.0),
    ],
)
def test_kinds_of_evidence_that_contradict_each_other_decide_only_if_one_prevails(
    brightness, defects, margin
):
    class Torn:
        ratio = 1.2

        def for_one(self, expected):
            return brightness, defects

    decision = decide_by_contrast([Torn()], ExpectedContrast(1.2, 0.5, 0.1))
    assert decision.margin_nats.tolist() == [margin]
    assert bool(decision.is_decided) == (margin > 2.3)
