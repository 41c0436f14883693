from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from drivers.contract.errors import InputError
from models.columns import filter_columns, find_maxima
from models.completion import complete_region
from models.frames import standardise
from models.honeycomb import fit_lattice
from models.indexing import index_by_fringes
from models.lattice import Lattice, on_no_lattice
from models.reading import read_columns
from models.scale import lattice_constant_px, lattice_vectors

SHAPE = (256, 256)


def fit(image: np.ndarray) -> Lattice:
    frame = standardise(image)
    vectors = lattice_vectors(frame)
    scale = lattice_constant_px(vectors)
    filtered = filter_columns(frame, scale)
    return fit_lattice(frame, filtered, find_maxima(filtered, scale), vectors)


def match(lattice: Lattice, truth) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each true column to the nearest site, and of each site to the nearest true column [px]."""
    sites = lattice.positions.numpy()
    return cKDTree(sites).query(truth.positions)[0], cKDTree(truth.positions).query(sites)[0]


@pytest.mark.parametrize("lattice_px", [6.0, 8.5, 12.0, 24.0, 40.0])
def test_every_column_is_found_to_sub_pixel_and_nothing_else(make_honeycomb, draw, rng, lattice_px):
    truth = make_honeycomb(SHAPE, lattice_px=lattice_px)
    image = draw(truth, SHAPE, sigma_px=0.13 * lattice_px) + rng.normal(0, 0.05, SHAPE)
    missed, invented = (
        match(fit(image), truth.inside(SHAPE, 0.35 * lattice_px))[0],
        match(fit(image), truth)[1],
    )
    assert missed.max() < 0.5
    assert np.sqrt(np.mean(missed**2)) < 0.12
    assert invented.max() < 0.1 * lattice_px


def test_sublattices_are_kept_apart(make_honeycomb, draw):
    truth = make_honeycomb(SHAPE, lattice_px=10.0)
    lattice = fit(draw(truth, SHAPE, sigma_px=1.4))
    _, nearest = cKDTree(truth.positions).query(lattice.positions.numpy())
    same = truth.sublattice[nearest] == lattice.sublattice.numpy()
    assert same.all() or not same.any()


@pytest.mark.parametrize("factor", [0.0, 0.4], ids=["gone", "dim"])
def test_vacancies_are_sites(make_honeycomb, draw, rng, factor):
    truth = make_honeycomb(SHAPE, lattice_px=9.0)
    sites = rng.choice(len(truth.height), len(truth.height) // 20, replace=False)
    image = draw(truth.dimmed(sites, factor), SHAPE, sigma_px=1.3) + rng.normal(0, 0.1, SHAPE)
    lattice = fit(image)
    missed, invented = match(lattice, truth.inside(SHAPE, 9.0))[0], match(lattice, truth)[1]
    assert np.mean(missed < 2) > 0.999
    assert (invented < 2).all()


@pytest.mark.parametrize(
    "affine",
    [((1.1, 0.12), (0.0, 0.92)), ((0.95, 0.0), (0.15, 1.05))],
    ids=["stretched and sheared", "sheared"],
)
def test_a_sheared_scan_is_followed(make_honeycomb, draw, rng, affine):
    truth = make_honeycomb(SHAPE, lattice_px=9.0, affine=affine)
    lattice = fit(draw(truth, SHAPE, sigma_px=1.3) + rng.normal(0, 0.1, SHAPE))
    missed, invented = match(lattice, truth.inside(SHAPE, 3.0))[0], match(lattice, truth)[1]
    assert (missed < 1).all()
    assert (invented < 1).all()
    assert lattice.lattice_px == pytest.approx(9 * np.sqrt(np.linalg.det(affine)), rel=2e-3)


def test_drift_may_add_up_to_many_lattice_constants(make_honeycomb, draw, rng):
    shape = (400, 300)
    wide = make_honeycomb((500, 500), lattice_px=10.0)
    row, column = wide.positions.T
    moved = np.stack([row + 1.5 * np.sin(column / 50), column - 8 + 1.4e-4 * row**2], axis=1)
    truth = type(wide)(moved, wide.sublattice, wide.height)
    lattice = fit(draw(truth, shape, sigma_px=1.4) + rng.normal(0, 0.1, shape))
    missed, invented = match(lattice, truth.inside(shape, 3.5))[0], match(lattice, truth)[1]
    assert (missed < 1.5).all()
    assert (invented < 1.5).all()
    assert len(lattice.vectors) == 1


def test_vacuum_and_holes_are_not_filled(make_honeycomb, draw, rng):
    truth = make_honeycomb(SHAPE, lattice_px=9.0)
    row, column = truth.positions.T
    kept = truth.select((column < 150) & (np.hypot(row - 80, column - 70) > 22))
    lattice = fit(draw(kept, SHAPE, sigma_px=1.3) + rng.normal(0, 0.1, SHAPE))
    missed, invented = match(lattice, kept.inside(SHAPE, 9.0))[0], match(lattice, kept)[1]
    assert np.mean(missed < 2) > 0.985  # columns with one neighbour, on the rim
    assert np.mean(invented < 2) > 0.995
    sites = lattice.positions.numpy()
    assert (sites[:, 1] < 150 + 5).all()
    assert (np.hypot(sites[:, 0] - 80, sites[:, 1] - 70) > 22 - 5).all()


def test_a_bright_blot_of_contamination_has_no_sites(make_honeycomb, draw, rng):
    truth = make_honeycomb(SHAPE, lattice_px=9.0)
    image = draw(truth, SHAPE, sigma_px=1.3) + rng.normal(0, 0.1, SHAPE)
    row, column = np.indices(SHAPE)
    blot = np.hypot(row - 128, column - 128) < 30
    lattice = fit(np.where(blot, 4 + rng.normal(0, 0.1, SHAPE), image))
    sites = lattice.positions.numpy()
    distance = np.hypot(sites[:, 0] - 128, sites[:, 1] - 128)
    assert (distance > 30 - 7).all()
    assert np.mean(match(lattice, truth.inside(SHAPE, 9.0))[0] < 2) > 0.9


def two_grains(make_honeycomb: Callable, angle_deg: float, shape: tuple[int, int], column: int = 150):
    """Two honeycombs, one turned, that meet on a slanted line; columns of the second keep their distance."""
    first = make_honeycomb(shape, lattice_px=9.0, angle_deg=5.0)
    second = make_honeycomb(shape, lattice_px=9.0, angle_deg=5.0 + angle_deg, origin=(1.0, 2.0))

    def side(positions: np.ndarray) -> np.ndarray:
        return positions[:, 1] - column + 0.3 * (positions[:, 0] - 128)

    first, second = first.select(side(first.positions) < 0), second.select(side(second.positions) > 0)
    second = second.select(cKDTree(first.positions).query(second.positions)[0] > 3.6)
    columns = zip(vars(first).values(), vars(second).values(), strict=True)
    return type(first)(*(np.concatenate(pair) for pair in columns)), side


@pytest.mark.parametrize("angle_deg", [6.0, 10.0, 22.0, 30.0])
def test_each_of_two_grains_is_indexed_and_their_boundary_marked(make_honeycomb, draw, rng, angle_deg):
    shape = (384, 384)
    truth, side = two_grains(make_honeycomb, angle_deg, shape)
    lattice = fit(draw(truth, shape, sigma_px=1.3) + rng.normal(0, 0.1, shape))
    missed, invented = match(lattice, truth.inside(shape, 3.5))[0], match(lattice, truth)[1]
    assert np.mean(missed < 2) > 0.997
    assert np.mean(invented < 2) > 0.999
    sites, grain = lattice.positions.numpy(), lattice.grain.numpy()
    assert len(lattice.vectors) == 2
    clear = np.abs(side(sites)) > 15
    assert np.mean(grain[clear] == (side(sites)[clear] < 0)) > 0.99
    boundary = lattice.boundary.numpy()
    assert np.mean(np.abs(side(sites[boundary])) < 25) > 0.9
    assert boundary.sum() > 80


@pytest.mark.parametrize("angle_deg", [1.0, 2.0, 3.0, 4.0, 5.0])
def test_beside_a_low_angle_boundary_no_row_is_lost(make_honeycomb, draw, rng, angle_deg):
    """There the lattice of one grain leads into the other here and there, at other indices each time."""
    shape = (384, 384)
    truth, side = two_grains(make_honeycomb, angle_deg, shape)
    lattice = fit(draw(truth, shape, sigma_px=1.3) + rng.normal(0, 0.1, shape))
    missed, invented = match(lattice, truth.inside(shape, 3.5))[0], match(lattice, truth)[1]
    assert np.mean(missed < 2) > 0.997
    assert np.mean(invented < 2) > 0.998
    sites, boundary = lattice.positions.numpy(), lattice.boundary.numpy()
    assert np.mean(np.abs(side(sites[boundary])) < 30) > 0.9
    if angle_deg > 2:
        of = [
            lattice.grain.numpy()[half & (np.abs(side(sites)) > 20)]
            for half in (side(sites) < 0, side(sites) > 0)
        ]
        first, second = (np.bincount(grain).argmax() for grain in of)
        assert first != second
        assert min(np.mean(of[0] == first), np.mean(of[1] == second)) > 0.97


@pytest.mark.parametrize("angle_deg", [14.0, 17.0, 21.8, 27.8])
def test_two_grains_may_share_a_frame_alike(make_honeycomb, draw, rng, angle_deg):
    """Then the autocorrelation of the whole is highest on a cell that both have in common by chance."""
    shape = (384, 384)
    truth, _ = two_grains(make_honeycomb, angle_deg, shape, column=211)
    lattice = fit(draw(truth, shape, sigma_px=1.3) + rng.normal(0, 0.1, shape))
    missed, invented = match(lattice, truth.inside(shape, 3.5))[0], match(lattice, truth)[1]
    assert np.mean(missed < 2) > 0.985
    assert np.mean(invented < 2) > 0.999
    assert len(lattice.vectors) == 2
    assert lattice.lattice_px == pytest.approx(9.0, rel=0.01)


def test_a_mirror_twin_of_one_site_lattice_is_two_grains(make_honeycomb, draw, rng):
    lattice_px = 14.0
    truth = make_honeycomb(SHAPE, lattice_px=lattice_px, angle_deg=0.0, origin=(0.0, 0.0))
    above = truth.positions[:, 1] < 128
    mirror = truth.positions * [1, -1] + [0, 256]
    positions = np.concatenate([truth.positions[above], mirror[mirror[:, 1] > 128.5 + lattice_px / 8]])
    sublattice = np.concatenate(
        [truth.sublattice[above], truth.sublattice[mirror[:, 1] > 128.5 + lattice_px / 8]]
    )
    twin = type(truth)(positions, sublattice, np.where(sublattice == 0, 1.0, 0.7))
    lattice = fit(draw(twin, SHAPE, sigma_px=1.9) + rng.normal(0, 0.05, SHAPE))
    missed, invented = match(lattice, twin.inside(SHAPE, 5.0))[0], match(lattice, twin)[1]
    assert np.mean(missed < 2) > 0.98
    assert (invented < 2).all()
    assert len(lattice.vectors) == 2
    assert lattice.boundary.any()


@pytest.mark.parametrize(("noise", "most_px"), [(0.05, 0.1), (0.45, 0.65), (0.6, 0.75)])
def test_neighbours_have_a_say_in_where_a_column_of_a_noisy_frame_lies(
    make_honeycomb, draw, rng, noise, most_px
):
    truth = make_honeycomb(SHAPE, lattice_px=14.0)
    lattice = fit(draw(truth, SHAPE, sigma_px=2.4) + rng.normal(0, noise, SHAPE))
    distance = match(lattice, truth)[1]
    assert np.sqrt(np.square(distance).mean()) < most_px
    assert (distance < 2).all()


@pytest.mark.parametrize("jitter_px", [0.25, 0.5])
def test_rows_that_jitter_carry_their_columns_along(make_honeycomb, draw, rng, jitter_px):
    truth = make_honeycomb(SHAPE, lattice_px=10.0)
    shift = rng.normal(0, jitter_px, SHAPE[0])
    rows, columns = np.indices(SHAPE)
    clear = draw(truth, SHAPE, sigma_px=1.5)
    image = map_coordinates(clear, [rows, columns - shift[:, None]], order=3, mode="nearest")
    weight = np.exp(-0.5 * ((np.arange(SHAPE[0]) - truth.positions[:, :1]) / 1.5) ** 2)
    aside = (weight @ shift) / weight.sum(1)
    moved = type(truth)(truth.positions + np.outer(aside, [0, 1]), truth.sublattice, truth.height)
    distance = match(fit(image + rng.normal(0, 0.02, SHAPE)), moved.inside(SHAPE, 3.0))[0]
    assert np.sqrt(np.square(distance[distance < 3]).mean()) < 0.3 * jitter_px


def test_a_clear_frame_that_ripples_keeps_its_maxima(make_honeycomb, draw, rng):
    truth = make_honeycomb(SHAPE, lattice_px=12.0)
    ripple = 1.5 * np.sin(2 * np.pi * truth.positions[:, 1] / 55)
    bent = type(truth)(truth.positions + np.outer(ripple, [1, 0]), truth.sublattice, truth.height)
    lattice = fit(draw(bent, SHAPE, sigma_px=1.8) + rng.normal(0, 0.05, SHAPE))
    distance = match(lattice, bent)[1]
    assert np.sqrt(np.square(distance).mean()) < 0.2


@pytest.mark.parametrize("has_hole", [False, True], ids=["whole", "with a hole"])
def test_where_no_column_can_be_seen_the_fringes_lead(make_honeycomb, draw, rng, has_hole):
    truth = make_honeycomb(SHAPE, lattice_px=14.0)
    hole = np.linalg.norm(truth.positions - 90, axis=1) < 45
    there = truth.select(~hole) if has_hole else truth
    lattice = fit(draw(there, SHAPE, sigma_px=4.2) + rng.normal(0, 0.6, SHAPE))
    assert len(lattice.vectors) == 1
    missed, invented = match(lattice, there.inside(SHAPE, 10.0))[0], match(lattice, truth)[1]
    assert np.mean(missed < 2) > (0.9 if has_hole else 0.99)
    assert (invented < 3).all()
    if has_hole:
        deep = np.linalg.norm(lattice.positions.numpy() - 90, axis=1) < 25
        assert not deep.any()


@pytest.mark.parametrize("lattice_px", [13.7, 14.0, 14.3])
def test_fringes_give_the_lattice_constant_too(make_honeycomb, draw, rng, lattice_px):
    """Where the autocorrelation alone is right to 1 % at best."""
    truth = make_honeycomb(SHAPE, lattice_px=lattice_px)
    lattice = fit(draw(truth, SHAPE, sigma_px=4.2) + rng.normal(0, 0.6, SHAPE))
    assert lattice.lattice_px == pytest.approx(lattice_px, rel=2e-3)


def test_fringes_need_no_maxima_that_span_a_lattice(make_honeycomb, draw, rng):
    """Where nearly all of them are noise, those that are left may lie on one line."""
    frame = standardise(draw(make_honeycomb(SHAPE, lattice_px=8.0), SHAPE, sigma_px=1.2))
    vectors = lattice_vectors(frame)
    filtered = filter_columns(frame, 8.0)
    maxima = find_maxima(filtered, 8.0)
    led = index_by_fringes(maxima.positions, vectors, SHAPE, frame)
    on_one_line = led.index[:, 0] == led.index[:, 0].mode().values
    left = replace(led, member=led.member[on_one_line], index=led.index[on_one_line])
    patch = complete_region(left, maxima, filtered)
    assert lattice_constant_px(patch.lattice.vectors[0]) == pytest.approx(8.0, rel=0.02)


@pytest.mark.parametrize(("heights", "is_one"), [((1.0, 0.8), True), ((0.8, 1.0), False)], ids=["one", "two"])
def test_grains_whose_sublattices_change_places_are_two_though_their_hexagons_go_on(
    make_honeycomb, draw, rng, heights, is_one
):
    there = make_honeycomb(SHAPE, lattice_px=10.0)
    left = there.positions[:, 1] < 120
    beyond = np.where(there.sublattice == 0, *heights)
    truth = type(there)(there.positions, there.sublattice, np.where(left, there.height, beyond))
    lattice = fit(draw(truth, SHAPE, sigma_px=1.4) + rng.normal(0, 0.1, SHAPE))
    assert np.mean(match(lattice, truth.inside(SHAPE, 5.0))[0] < 2) > 0.99
    sites, grain = lattice.positions.numpy(), lattice.grain.numpy()
    if is_one:
        assert len(lattice.vectors) == 1
        assert not lattice.boundary.any()
    else:
        assert len(lattice.vectors) == 2
        assert ((grain == 1) == (sites[:, 1] < 120))[np.abs(sites[:, 1] - 120) > 12].all()
        assert (np.abs(sites[lattice.boundary.numpy()][:, 1] - 120) < 25).all()


@pytest.mark.parametrize("radius_px", [26, 40, 60])
def test_an_island_whose_sublattices_change_places_is_a_grain_and_dim_columns_are_none(
    make_honeycomb, draw, rng, radius_px
):
    """Of 60 columns and more."""
    truth = make_honeycomb(SHAPE, lattice_px=9.0)
    apart = np.hypot(*(truth.positions - 128).T)
    height = np.where(truth.sublattice == 0, 1.0, 0.6)
    exchanged = np.where(apart < radius_px, 1.6 - height, height)
    lattice = fit(draw(type(truth)(truth.positions, truth.sublattice, exchanged), SHAPE, sigma_px=1.3))
    sites, grain = lattice.positions.numpy(), lattice.grain.numpy()
    away = np.hypot(*(sites - 128).T)
    assert len(lattice.vectors) == 2
    assert ((grain == 1) == (away < radius_px))[np.abs(away - radius_px) > 8].all()

    dim = np.where(rng.random(len(height)) < 0.2, 0.5 * height, height)
    blot = np.where(apart < radius_px, 0.7 * dim, dim)
    one = fit(draw(type(truth)(truth.positions, truth.sublattice, blot), SHAPE, sigma_px=1.3))
    assert len(one.vectors) == 1


@pytest.mark.parametrize("amplitude_px", [2.0, 5.0, 7.0])
def test_a_drift_that_comes_and_goes_makes_no_second_grain(make_honeycomb, draw, rng, amplitude_px):
    shape = (512, 384)
    truth = make_honeycomb(shape, lattice_px=16.0)
    aside = amplitude_px * np.sin(2 * np.pi * truth.positions[:, :1] / shape[0])
    bent = type(truth)(truth.positions + aside * [0.5, 1.0], truth.sublattice, truth.height)
    bent = bent.dimmed(rng.choice(len(bent.height), len(bent.height) // 20, replace=False), 0.3)
    lattice = fit(draw(bent, shape, sigma_px=2.2) + rng.normal(0, 0.1, shape))
    assert len(lattice.vectors) == 1
    assert not lattice.boundary.any()
    missed, invented = match(lattice, bent.inside(shape, 8.0))[0], match(lattice, bent)[1]
    assert np.mean(missed < 3) > 0.995
    assert (invented < 3).all()


@pytest.mark.parametrize("smooth", [1, 2, 3])
def test_smooth_noise_is_no_honeycomb(rng, smooth):
    with pytest.raises(InputError, match="expected"):
        fit(gaussian_filter(rng.normal(size=SHAPE), smooth))


def test_scattered_points_are_no_honeycomb(rng, make_honeycomb, draw):
    points = make_honeycomb(SHAPE, lattice_px=9.0)
    jitter = points.positions + rng.normal(0, 3.0, points.positions.shape)
    image = draw(type(points)(jitter, points.sublattice, points.height), SHAPE, sigma_px=1.3)
    with pytest.raises(InputError, match="expected"):
        fit(image)


def test_the_fit_is_the_same_on_every_call(make_honeycomb, draw, rng):
    image = draw(make_honeycomb(SHAPE, lattice_px=9.0), SHAPE, sigma_px=1.3) + rng.normal(0, 0.3, SHAPE)
    first, second = fit(image), fit(image)
    assert torch.equal(first.positions, second.positions)
    assert torch.equal(first.sublattice, second.sublattice)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_faint_lattice_holds_together_and_vacuum_stays_empty(make_honeycomb, draw, seed):
    """Tiles that are too noisy by themselves join what they are in phase with."""
    shape, rng = (320, 320), np.random.default_rng(seed)
    truth, middle = make_honeycomb(shape, lattice_px=10.0), np.array([100.0, 200.0])
    hole = np.linalg.norm(truth.positions - middle, axis=1) < 40
    clear = draw(truth.dimmed(np.flatnonzero(hole), 0.0), shape, sigma_px=1.4)
    lattice = fit(clear + rng.normal(0, 0.8, shape))
    missed = match(lattice, truth)[0]
    there = ~hole & ((truth.positions > 5) & (truth.positions < 315)).all(axis=1)
    assert np.mean(missed[there] < 3) > 0.93
    assert len(lattice.vectors) == 1
    within = np.linalg.norm(lattice.positions.numpy() - middle, axis=1)
    assert (within > 26).all()
    # At such noise one maximum in a hole of 130 columns may lie on the lattice.
    assert (within < 30).sum() <= 1
    _, nearest = cKDTree(truth.positions).query(lattice.positions.numpy())
    same = (truth.sublattice[nearest] == lattice.sublattice.numpy()).mean()
    assert max(same, 1 - same) > 0.99


def test_a_grain_that_was_left_out_is_told_and_vacuum_is_not(make_honeycomb, draw, rng):
    shape = (384, 384)
    truth, side = two_grains(make_honeycomb, 22.0, shape)
    image = draw(truth, shape, sigma_px=1.3) + rng.normal(0, 0.1, shape)
    frame = standardise(image)
    vectors = lattice_vectors(frame)
    filtered = filter_columns(frame, lattice_constant_px(vectors))
    maxima = find_maxima(filtered, lattice_constant_px(vectors))
    both = fit_lattice(frame, filtered, maxima, vectors)
    assert len(on_no_lattice(both, maxima)) == 0
    without = both.kept(both.grain == 0)
    left_out = on_no_lattice(without, maxima).numpy()
    assert len(left_out) > 0.35 * int((both.grain == 1).sum())
    assert len({*np.sign(side(left_out[np.abs(side(left_out)) > 9]))}) == 1

    row, column = np.indices(shape)
    image = np.where(side(np.stack([row, column], axis=-1).reshape(-1, 2)).reshape(shape) < 0, image, 0)
    assert not len(read_columns(image + rng.normal(0, 0.1, shape)).unread)


@pytest.mark.parametrize("radius_px", [26, 40, 60])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_cluster_of_dopants_that_the_chalcogens_outshine_is_no_grain(
    make_honeycomb, draw, rng, radius_px, share
):
    truth = make_honeycomb(SHAPE, lattice_px=9.0)
    apart = np.hypot(*(truth.positions - 128).T)
    is_metal = truth.sublattice == 0
    is_dopant = is_metal & (apart < radius_px) & (rng.random(len(apart)) < share)
    height = np.where(is_dopant, 0.2, np.where(is_metal, 1.0, 0.8))
    lattice = fit(draw(type(truth)(truth.positions, truth.sublattice, height), SHAPE, sigma_px=1.3))
    assert len(lattice.vectors) == 1
    assert not lattice.boundary.any()


@pytest.mark.parametrize("is_exchanged", [False, True], ids=["no island", "island"])
def test_dopants_that_outshine_all_around_make_no_grain_and_hide_none(
    make_honeycomb, draw, rng, is_exchanged
):
    """The sublattices are nearly as bright as each other: of the mean around a bright dopant it decides."""
    truth = make_honeycomb(SHAPE, lattice_px=9.0)
    apart = np.hypot(*(truth.positions - 128).T)
    height = np.where((truth.sublattice == 0) ^ (is_exchanged & (apart < 50)), 1.0, 1.15)
    lit = rng.choice(np.flatnonzero((truth.sublattice == 0) & (apart < 160)), 15, replace=False)
    height[lit] = 4.0
    beside = np.hypot(*(truth.positions - truth.positions[lit[0]]).T)
    height[np.argsort(np.where(truth.sublattice == 0, beside, np.inf))[:4]] = 4.0  # a cluster of four
    lattice = fit(draw(type(truth)(truth.positions, truth.sublattice, height), SHAPE, sigma_px=1.3))
    assert len(lattice.vectors) == 1 + is_exchanged
    if is_exchanged:
        away = np.hypot(*(lattice.positions.numpy() - 128).T)
        assert ((lattice.grain.numpy() == 1) == (away < 50))[np.abs(away - 50) > 8].all()
    else:
        assert not lattice.boundary.any()
