import numpy as np
import pytest

from drivers.contract.context import ENERGIES_KEV, HAADF, MAADF
from drivers.contract.errors import MissingKernelError
from drivers.contract.materials import HOSTS, dopants_of, find_host
from sim_microscope.pairs import (
    Shell,
    all_pair_keys,
    all_site_keys,
    default_pairs,
    pair_kinds,
)

PAIRS = default_pairs()


def test_the_table_holds_every_pair_of_every_doped_host():
    assert set(PAIRS.keys) == set(all_pair_keys(tuple(HOSTS)))
    assert set(PAIRS.site_keys) == set(all_site_keys(tuple(HOSTS)))
    assert PAIRS.energies_kev == ENERGIES_KEV
    assert PAIRS.card["relative_rms_error"] < 0.005


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
    assert sum(kind[0] is Shell.OPPOSITE for kind in kinds) == 2 * 3
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


@pytest.mark.parametrize(("content", "energy"), [("Re", 80), ("W", 77)], ids=["content", "energy"])
def test_a_missing_remainder_is_named_with_the_command_that_makes_it(content, energy):
    with pytest.raises(MissingKernelError, match="columnist kernels build --host WSe2"):
        PAIRS.remainder("WSe2", content, energy, HAADF)


def test_a_perfect_crystal_has_little_beyond_its_pairs_in_haadf():
    remainders = [abs(PAIRS.remainder("MoS2", "Mo", 60, detector)) for detector in (HAADF, MAADF)]
    assert remainders[0] < 0.1 * remainders[1]
