import numpy as np
import pytest

from agent.sites import count_sites


def shuffled(specimen, rng, distortion=None, noise=0.1, bend=0.3):
    order = rng.permutation(len(specimen.position))
    position = specimen.position[order] @ (np.eye(2) if distortion is None else distortion)
    position = position + rng.normal(0, noise, position.shape) + bend * np.sin(position / 20)
    return position, specimen.is_metal[order], specimen.cell[order]


@pytest.mark.parametrize("turn_deg", [0.0, 29.9, 60.0, 100.0, 133.0, 179.0, -120.0, -59.0])
def test_every_column_gets_its_cell_up_to_the_choice_of_the_origin(make_specimen, turn_deg):
    rng = np.random.default_rng(1)
    specimen = make_specimen(0, 100.0, turn_deg=turn_deg)
    distortion = np.eye(2) + rng.uniform(-0.05, 0.05, (2, 2))
    position, is_metal, cell = shuffled(specimen, rng, distortion)
    sites = count_sites(position, is_metal, toward_deg=turn_deg)
    assert sites is not None
    assert sorted(sites.member) == list(range(len(position)))
    np.testing.assert_array_equal(sites.is_metal, is_metal[sites.member])
    assert len(np.unique(cell[sites.member] - sites.cell, axis=0)) == 1
    np.testing.assert_allclose(sites.basis, specimen.basis @ distortion, rtol=0, atol=0.05)


def test_missing_columns_and_strangers_do_no_harm(make_specimen):
    rng = np.random.default_rng(2)
    specimen = make_specimen(0, 80.0)
    position, is_metal, cell = shuffled(specimen, rng)
    keep = rng.random(len(position)) > 0.1
    strangers = rng.uniform(-40, 40, (20, 2))
    sites = count_sites(
        np.concatenate([position[keep], strangers]), np.concatenate([is_metal[keep], np.zeros(20, bool)]),
        toward_deg=17.0,
    )  # fmt: skip
    assert sites is not None
    own = sites.member < keep.sum()
    assert own.sum() > 0.95 * keep.sum()
    offsets, count = np.unique(cell[keep][sites.member[own]] - sites.cell[own], axis=0, return_counts=True)
    assert count.max() / count.sum() > 0.99
    assert len(np.unique(np.column_stack([sites.cell, sites.is_metal]), axis=0)) == len(sites.cell)
    assert len(offsets) <= 3


def test_noise_and_a_handful_are_no_lattice():
    rng = np.random.default_rng(3)
    assert count_sites(rng.uniform(0, 50, (400, 2)), rng.random(400) < 0.5) is None
    assert count_sites(rng.uniform(0, 50, (8, 2)), np.ones(8, bool)) is None
    assert count_sites(np.zeros((0, 2)), np.zeros(0, bool)) is None


def test_two_crystals_that_touch_out_of_step_are_refused(make_specimen):
    specimen = make_specimen(0, 80.0, turn_deg=0.0)
    slipped = specimen.position.copy()
    beyond = slipped[:, 0] > 0
    slipped[beyond, 1] += 1.6 * slipped[beyond, 0] / 40  # from in step to half a cell out along the seam
    slipped[beyond & (specimen.position[:, 1] > 0)] += (0.0, 1.65)
    sites = count_sites(slipped, specimen.is_metal)
    assert sites is None or len(sites.member) < len(slipped)
