import math

import numpy as np
import pytest
import torch

from drivers.contract.errors import InputError
from models.contrasts import ExpectedContrast
from models.grain_contrasts import GrainContrasts, grain_contrasts
from models.lattice import Lattice
from models.reading import read_columns
from models.sublattice import (
    LEAST_MARGIN_NATS,
    SublatticeDecision,
    decide_by_contrast,
    is_brighter,
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


def contrasts(counts, rng, *, metal=1.0):
    """A grain: contrasts of sublattice 0, columns of these levels and numbers, and of whole ones of 1."""
    zero = torch.cat([torch.full((number,), level, dtype=torch.float64) for level, number in counts.items()])
    one = torch.full((len(zero),), metal, dtype=torch.float64)
    noise = torch.from_numpy(rng.normal(0, 0.06, (2, len(zero))))
    return [zero * (1 + noise[0]), one * (1 + noise[1])]


def swapped(pair):
    return pair[::-1]


def test_the_odds_of_brightness_are_those_of_two_normal_distributions(rng):
    """Of the logarithm of the ratio, which strays by 0.13: seen as expected, or the other way round."""
    pair = contrasts({1.0: 4001}, rng, metal=1.2)
    brightness, _ = GrainContrasts(pair).for_one(ExpectedContrast(metal=1.2, vacancy1=0.5, vacancy2=0.1))
    assert brightness == pytest.approx((2 * math.log(1.2)) ** 2 / 2 / 0.13**2, rel=0.05)
    tie, _ = GrainContrasts(pair).for_one(TIE)
    assert tie == 0


def test_sublattices_that_are_exchanged_give_the_opposite_evidence(rng):
    pair = contrasts({1.0: 900, 0.55: 60, 0.15: 5}, rng, metal=1.1)
    for expected in (TIE, ExpectedContrast(metal=1.3, vacancy1=0.55, vacancy2=0.15, dopant=0.4)):
        one, other = (GrainContrasts(sides) for sides in (pair, swapped(pair)))
        assert one.for_one(expected) == pytest.approx([-nats for nats in other.for_one(expected)])
        assert one.for_context(expected) == pytest.approx(other.for_context(expected))


def test_dopants_alone_tell_which_sublattice_holds_them(rng):
    expected = ExpectedContrast(metal=1.0, vacancy1=0.6, vacancy2=0.5, dopant=0.2)
    _, defects = GrainContrasts(contrasts({1.0: 760, 0.2: 40}, rng)).for_one(expected)
    assert defects < -LEAST_MARGIN_NATS  # sublattice 0 is the metal
    bright = ExpectedContrast(metal=1.0, vacancy1=0.6, vacancy2=0.5, dopant=1.8)
    _, defects = GrainContrasts(contrasts({1.0: 760, 1.8: 40}, rng)).for_one(bright)
    assert defects < -LEAST_MARGIN_NATS


def test_more_columns_than_a_hundred_of_the_same_say_no_more(rng):
    pair = contrasts({1.0: 180, 0.55: 20}, rng)
    few, many = (GrainContrasts(sides).for_one(TIE)[1] for sides in (pair, [side.repeat(9) for side in pair]))
    assert few > LEAST_MARGIN_NATS
    assert many == pytest.approx(few, rel=0.1)


def test_a_sublattice_too_dim_to_be_measured_is_the_dimmer_one_all_the_same(rng):
    pair = contrasts({1.0: 400}, rng, metal=0.001)
    for metal, sign in ((3.0, -1), (1 / 3, 1)):
        expected = ExpectedContrast(metal=metal, vacancy1=0.5, vacancy2=0.1)
        for sides, way in ((pair, sign), (swapped(pair), -sign)):
            grain = GrainContrasts(sides)
            brightness, defects = grain.for_one(expected)
            assert math.isnan(grain.ratio)
            assert brightness * way > LEAST_MARGIN_NATS
            assert defects == 0


def test_a_grain_of_four_columns_of_a_sublattice_says_nothing(rng):
    pair = contrasts({1.0: 400}, rng, metal=1.5)
    expected = ExpectedContrast(metal=1.5, vacancy1=0.5, vacancy2=0.1)
    for sides in ([pair[0][:4], pair[1]], [pair[0], pair[1][:4]]):
        grain = GrainContrasts(sides)
        assert grain.for_one(expected) == (0.0, 0.0)
        assert grain.for_context(expected) == 0.0
        assert math.isnan(grain.ratio)


def two_grains(count=400):
    """A lattice of two grains, whose brighter sublattice is 0 in the first and 1 in the second."""
    number = torch.arange(count)
    grain, sublattice = (number >= 250).long(), number % 2
    contrast = torch.where(sublattice == grain, 1.0, 0.7)
    none = torch.zeros(count, dtype=torch.bool)
    place, vectors = torch.zeros(count, 2), torch.eye(2).expand(2, 2, 2)
    return contrast, Lattice(place, place, sublattice, grain, ~none, number % 10 < 2, none, vectors)


def test_each_grain_has_its_own_brighter_sublattice():
    contrast, lattice = two_grains()
    assert torch.equal(is_brighter(contrast, lattice), contrast == 1.0)


def test_columns_on_a_boundary_say_nothing():
    contrast, lattice = two_grains()
    first, second = grain_contrasts(contrast, lattice)
    assert (first.ratio, second.ratio) == pytest.approx((0.7, 1 / 0.7))
    expected = ExpectedContrast(metal=1.4, vacancy1=0.5, vacancy2=0.1)
    spoilt = grain_contrasts(torch.where(lattice.boundary, 3.0, contrast), lattice)
    assert [one.for_one(expected) for one in spoilt] == [one.for_one(expected) for one in (first, second)]
