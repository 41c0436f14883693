import itertools

import pytest

from drivers.contract.context import DETECTORS, ENERGIES_KEV
from drivers.contract.errors import UnknownMaterialError
from drivers.contract.materials import (
    ATOMIC_NUMBERS,
    DOPANTS,
    HOSTS,
    check_dopant,
    dopants_of,
    doped_pairs,
    find_host,
    period,
)


def test_counts_follow_from_the_rule():
    assert len(HOSTS) == 13
    assert len(set(DOPANTS)) == 10
    pairs = [(h, d) for h, d in itertools.product(HOSTS, DOPANTS) if period(d) != period(HOSTS[h].metal)]
    assert list(doped_pairs()) == pairs
    assert len(pairs) == 96
    assert len(list(itertools.product(pairs, ENERGIES_KEV, DETECTORS))) == 576


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [("S", 3), ("Ti", 4), ("Cu", 4), ("Se", 4), ("Nb", 5), ("Te", 5), ("Ta", 6), ("Re", 6)],
)
def test_periods_are_those_of_the_periodic_table(symbol, expected):
    assert period(symbol) == expected


def test_every_element_of_the_system_has_a_number():
    elements = {*DOPANTS, *(h.metal for h in HOSTS.values()), *(h.chalcogen for h in HOSTS.values())}
    assert elements == set(ATOMIC_NUMBERS)


def test_lattice_constants_grow_with_the_chalcogen():
    for metal in ("Mo", "W"):
        a = [find_host(f"{metal}{x}2").lattice_constant_angstrom for x in ("S", "Se", "Te")]
        assert a == sorted(a)


@pytest.mark.parametrize(
    "call",
    [
        lambda: find_host("FeO2"),
        lambda: period("Xx"),
        lambda: check_dopant("MoS2", "Nb"),
        lambda: dopants_of(""),
    ],
    ids=["host", "element", "dopant of the metal's period", "empty host"],
)
def test_unknown_materials_are_named_with_what_is_possible(call):
    with pytest.raises(UnknownMaterialError, match=r"known|dopants of"):
        call()
