import numpy as np
import pytest
from scipy.spatial import cKDTree

from drivers.contract.context import ColumnClass, Specimen
from drivers.contract.errors import InputError
from drivers.contract.materials import HOSTS
from sim_microscope.crystal import (
    STATES,
    Defect,
    DefectConcentrations,
    GrainBoundary,
    build_crystal,
    build_periodic,
)

WSE2 = Specimen(host="WSe2", dopant="Ti")


@pytest.mark.parametrize("host", HOSTS)
def test_columns_lie_on_a_honeycomb(host):
    crystal = build_crystal(Specimen(host=host), (30.0, 40.0), rotation_deg=17.0)
    a = crystal.host.lattice_constant_angstrom
    tree = cKDTree(crystal.positions)
    middle = tree.query([15.0, 20.0])[1]
    distance, index = tree.query(crystal.positions[middle], k=10)
    np.testing.assert_allclose(distance[1:4], a / np.sqrt(3))
    np.testing.assert_allclose(distance[4:10], a)
    assert not crystal.is_metal_site[index[1:4]].any()
    assert crystal.is_metal_site[index[4:10]].all()


def test_the_density_is_that_of_the_lattice():
    crystal = build_crystal(WSE2, (200.0, 200.0), rng=np.random.default_rng(0))
    assert len(crystal.positions) == pytest.approx(200**2 * 2 / (np.sqrt(3) / 2 * 3.32**2), rel=0.01)


def test_concentrations_are_those_asked_for():
    crystal = build_crystal(
        WSE2,
        (300.0, 300.0),
        concentrations=DefectConcentrations(vac1=0.05, vac2=0.02, dopant=0.1),
        rng=np.random.default_rng(0),
    )
    counts = np.bincount(crystal.classes, minlength=5)
    chalcogens, metals = (~crystal.is_metal_site).sum(), crystal.is_metal_site.sum()
    for kind, sites, fraction in ((1, chalcogens, 0.05), (2, chalcogens, 0.02), (4, metals, 0.1)):
        assert counts[kind] == pytest.approx(sites * fraction, abs=4 * np.sqrt(sites * fraction))
    sides = [np.sum(crystal.states == STATES.index(state)) for state in ("X1top", "X1bottom")]
    assert sides[0] == pytest.approx(sides[1], abs=4 * np.sqrt(sides[0]))


def test_defects_are_placed_where_they_are_listed():
    wanted = [Defect("dopant", 10.0, 10.0), Defect("X1bottom", 20.0, 12.0), Defect("empty", 5.0, 25.0)]
    crystal = build_crystal(WSE2, (30.0, 30.0), defects=wanted)
    for defect in wanted:
        where = np.flatnonzero(crystal.states == STATES.index(defect.state))
        assert len(where) == 1
        offset = crystal.positions[where[0]] - [defect.row_angstrom, defect.column_angstrom]
        assert np.linalg.norm(offset) < 3.32 / np.sqrt(3) + 1e-9


def test_atoms_hold_the_columns_with_the_top_chalcogen_first_in_the_beam():
    crystal = build_crystal(
        WSE2,
        (20.0, 20.0),
        defects=[Defect("X1top", 8.0, 8.0), Defect("empty", 15.0, 15.0), Defect("dopant", 4.0, 12.0)],
    )
    atoms = crystal.atoms()
    symbols = atoms.get_chemical_symbols()
    counts = np.bincount(crystal.classes, minlength=5)
    assert symbols.count("Se") == 2 * counts[ColumnClass.X2] + counts[ColumnClass.VAC1]
    assert symbols.count("W") == counts[ColumnClass.METAL]
    assert symbols.count("Ti") == 1
    heights = atoms.positions[:, 2]
    assert np.ptp(heights) == pytest.approx(3.32)
    assert crystal.atoms_of("X1top")[0][1] < 0 < crystal.atoms_of("X1bottom")[0][1]


def test_strain_moves_columns_by_the_displacement_gradient():
    gradient = np.array([[0.02, 0.01], [-0.01, 0.03]])
    plain = build_crystal(WSE2, (40.0, 40.0), margin_angstrom=5.0)
    strained = build_crystal(WSE2, (40.0, 40.0), strain=gradient, margin_angstrom=5.0)
    expected = plain.positions + (plain.positions - 20.0) @ gradient.T
    inside = np.all((expected > 0) & (expected < 40), axis=1)
    distance, _ = cKDTree(strained.positions).query(expected[inside])
    assert distance.max() < 1e-9


@pytest.mark.parametrize("gradient", [np.diag([-0.2, -0.2]), np.diag([0.2, -0.1]), [[0.0, 0.15], [0.1, 0.0]]])
def test_a_strained_crystal_fills_its_field_and_margin(gradient):
    crystal = build_crystal(WSE2, (30.0, 30.0), strain=np.array(gradient), margin_angstrom=60.0)
    rows, columns = np.meshgrid(np.arange(-58, 89, 4.0), np.arange(-58, 89, 4.0), indexing="ij")
    distance, _ = cKDTree(crystal.positions).query(np.stack([rows.ravel(), columns.ravel()], axis=1))
    assert distance.max() < 3.32 / np.sqrt(3) * 1.25


def test_a_grain_boundary_joins_two_lattices_without_overlap():
    crystal = build_crystal(WSE2, (80.0, 80.0), boundary=GrainBoundary(misorientation_deg=21.0))
    assert set(crystal.grains) == {0, 1}
    assert (crystal.positions[crystal.grains == 1, 1] > 40.0).all()
    nearest = cKDTree(crystal.positions).query(crystal.positions, k=2)[0][:, 1]
    assert nearest.min() > 0.7 * 3.32 / np.sqrt(3)
    for grain, angle in ((0, 0.0), (1, 21.0)):
        alone = build_crystal(WSE2, (80.0, 80.0), rotation_deg=angle)
        distance, _ = cKDTree(alone.positions).query(crystal.positions[crystal.grains == grain])
        assert distance.max() < 1e-9


def test_a_periodic_crystal_repeats_without_a_seam():
    crystal, period = build_periodic(WSE2, (2, 3))
    images = np.concatenate(
        [crystal.positions + np.array([i, j]) * period for i in range(3) for j in range(3)]
    )
    distance, _ = cKDTree(images).query(crystal.positions + period, k=4)
    np.testing.assert_allclose(distance[:, 1:], 3.32 / np.sqrt(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: build_crystal(WSE2, (0.0, 10.0)),
        lambda: build_crystal(WSE2, (10.0, 10.0), concentrations=DefectConcentrations(vac1=0.1)),
        lambda: build_crystal(
            Specimen(host="WSe2"),
            (10.0, 10.0),
            concentrations=DefectConcentrations(dopant=0.1),
            rng=np.random.default_rng(0),
        ),
        lambda: build_crystal(WSE2, (10.0, 10.0), defects=[Defect("empty", 500.0, 500.0)]),
        lambda: build_crystal(WSE2, (10.0, 10.0), strain=np.eye(2)),
        lambda: build_crystal(WSE2, (10.0, 10.0), strain=np.full((2, 2), np.nan)),
        lambda: build_crystal(WSE2, (10.0, 10.0), rotation_deg=np.nan),
        lambda: GrainBoundary(np.inf),
        lambda: DefectConcentrations(vac1=-0.1),
        lambda: DefectConcentrations(vac1=0.8, vac2=0.4),
    ],
    ids=["no field", "no generator", "no dopant", "defect far off", "strain"]
    + ["strain not a number", "rotation not a number", "boundary not finite", "negative", "over one"],
)
def test_impossible_crystals_are_refused(make):
    with pytest.raises(InputError):
        make()
