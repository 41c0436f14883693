import math

import pytest
import torch

from drivers.contract.context import DETECTORS, ColumnClass, Context, Specimen
from models.alignment import align, find_alignment
from models.templates import SOURCES_ANGSTROM, find_templates, load_table
from models.zernike import ORDERS

WSE2 = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=DETECTORS["MAADF"])


def make_columns(rng, *, depth=1.0, gain=1.0, vacancies=60, dopants=20, whole=1000, noise=0.008, source=12):
    """Moments and sublattices of a frame whose columns are the templates' but for depth, gain and noise."""
    templates = find_templates(WSE2)
    deviation = torch.zeros(2 * whole + vacancies + dopants, len(ORDERS), dtype=torch.float64)
    is_metal = torch.arange(len(deviation)) >= whole + vacancies
    deviation[:vacancies] = depth * templates.first[source, 0]
    deviation[len(deviation) - dopants :] = depth * templates.first[source, 1]
    moments = templates.whole[source][is_metal.long()] + deviation
    moments = moments + noise * torch.randn(moments.shape, generator=rng, dtype=torch.float64)
    return (moments / gain).float(), is_metal


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(5)


def mean_depth(aligned, templates):
    """How deep columns lie along the chalcogen's axis, 1 for the expected single vacancy."""
    common = templates.common
    return float(((aligned.double() - templates.whole[common, 0]) @ templates.axes[common, 0]).mean())


@pytest.mark.parametrize("depth", [0.6, 1.0, 1.3])
@pytest.mark.parametrize("gain", [0.8, 1.25])
def test_depth_and_gain_of_a_frame_are_found_and_taken_out(rng, depth, gain):
    templates = find_templates(WSE2)
    moments, is_metal = make_columns(rng, depth=depth, gain=gain)
    alignment = find_alignment(moments, is_metal, templates, is_doped=True)
    assert alignment.depth == pytest.approx(depth, rel=0.05)
    assert alignment.gain == pytest.approx(gain, rel=0.02)
    aligned = alignment.apply(moments, is_metal, templates)
    assert mean_depth(aligned[:60], templates) == pytest.approx(1.0, abs=0.06)
    assert mean_depth(aligned[60:1060], templates) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("log_depth", [-0.045, 0.045])
def test_a_depth_half_way_between_those_that_are_tried_is_found(log_depth):
    """The nearest of those that are tried are 0.015 off."""
    off = []
    for seed in range(6):
        rng = torch.Generator().manual_seed(seed)
        moments, is_metal = make_columns(
            rng, depth=math.exp(log_depth), vacancies=200, dopants=200, noise=0.015
        )
        found = find_alignment(moments, is_metal, find_templates(WSE2), is_doped=True).depth
        off.append(math.log(found) - log_depth)
    assert math.sqrt(sum(one**2 for one in off) / len(off)) < 0.011


def test_a_frame_without_defects_keeps_the_expected_depth(rng):
    moments, is_metal = make_columns(rng, vacancies=0, dopants=0)
    assert find_alignment(moments, is_metal, find_templates(WSE2), is_doped=True).depth == 1.0


def test_a_sharper_source_is_recognised_and_its_defects_are_brought_to_the_common_one(rng):
    templates = find_templates(WSE2)
    moments, is_metal = make_columns(rng, source=3)
    alignment = find_alignment(moments, is_metal, templates, is_doped=True)
    assert abs(alignment.source - 3) <= 1
    vacancies = alignment.apply(moments, is_metal, templates)[:60].double().mean(0)
    expected = templates.whole[templates.common] + templates.first[templates.common]
    assert torch.allclose(vacancies, expected[0], atol=0.012)
    dopants = alignment.apply(moments, is_metal, templates)[-20:].double().mean(0)
    assert torch.allclose(dopants, expected[1], atol=0.012)


def test_the_more_the_defects_say_of_their_depth_the_less_is_open(rng):
    """Without defects it is what other frames stray by."""
    doubts = []
    for vacancies in (0, 10, 200):
        moments, is_metal = make_columns(rng, vacancies=vacancies, dopants=0)
        doubts.append(find_alignment(moments, is_metal, find_templates(WSE2), is_doped=False).doubt)
    assert doubts == sorted(doubts, reverse=True)
    assert 0.03 < doubts[0] < 0.1
    assert doubts[2] < 0.4 * doubts[0]


@pytest.mark.parametrize("side", [False, True], ids=["chalcogen", "metal"])
def test_a_sublattice_without_columns_is_no_obstacle(rng, side):
    moments, is_metal = make_columns(rng)
    chosen = is_metal == side
    alignment = find_alignment(moments[chosen], is_metal[chosen], find_templates(WSE2), is_doped=True)
    assert alignment.centre.isfinite().all()
    assert alignment.gain == pytest.approx(1.0, rel=0.05)


def test_a_frame_without_columns_stays_at_what_the_context_lets_expect():
    nothing = torch.zeros(0, len(ORDERS))
    alignment = find_alignment(nothing, torch.zeros(0, dtype=torch.bool), find_templates(WSE2), is_doped=True)
    assert (alignment.gain, alignment.depth) == (1.0, 1.0)


def test_dimmer_metal_columns_of_an_undoped_crystal_say_nothing_of_the_depth(rng):
    moments, is_metal = make_columns(rng, depth=0.6, vacancies=0)
    assert find_alignment(moments, is_metal, find_templates(WSE2), is_doped=False).depth == 1.0


def test_the_shipped_table_holds_finite_moments_of_every_context_and_tells_the_classes_apart():
    moments, scatter = load_table()
    assert moments.shape[1:] == (len(SOURCES_ANGSTROM), len(ColumnClass), len(ORDERS))
    assert moments.isfinite().all()
    assert (torch.linalg.eigvalsh(scatter) > 0).all()
    assert (moments[:, :, ColumnClass.X2] - moments[:, :, ColumnClass.VAC1]).norm(dim=-1).min() > 0.01


def test_depths_of_undone_frames_may_stray_farther(rng):
    """Few shallow defects are believed sooner in an undone frame than in one as taken."""
    moments, is_metal = make_columns(rng, depth=0.75, vacancies=12, dopants=4)
    templates = find_templates(WSE2)
    as_taken = find_alignment(moments, is_metal, templates, is_doped=True)
    undone = find_alignment(moments, is_metal, templates, is_doped=True, is_undone=True)
    assert abs(undone.depth - 0.75) < 0.06
    assert undone.depth <= as_taken.depth


def test_dopants_of_another_depth_than_was_said_do_not_drag_the_vacancies_along(rng):
    templates = find_templates(WSE2)
    moments, is_metal = make_columns(rng, vacancies=30, dopants=200)
    moments[-200:] += 0.8 * templates.first[templates.common, 1].float()
    found = find_alignment(moments, is_metal, templates, is_doped=True)
    assert found.depth == pytest.approx(1.0, abs=0.05)


def test_few_columns_of_a_sublattice_leave_its_centre_near_what_the_context_expects(rng):
    templates = find_templates(WSE2)
    moments, is_metal = make_columns(rng, dopants=0)
    chosen = torch.cat([(~is_metal).nonzero()[:, 0], is_metal.nonzero()[:1, 0]])
    moments[chosen[-1]] += 0.1
    found = find_alignment(moments[chosen], is_metal[chosen], templates, is_doped=True)
    away = found.centre[1] - templates.whole[found.source, 1] / found.gain
    assert float(away.abs().max()) < 0.05  # one column counts a fifth


@pytest.mark.parametrize("what", ["irregular", "loud"])
def test_what_is_irregular_or_loud_tells_nothing_of_the_depth(rng, what):
    """As columns on rims, dimmed as if by shallow defects, and those that scatter below carbon."""
    templates = find_templates(WSE2)
    moments, is_metal = make_columns(rng, depth=0.8, whole=1500, vacancies=60)
    order = torch.randperm(len(moments), generator=rng)
    moments, is_metal, number = moments[order], is_metal[order], torch.arange(len(moments))
    at = torch.stack([number // 40, number % 40], dim=1).double()
    aside, draws = at[:, 1] < 12, torch.randn(len(moments), 1, generator=rng)
    shallow = 0.55 * (draws > 0.5) if what == "irregular" else 0.3 * draws
    spoilt = moments + aside[:, None] * shallow * templates.first[templates.common, 0].float()
    regular = ~aside if what == "irregular" else torch.ones_like(aside)
    found = align(spoilt, is_metal, regular, at, templates)
    assert found.depth == pytest.approx(0.8, rel=0.05)
    assert mean_depth(found.moments[~aside & ~is_metal], templates) == pytest.approx(0.04, abs=0.02)


def test_common_columns_are_placed_as_well_as_the_mean_of_all_whole_ones():
    """Twice as well as by the densest half, which they are found by at first."""
    templates, off = find_templates(WSE2), []
    axis = templates.axes[templates.common, 0]
    for seed in range(25):
        rng = torch.Generator().manual_seed(seed)
        moments, is_metal = make_columns(rng, whole=120, vacancies=6, dopants=3, noise=0.01)
        found = find_alignment(moments, is_metal, templates, is_doped=True)
        off.append(float((found.centre[0].double() - templates.whole[templates.common, 0]) @ axis))
    scatter = 0.01 * float(axis.norm())
    assert float(torch.tensor(off).square().mean().sqrt()) < 2 * scatter / 120**0.5
