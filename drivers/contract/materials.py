"""The material system: 1H transition-metal dichalcogenide monolayers and their substitutional dopants.

The 13 hosts, the 10 dopants and the rule that leaves a pair out when dopant and metal share a period
are a choice that reproduces the 96 pairs of Dan et al. (arXiv 2606.09419), which prints no list; see
`docs/decisions/0001-material-system.md`.
"""

from dataclasses import dataclass
from functools import cache

from drivers.contract.errors import UnknownMaterialError

#: Atomic number by symbol, of every element that a column can hold.
ATOMIC_NUMBERS = {
    "S": 16,
    "Ti": 22,
    "V": 23,
    "Cr": 24,
    "Mn": 25,
    "Fe": 26,
    "Co": 27,
    "Ni": 28,
    "Cu": 29,
    "Se": 34,
    "Nb": 41,
    "Mo": 42,
    "Te": 52,
    "Ta": 73,
    "W": 74,
    "Re": 75,
}

#: The last atomic number of periods 1 to 6.
_PERIOD_ENDS = (2, 10, 18, 36, 54, 86)


@dataclass(frozen=True)
class Host:
    """A 1H monolayer MX2.

    Parameters
    ----------
    metal, chalcogen : str
        Element symbols of M and X.
    lattice_constant_angstrom : float
        In-plane lattice constant a [Å].
    thickness_angstrom : float
        Distance between the two chalcogens of a column, along the beam [Å].
    """

    metal: str
    chalcogen: str
    lattice_constant_angstrom: float
    thickness_angstrom: float

    @property
    def name(self) -> str:
        """Formula, for example ``"WSe2"``."""
        return f"{self.metal}{self.chalcogen}2"


# Relaxed geometries of the free-standing 1H monolayers from density functional theory, as measured
# out by the founders' survey of the literature; experiment and the common functionals differ by about
# 1 % in a (WSe2: 3.28 to 3.32 Å), so the second decimal is the precision that they can carry.
_HOSTS = (
    Host("Ti", "S", 3.35, 3.01),
    Host("V", "S", 3.19, 2.96),
    Host("Cr", "S", 3.05, 2.95),
    Host("Nb", "S", 3.37, 3.14),
    Host("Nb", "Se", 3.50, 3.34),
    Host("Mo", "S", 3.19, 3.13),
    Host("Mo", "Se", 3.32, 3.31),
    Host("Mo", "Te", 3.57, 3.58),
    Host("Ta", "S", 3.34, 3.10),
    Host("Ta", "Se", 3.47, 3.33),
    Host("W", "S", 3.18, 3.12),
    Host("W", "Se", 3.32, 3.32),
    Host("W", "Te", 3.56, 3.58),
)

HOSTS: dict[str, Host] = {host.name: host for host in _HOSTS}

DOPANTS: tuple[str, ...] = ("Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Nb", "Re")


def period(symbol: str) -> int:
    """Period of an element in the periodic table, 1 to 6.

    Raises
    ------
    UnknownMaterialError
        If the symbol is not one of `ATOMIC_NUMBERS`.
    """
    if symbol not in ATOMIC_NUMBERS:
        raise UnknownMaterialError(f"element {symbol!r} is unknown; known are {', '.join(ATOMIC_NUMBERS)}")
    return 1 + sum(ATOMIC_NUMBERS[symbol] > end for end in _PERIOD_ENDS)


@cache
def dopants_of(host_name: str) -> tuple[str, ...]:
    """Dopants of a host: those of `DOPANTS` that do not share its metal's period.

    Raises
    ------
    UnknownMaterialError
        If the host is not one of `HOSTS`.
    """
    metal = find_host(host_name).metal
    return tuple(dopant for dopant in DOPANTS if period(dopant) != period(metal))


def find_host(name: str) -> Host:
    """Look a host up by its formula.

    Raises
    ------
    UnknownMaterialError
        If the host is not one of `HOSTS`.
    """
    if name not in HOSTS:
        raise UnknownMaterialError(f"host {name!r} is unknown; known are {', '.join(HOSTS)}")
    return HOSTS[name]


def check_dopant(host_name: str, dopant: str) -> None:
    """Raise `UnknownMaterialError` unless `dopant` is among the host's dopants."""
    possible = dopants_of(host_name)
    if dopant not in possible:
        raise UnknownMaterialError(
            f"dopant {dopant!r} is not one of the dopants of {host_name}: {', '.join(possible)} "
            "(a dopant of the metal's own period is left out)"
        )


def doped_pairs() -> tuple[tuple[str, str], ...]:
    """Every (host, dopant) pair, 96 of them."""
    return tuple((host, dopant) for host in HOSTS for dopant in dopants_of(host))
