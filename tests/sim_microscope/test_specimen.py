import numpy as np
import pytest

from drivers.contract.context import ColumnClass, Specimen
from drivers.contract.errors import InputError
from sim_microscope.crystal import STATES, DefectConcentrations, build_crystal
from sim_microscope.specimen import EndlessCrystal, uniform

SPECIMEN = Specimen(host="WSe2", dopant="Ti")


def make(seed=1, amounts=(0.05, 0.01, 0.04), rotation_deg=17.0):
    return EndlessCrystal(SPECIMEN, rotation_deg, DefectConcentrations(*amounts), seed)


def box(*edges):
    return np.array(edges[:2], float), np.array(edges[2:], float)


def test_two_regions_agree_on_every_column_that_both_hold():
    crystal = make()
    first, second = crystal.region(*box(-30, -40, 60, 50)), crystal.region(*box(-10, 0, 90, 110))
    common, i, j = np.intersect1d(first.sites, second.sites, return_indices=True)
    assert len(common) > 300
    np.testing.assert_array_equal(first.crystal.states[i], second.crystal.states[j])
    np.testing.assert_allclose(first.crystal.positions[i], second.crystal.positions[j], atol=1e-9)


def test_its_lattice_is_that_of_a_built_crystal():
    perfect = make(amounts=(0, 0, 0)).region(*box(-25, -25, 25, 25)).crystal
    built = build_crystal(SPECIMEN, (200, 200), rotation_deg=17.0)
    # A metal column lies at the built crystal's middle, and one at the endless one's origin.
    moved = built.positions - 100
    for position, is_metal in zip(perfect.positions, perfect.is_metal_site, strict=True):
        distance = np.linalg.norm(moved - position, axis=1)
        assert distance.min() < 1e-6
        assert built.is_metal_site[distance.argmin()] == is_metal


def test_defects_come_in_the_fractions_that_were_asked_for():
    crystal = make().region(*box(0, 0, 500, 500)).crystal
    metal, classes = crystal.is_metal_site, crystal.classes
    assert np.mean(classes[metal] == ColumnClass.DOPANT) == pytest.approx(0.04, abs=0.004)
    assert np.mean(classes[~metal] == ColumnClass.VAC1) == pytest.approx(0.05, abs=0.004)
    assert np.mean(classes[~metal] == ColumnClass.VAC2) == pytest.approx(0.01, abs=0.002)
    single = crystal.states[classes == ColumnClass.VAC1]
    assert np.mean(single == STATES.index("X1top")) == pytest.approx(0.5, abs=0.05)


def test_seeds_give_different_specimens_and_the_same_seed_the_same():
    states = [make(seed).region(*box(0, 0, 100, 100)).crystal.states for seed in (1, 1, 2)]
    np.testing.assert_array_equal(states[0], states[1])
    assert (states[0] != states[2]).mean() > 0.05


def test_a_changed_site_stays_changed_wherever_it_is_seen_from():
    crystal = make()
    region = crystal.region(*box(0, 0, 40, 40))
    chosen = np.flatnonzero(region.crystal.states == STATES.index("X2"))[:5]
    crystal.change(region.sites[chosen], np.full(5, STATES.index("empty"), np.uint8))
    again = crystal.region(*box(-50, -50, 60, 60))
    for site in region.sites[chosen]:
        assert STATES[again.crystal.states[again.sites == site][0]] == "empty"
    _, i, j = np.intersect1d(region.sites, again.sites, return_indices=True)
    assert np.sum(region.crystal.states[i] != again.crystal.states[j]) == 5


def test_neighbouring_numbers_draw_independently():
    draw = uniform(np.arange(100_000), 7)
    assert draw.min() >= 0
    assert draw.max() < 1
    assert draw.mean() == pytest.approx(0.5, abs=0.005)
    assert abs(np.corrcoef(draw[:-1], draw[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(draw, uniform(np.arange(100_000), 8))[0, 1]) < 0.01


def test_a_dopant_fraction_needs_a_dopant_and_the_specimen_an_end():
    with pytest.raises(InputError, match="needs a specimen with a dopant"):
        EndlessCrystal(Specimen(host="WSe2"), 0.0, DefectConcentrations(dopant=0.1), 0)
    with pytest.raises(InputError, match="left the specimen"):
        make().region(*box(1e9, 1e9, 1e9 + 10, 1e9 + 10))
