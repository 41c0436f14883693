import numpy as np
import pytest

from drivers.contract.context import ENERGIES_KEV, HAADF, MAADF
from drivers.contract.errors import MissingKernelError
from drivers.contract.materials import HOSTS, dopants_of, find_host
from sim_microscope.multislice import Multislice, Plane, WaveGrid
from sim_microscope.pairs import (
    ACROSS_ANGSTROM,
    ALONG_ANGSTROM,
    PairIntegral,
    Scatterer,
    Shell,
    all_pair_keys,
    default_pairs,
    pair_kinds,
)
from sim_microscope.scattering import scattering_amplitude

PAIRS = default_pairs()


def test_the_table_holds_every_pair_of_every_doped_host():
    assert set(PAIRS.keys) == set(all_pair_keys(tuple(HOSTS)))
    assert PAIRS.energies_kev == ENERGIES_KEV
    assert PAIRS.card["relative_rms_error"] < 0.005


def test_interference_is_what_multislice_of_a_pair_adds_to_its_columns():
    """The law against full multislice of two atoms, at rest: what is left is a tenth of the term."""
    distance, edges = 1.92, np.array([30.0, 120.0])
    grid = WaveGrid.for_angle((24.0, 24.0), 80, 200.0)
    center = np.full(2, 12.0)
    where = [center + [0.0, side * distance / 2] for side in (-1, 1)]
    rows, columns = ACROSS_ANGSTROM[:9:4], ALONG_ANGSTROM[7:32:3]
    probes = np.array([center + [r, c] for r in rows for c in columns])
    engine = Multislice(grid, 31.0, edges)
    one, two = (
        engine.contrast([Plane((s,), p[None], 0.0)], probes) for s, p in zip("VS", where, strict=True)
    )
    both = engine.contrast([Plane(("V", "S"), np.array(where), 0.0)], probes)
    exact = (both - one - two).reshape(len(rows), len(columns))
    integral = PairIntegral(80, edges)
    waves = [
        integral.wave(Scatterer(scattering_amplitude(s, 80).astype(np.complex64), (0.0,), 0.0), x)
        for s, x in zip("VS", (-distance / 2, distance / 2), strict=True)
    ]
    law = integral.term(*waves)[0][:9:4, 7:32:3]
    assert np.abs(exact).max() > 0.01 * both.max()
    assert np.sqrt(np.mean((law - exact) ** 2)) < 0.15 * np.sqrt(np.mean(exact**2))


@pytest.mark.parametrize("detector", [HAADF, MAADF], ids=lambda d: d.name)
def test_a_pair_of_equals_looks_the_same_from_both_ends(detector):
    (term,) = PAIRS.terms("WSe2", [(Shell.LATTICE, "W", "W")], 80, detector)
    np.testing.assert_allclose(term, term[:, ::-1], atol=0.03 * np.abs(term).max())


def test_interference_matters_near_the_direct_beam():
    kinds = [(Shell.BOND, "W", "X2")]
    sizes = [np.abs(PAIRS.terms("WSe2", kinds, 80, d)).max() for d in (HAADF, MAADF)]
    assert sizes[1] > 5 * sizes[0]


def test_kinds_are_what_two_neighbours_can_be():
    kinds = pair_kinds(find_host("MoS2"), dopants_of("MoS2")[:1])
    assert sum(kind[0] is Shell.BOND for kind in kinds) == 2 * 3
    assert sum(kind[0] is Shell.LATTICE for kind in kinds) == 3 + 6
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    ("host", "kind", "energy"),
    [("WSe2", (Shell.BOND, "Re", "X2"), 80), ("WSe2", (Shell.BOND, "W", "X2"), 120)],
    ids=["pair", "energy"],
)
def test_a_missing_pair_is_named_with_the_command_that_makes_it(host, kind, energy):
    with pytest.raises(MissingKernelError, match="columnist kernels build --host WSe2"):
        PAIRS.terms(host, [kind], energy, HAADF)
