import pytest
import torch

from drivers.contract.context import DETECTORS, Context, Specimen
from models.calibration import USUAL_SPREAD
from models.encoding import encode_contrast
from models.scatter import Scatter, find_between, find_beyond, find_scatter, pool_scatter
from models.templates import find_templates

WSE2 = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=DETECTORS["MAADF"])


def frame(spread, *, count=600, last=0.9):
    """A chalcogen sublattice of whole columns with a given spread, and one column at a given depth."""
    templates, rng = find_templates(WSE2), torch.Generator().manual_seed(2)
    depth = spread * torch.randn(count, generator=rng, dtype=torch.float64)
    depth[-1] = last
    common = templates.common
    moments = templates.whole[common, 0] + depth[:, None] * templates.first[common, 0]
    return encode_contrast(moments.float(), torch.zeros(count, dtype=torch.bool)), templates


def grid(count):
    """Positions of columns side by side, in lattice constants."""
    number = torch.arange(count)
    return torch.stack([number // 25, number % 25], dim=1).double()


def measure(contrast, is_regular, at, templates):
    """Scatter of a frame that is alike throughout."""
    return find_scatter(contrast, is_regular, at, templates, torch.ones_like(is_regular))


def pool(logits, contrast, templates, *, regular=None):
    regular = torch.ones(len(contrast), dtype=torch.bool) if regular is None else regular
    scatter = measure(contrast, regular, grid(len(contrast)), templates)
    return pool_scatter(logits, scatter)


def vacancy_odds(logits):
    return float(logits[-1, 1] - logits[-1, 0])


@pytest.fixture
def undecided():
    return torch.zeros(600, 5)


def test_the_same_column_is_a_vacancy_in_a_quiet_frame_and_less_so_in_a_noisy_one(undecided):
    odds = [vacancy_odds(pool(undecided, *frame(spread))) for spread in (0.05, 0.15, 0.3)]
    assert odds[0] > odds[1] > odds[2] > 0


def test_a_network_that_is_sure_does_not_decide_alone():
    """Half as deep as a vacancy, in a quiet frame: a network that never met such a column calls it one."""
    contrast, templates = frame(0.12, last=0.55)
    sure = torch.zeros(600, 5)
    sure[-1, 1] = 8.0
    own = vacancy_odds(pool(torch.zeros(600, 5), contrast, templates))
    odds = [vacancy_odds(pool(sure * factor, contrast, templates)) - own for factor in (0.25, 1.0, 3.0)]
    assert 0.25 * 1.8 < odds[0] < 0.25 * 2.0  # what is not too sure counts in full
    assert odds[1] < odds[2] < 0.25 * 7.0


@pytest.mark.parametrize("away", [-60.0, 300.0, 4e4])
def test_columns_that_are_like_no_class_teach_nothing(away):
    """Once they left no weight to divide by, and a whole map was no number."""
    contrast, templates = frame(0.12)
    contrast[:, :6] += away * templates.first[templates.common, 0]
    scatter = measure(contrast, torch.ones(600, dtype=torch.bool), grid(600), templates)
    assert all(torch.isfinite(value).all() for value in vars(scatter).values())
    assert pool_scatter(torch.zeros(600, 5), scatter).isfinite().all()


def test_a_tail_is_found_where_it_is():
    contrast, templates = frame(0.1, count=4000)
    whole = templates.whole[templates.common, 0].float()
    heavy = contrast.clone()
    heavy[::10, :6] = whole + 2.5 * (heavy[::10, :6] - whole)
    everywhere = torch.ones(4000, dtype=torch.bool)
    plain, tailed = (
        float(measure(one, everywhere, grid(4000), templates).tail.max()) for one in (contrast, heavy)
    )
    assert 2.5 * plain < tailed < 0.1


def test_columns_that_scatter_much_and_teach_nothing_are_measured_along_the_same_axis():
    """As rims below carbon: nothing there is regular, and nothing is taken for deep for that."""
    contrast, templates = frame(0.15, count=4000)
    rng = torch.Generator().manual_seed(6)
    contrast[:, :6] += 0.5 * torch.randn(4000, 1, generator=rng)  # what all moments share is no defect
    is_loud = torch.arange(4000) < 300
    scatter = find_scatter(contrast, ~is_loud, grid(4000), templates, ~is_loud)
    aside = (scatter.depth - scatter.centre) / scatter.spread
    assert float(aside[is_loud].std()) == pytest.approx(float(aside[~is_loud].std()), rel=0.2)


def two_sides(probes, seed, *, spread, offset, probe):
    """Centres, spreads and a vacancy's odds at two probes: in the left part of a frame, and in the rest.

    Spread and offset are given for both parts; the probes are as deep as one another.
    """
    templates, rng = find_templates(WSE2), torch.Generator().manual_seed(seed)
    number = torch.arange(4000)
    at = torch.stack([number // 100, number % 100], dim=1).double()
    is_left = at[:, 1] < 30
    noise = torch.randn(4000, generator=rng, dtype=torch.float64)
    depth = torch.where(is_left, *offset) + torch.where(is_left, *spread) * noise
    depth[probes] = probe
    common = templates.common
    moments = templates.whole[common, 0] + depth[:, None] * templates.first[common, 0]
    contrast = encode_contrast(moments.float(), torch.zeros(4000, dtype=torch.bool))
    scatter = measure(contrast, torch.ones(4000, dtype=torch.bool), at, templates)
    pooled = pool_scatter(torch.zeros(4000, 5), scatter)
    odds = pooled[probes, 1] - pooled[probes, 0]
    return scatter.centre[probes].tolist(), scatter.spread[probes].tolist(), odds.tolist()


def test_the_same_column_is_less_surely_a_vacancy_where_its_surroundings_are_noisy():
    probes = [20 * 100 + 10, 20 * 100 + 80]
    _, spread, (noisy, quiet) = two_sides(probes, 3, spread=(0.3, 0.1), offset=(0.0, 0.0), probe=0.8)
    assert spread == pytest.approx([0.3, 0.1], rel=0.2)
    assert 0 < noisy < quiet


def test_a_patch_whose_columns_all_lie_deeper_holds_no_more_vacancies_for_that():
    probes = [20 * 100 + 12, 20 * 100 + 80]
    centre, _, (inside, outside) = two_sides(probes, 4, spread=(0.1, 0.1), offset=(0.25, 0.0), probe=0.6)
    assert centre == pytest.approx([0.25, 0.0], abs=0.06)
    assert inside < 0 < outside


def test_the_evidence_of_the_three_classes_together_stays_the_networks(undecided):
    contrast, templates = frame(0.1)
    logits = undecided + torch.tensor([1.0, -1.0, 0.5, 3.0, -2.0])
    pooled = pool(logits, contrast, templates)
    assert torch.allclose(pooled[:, :3].logsumexp(1), logits[:, :3].logsumexp(1), atol=1e-5)
    assert torch.equal(pooled[:, 3:], logits[:, 3:])


def test_a_frame_of_few_columns_does_not_tell(undecided):
    contrast, templates = frame(0.1)
    few = torch.arange(600) < 50
    assert torch.equal(pool(undecided, contrast, templates, regular=few), undecided)
    scatter = measure(contrast, few, grid(600), templates)
    assert torch.equal(scatter.noise, torch.full((600,), USUAL_SPREAD))


def both_sides(*, dim, spread=0.1):
    """Sublattices of whole columns, of the metal one column as deep as given over a dopant's depth."""
    contrast, templates = frame(0.2)
    depth = spread * torch.randn(600, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    depth[-1] = dim
    common = templates.common
    moments = templates.whole[common, 1] + depth[:, None] * templates.first[common, 1]
    on_metal = encode_contrast(moments.float(), torch.ones(600, dtype=torch.bool))
    at = torch.cat([grid(600), grid(600) + 0.3])
    contrast = torch.cat([contrast, on_metal])
    scatter = measure(contrast, torch.ones(1200, dtype=torch.bool), at, templates)
    return scatter


def test_sublattices_scatter_each_by_itself_and_noise_is_the_chalcogens():
    scatter = both_sides(dim=1.0)
    assert scatter.spread[:600].median() == pytest.approx(0.2, rel=0.1)
    assert scatter.spread[600:].median() == pytest.approx(0.1, rel=0.1)
    assert scatter.noise[600:].median() == pytest.approx(0.2, rel=0.1)


@pytest.mark.parametrize(("dim", "is_dopant"), [(1.0, True), (0.35, False)])
def test_a_metal_column_is_a_dopant_if_it_is_as_deep_as_one(dim, is_dopant):
    scatter = both_sides(dim=dim)
    logits = torch.zeros(1200, 5) + torch.tensor([0.0, 0.0, 0.0, 1.0, 1.5])
    pooled = pool_scatter(logits, scatter)
    assert bool(pooled[-1, 4] > pooled[-1, 3]) == is_dopant
    assert torch.allclose(pooled[600:, 3:].logsumexp(1), logits[600:, 3:].logsumexp(1), atol=1e-5)
    assert torch.equal(pooled[600:, :3], logits[600:, :3])


def test_a_metal_sublattice_of_few_columns_is_left_to_the_network(undecided):
    contrast, templates = frame(0.1)
    on_metal = encode_contrast(contrast[:50, :6], torch.ones(50, dtype=torch.bool))
    pooled = pool(torch.zeros(650, 5), torch.cat([contrast, on_metal]), templates)
    assert torch.equal(pooled[600:], torch.zeros(50, 5))
    assert not torch.equal(pooled[:600], undecided)


def separation(depth, is_defect):
    return float((depth[is_defect].mean() - depth[~is_defect].mean()) / depth[~is_defect].std())


def test_defects_unlike_their_template_are_told_from_what_carbon_does_as_well_as_they_can_be():
    templates, rng = find_templates(WSE2), torch.Generator().manual_seed(7)
    common, count = templates.common, 4000
    first, noise = templates.first[common, 0], templates.scatter[0]
    aside = torch.tensor([0.0, -1.0, 1.0, 1.0, -1.0, 0.0], dtype=torch.float64) * 0.15 * first.abs()
    carbon = torch.tensor([2.0, 1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64) * first.norm() / 4
    carbon = carbon + 0.4 * first
    draws = torch.randn(count, 7, generator=rng, dtype=torch.float64)
    moments = templates.whole[common, 0] + draws[:, :6] @ torch.linalg.cholesky(noise).T
    moments += draws[:, 6:] * carbon
    is_defect = torch.arange(count) % 25 == 0
    moments[is_defect] += first + aside
    best = torch.linalg.solve(noise + torch.outer(carbon, carbon), first + aside)
    contrast = encode_contrast(moments.float(), torch.zeros(count, dtype=torch.bool))
    scatter = measure(contrast, torch.ones(count, dtype=torch.bool), grid(count), templates)
    assert separation(scatter.depth, is_defect) > 0.93 * separation(moments @ best, is_defect)
    assert float(scatter.say.min()) > 0.85  # since the own axis tells more than the templates'


def test_the_say_is_the_usual_one_where_the_own_axis_tells_no_more():
    assert both_sides(dim=1.0).say.median() == pytest.approx(0.75, abs=0.02)


def test_a_dopant_deeper_than_was_said_is_left_to_the_network():
    scatter = both_sides(dim=2.2, spread=0.03)
    logits = torch.zeros(1200, 5) + torch.tensor([0.0, 0.0, 0.0, 1.0, 6.0])
    pooled = pool_scatter(logits, scatter)
    assert pooled[-1, 4] - pooled[-1, 3] == pytest.approx(5.0, abs=0.2)
    assert bool((pooled[600:-1, 3] > pooled[600:-1, 4]).all())


def test_a_frame_without_columns_has_no_scatter():
    none = torch.zeros(0, dtype=torch.bool)
    scatter = measure(torch.zeros(0, 8), none, torch.zeros(0, 2), find_templates(WSE2))
    assert scatter.depth.shape == scatter.say.shape == (0,)
    assert pool_scatter(torch.zeros(0, 5), scatter).shape == (0, 5)


SPREAD = 0.1


def lying(depth, *, on_metal, centre=0.0, spread=SPREAD, tail=0.05):
    """Columns at some depths beside whole ones; the double vacancy lies at 2."""
    depth = torch.tensor(depth) + centre
    second = torch.full_like(depth, torch.inf if on_metal else 2.0)
    of = [torch.full_like(depth, value) for value in (centre, spread, tail, SPREAD)]
    return Scatter(depth, *of, second, torch.full_like(depth, 0.75))


@pytest.mark.parametrize("centre", [0.0, 0.4])
def test_beyond_every_class_is_what_no_class_reaches_on_either_side(centre):
    ends = [-6 * SPREAD, -3 * SPREAD, 0.0, 0.5, 1.0]
    on_chalcogen = find_beyond(
        lying([*ends, 2.0, 2.0 + 3 * SPREAD], on_metal=False, centre=centre), is_doped=True
    )
    torch.testing.assert_close(on_chalcogen, torch.tensor([2.0, 1, 0, 0, 0, 0, 1]), atol=1e-4, rtol=0)
    doped, undoped = (
        find_beyond(lying([*ends, 1.0 + 3 * SPREAD], on_metal=True, centre=centre), is_doped=is_doped)
        for is_doped in (True, False)
    )
    torch.testing.assert_close(doped, torch.tensor([2.0, 1, 0, 0, 0, 1]), atol=1e-4, rtol=0)
    expected = torch.tensor([2.0, 1, 0, 0.5, 1, 1.3]) / torch.tensor([1.0, 1, 1, 0.3, 0.3, 0.3])
    torch.testing.assert_close(undoped, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("centre", [0.0, 0.4])
def test_only_metals_far_from_both_whole_ones_and_dopants_stand_between(centre):
    depth = [-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5]
    between = find_between(lying(depth, on_metal=True, centre=centre, spread=0.05))
    assert between.tolist() == [False, False, False, True, False, False, False]
    assert not find_between(lying(depth, on_metal=True, centre=centre, spread=0.1)).any()
    assert not find_between(lying(depth, on_metal=False, centre=centre, spread=0.05)).any()


def test_what_a_frame_does_not_tell_is_neither_beyond_nor_between():
    untold = lying([-9.0, 0.5, 9.0], on_metal=True, spread=0.05, tail=torch.nan)
    assert not find_beyond(untold, is_doped=True).any()
    assert not find_between(untold).any()


def test_where_whole_columns_have_heavy_tails_a_column_half_way_is_less_surely_a_vacancy():
    odds = [
        vacancy_odds(pool_scatter(torch.zeros(1, 5), lying([0.55], on_metal=False, spread=0.15, tail=tail)))
        for tail in (0.0, 0.1, 0.3)
    ]
    assert odds[0] > odds[1] + 0.2
    assert odds[1] > odds[2] + 0.2


def test_below_carbon_and_beside_it_defects_are_told_along_axes_of_their_own():
    templates, rng = find_templates(WSE2), torch.Generator().manual_seed(8)
    common, count = templates.common, 6000
    first, noise = templates.first[common, 0], templates.scatter[0]
    carbon = (
        torch.tensor([2.0, 1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64) * first.norm() / 4 + 0.4 * first
    )
    draws = torch.randn(count, 7, generator=rng, dtype=torch.float64)
    at, is_loud = grid(count), grid(count)[:, 0] < 120
    moments = templates.whole[common, 0] + draws[:, :6] @ torch.linalg.cholesky(noise).T
    moments += draws[:, 6:] * carbon * is_loud[:, None]
    is_defect = torch.arange(count) % 25 == 0
    moments[is_defect] += first
    contrast = encode_contrast(moments.float(), torch.zeros(count, dtype=torch.bool))
    depth = find_scatter(contrast, torch.ones(count, dtype=torch.bool), at, templates, ~is_loud).depth
    for here, covariance in ((is_loud, noise + torch.outer(carbon, carbon)), (~is_loud, noise)):
        best = moments[here] @ torch.linalg.solve(covariance, first)
        assert separation(depth[here], is_defect[here]) > 0.95 * separation(best, is_defect[here])


def test_a_frame_that_was_filtered_is_measured_along_the_axis_of_unfiltered_ones():
    """Of a filtered frame's own scatter hardly anything is left to make an axis of."""
    contrast, templates = frame(0.02, count=4000)
    rng = torch.Generator().manual_seed(9)
    smooth = torch.randn(4000, 1, generator=rng) * torch.tensor([0.0, 0.02, 0.0, 0.0, 0.0, 0.0])
    contrast[:, :6] += smooth
    everywhere = torch.ones(4000, dtype=torch.bool)
    along = (contrast[:, :6].double() - templates.whole[templates.common, 0]) @ templates.axes[
        templates.common, 0
    ]
    apart = [
        float((scatter.depth - along).abs().mean())
        for scatter in (
            find_scatter(contrast, everywhere, grid(4000), templates, everywhere, is_filtered=is_filtered)
            for is_filtered in (False, True)
        )
    ]
    assert apart[1] < 0.6 * apart[0]


def test_if_defects_are_deeper_columns_are_less_deep_about_the_whole_ones_nearby():
    scatter = both_sides(dim=0.6)
    deeper = scatter.if_deeper(1.2)
    assert torch.allclose(1.2 * (deeper.depth - scatter.centre), scatter.depth - scatter.centre)
    assert torch.equal(deeper.spread, scatter.spread)
