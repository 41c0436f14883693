"""Monolayer crystals with defects: the columns that an image is made of, and the truth about them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drivers.contract.context import ColumnClass, Specimen
from drivers.contract.errors import InputError
from drivers.contract.materials import Host, find_host
from sim_microscope.memory import require_memory

#: What a column of each class holds; `X1top` lacks the bottom chalcogen.  The beam enters at the top.
States = Literal["metal", "dopant", "X2", "X1top", "X1bottom", "empty"]
STATES: tuple[States, ...] = ("metal", "dopant", "X2", "X1top", "X1bottom", "empty")

_CLASS_OF_STATE = np.array(
    [
        ColumnClass.METAL,
        ColumnClass.DOPANT,
        ColumnClass.X2,
        ColumnClass.VAC1,
        ColumnClass.VAC1,
        ColumnClass.VAC2,
    ],
    dtype=np.uint8,
)

#: Memory that building a crystal takes for each unit cell [bytes].
_BYTES_PER_CELL = 250

#: Two columns of different grains closer than this fraction of the M-X distance cannot both be there.
_OVERLAP_FRACTION = 0.75


@dataclass(frozen=True)
class DefectConcentrations:
    """Fractions of sites that hold a defect, each from 0 to 1.

    Parameters
    ----------
    vac1, vac2 : float
        Single and double vacancies, of the chalcogen columns.
    dopant : float
        Dopants, of the metal columns.
    """

    vac1: float = 0.0
    vac2: float = 0.0
    dopant: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("vac1", self.vac1), ("vac2", self.vac2), ("dopant", self.dopant)):
            if not 0.0 <= value <= 1.0:
                raise InputError(f"{name} concentration {value:g} is not a fraction from 0 to 1")
        if self.vac1 + self.vac2 > 1.0:
            raise InputError(
                f"vac1 {self.vac1:g} and vac2 {self.vac2:g} add up to more than every chalcogen column"
            )


@dataclass(frozen=True)
class Defect:
    """One defect at the column nearest to a position.

    Parameters
    ----------
    state : {"dopant", "X1top", "X1bottom", "empty"}
        What the column becomes; "dopant" takes a metal column, the others a chalcogen column.
    row_angstrom, column_angstrom : float
        Where [Å].
    """

    state: States
    row_angstrom: float
    column_angstrom: float


@dataclass(frozen=True)
class GrainBoundary:
    """A straight boundary between two grains.

    Parameters
    ----------
    misorientation_deg : float
        Rotation of the second grain against the first.
    direction_deg : float
        Direction of the boundary, from the column axis towards the row axis.
    offset_angstrom : float
        Distance of the boundary from the middle of the field, to the second grain's side.
    """

    misorientation_deg: float
    direction_deg: float = 90.0
    offset_angstrom: float = 0.0

    def __post_init__(self) -> None:
        if not np.all(np.isfinite([self.misorientation_deg, self.direction_deg, self.offset_angstrom])):
            raise InputError(f"grain boundary {self}: expected finite angles and a finite offset")


@dataclass(frozen=True)
class Crystal:
    """The columns of a monolayer; arrays of one row a column.

    Parameters
    ----------
    specimen : Specimen
        Host and dopant.
    positions : ndarray of shape (n, 2)
        Positions along (row, column) [Å].
    states : ndarray of shape (n,), uint8
        Index into `STATES`.
    grains : ndarray of shape (n,), uint8
        Grain of each column.
    """

    specimen: Specimen
    positions: NDArray[np.float64]
    states: NDArray[np.uint8]
    grains: NDArray[np.uint8]

    @property
    def host(self) -> Host:
        """The host material."""
        return find_host(self.specimen.host)

    @property
    def classes(self) -> NDArray[np.uint8]:
        """`ColumnClass` of each column."""
        return np.asarray(_CLASS_OF_STATE[self.states])

    @property
    def is_metal_site(self) -> NDArray[np.bool_]:
        """Whether each column lies on the metal sublattice."""
        return np.asarray(self.states <= STATES.index("dopant"))

    def species(self, state: States) -> str | None:
        """Kernel species of a column in a state of this crystal; None for an empty column."""
        if state == "empty":
            return None
        if state == "metal":
            return self.host.metal
        if state == "dopant":
            return self.specimen.dopant
        return f"{self.host.name}:{state}"

    def formula(self, state: States) -> str:
        """Atoms of a column in a state, for the truth table: ``"Se2"``, ``"Se"``, ``"W"``, ``""``."""
        chalcogen = self.host.chalcogen
        contents = {"X2": f"{chalcogen}2", "X1top": chalcogen, "X1bottom": chalcogen, "empty": ""}
        return contents.get(state) or (self.species(state) or "")

    def atoms(
        self, cell_angstrom: tuple[float, float] | None = None, *, padding_angstrom: float = 2.0
    ) -> Any:
        """Atoms as `ase.Atoms`: x along columns, y along rows, z along the beam, the top first.

        Parameters
        ----------
        cell_angstrom : tuple of float, optional
            Periodic cell along (row, column) [Å]; by default the columns' bounding box and 1 Å around.
        padding_angstrom : float
            Vacuum above and below [Å].
        """
        from ase import Atoms

        origin = np.zeros(2)
        if cell_angstrom is None:
            origin = self.positions.min(axis=0) - 1.0
            cell_angstrom = tuple(self.positions.max(axis=0) + 1.0 - origin)
        middle = padding_angstrom + self.host.thickness_angstrom / 2
        symbols, points = [], []
        for state, (row, column) in zip(self.states, self.positions - origin, strict=True):
            for symbol, height in self.atoms_of(STATES[state]):
                symbols.append(symbol)
                points.append((column, row, middle + height))
        cell = (cell_angstrom[1], cell_angstrom[0], 2 * middle)
        return Atoms(symbols, positions=np.array(points).reshape(-1, 3), cell=cell, pbc=(True, True, False))

    def atoms_of(self, state: States) -> list[tuple[str, float]]:
        """Elements of a column in a state and their heights, see `column_atoms`."""
        species = self.species(state)
        return [] if species is None else column_atoms(species)

    def take(self, keep: NDArray[Any]) -> "Crystal":
        """Crystal of a selection of the columns."""
        return Crystal(self.specimen, self.positions[keep], self.states[keep], self.grains[keep])


def column_atoms(species: str) -> list[tuple[str, float]]:
    """Elements of a column, named as in a kernel table, and their heights [Å] about the layer's middle."""
    if ":" not in species:
        return [(species, 0.0)]
    host_name, state = species.split(":")
    host = find_host(host_name)
    half = host.thickness_angstrom / 2
    heights = {"X2": [-half, half], "X1top": [-half], "X1bottom": [half]}[state]
    return [(host.chalcogen, height) for height in heights]


def _lattice(
    host: Host,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    rotation_deg: float,
    origin: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Positions (row, column) of a perfect lattice that fills a box, and whether each is a metal site."""
    a = host.lattice_constant_angstrom
    angle = np.deg2rad(rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    basis = np.array([[0.0, a], [a * np.sqrt(3) / 2, a / 2]]) @ turn
    corners = np.array([[r, c] for r in (low[0], high[0]) for c in (low[1], high[1])]) - origin
    indices = corners @ np.linalg.inv(basis)
    first, last = np.floor(indices.min(0)).astype(int) - 1, np.ceil(indices.max(0)).astype(int) + 1
    cells = float(np.prod((last - first + 1).astype(float)))
    require_memory(cells * _BYTES_PER_CELL, f"a crystal of {cells:.2g} unit cells")
    i, j = np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1), indexing="ij")
    metal = np.stack([i.ravel(), j.ravel()], axis=1).astype(np.float64) @ basis + origin
    positions = np.concatenate([metal, metal + (basis[0] + basis[1]) / 3])
    is_metal = np.repeat([True, False], len(metal))
    inside = np.all((positions >= low) & (positions <= high), axis=1)
    return positions[inside], is_metal[inside]


def build_crystal(
    specimen: Specimen,
    size_angstrom: tuple[float, float],
    *,
    rotation_deg: float = 0.0,
    concentrations: DefectConcentrations | None = None,
    defects: Sequence[Defect] = (),
    strain: NDArray[np.float64] | None = None,
    boundary: GrainBoundary | None = None,
    margin_angstrom: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Crystal:
    """Build a monolayer that fills a field of view.

    Parameters
    ----------
    specimen : Specimen
        Host and dopant.
    size_angstrom : tuple of float
        Field along (row, column) [Å], its corner at the origin.
    rotation_deg : float
        Rotation of the lattice, from the column axis towards the row axis.
    concentrations : DefectConcentrations, optional
        Defects at random sites; needs `rng`.
    defects : sequence of Defect
        Defects at given sites, applied last.
    strain : ndarray of shape (2, 2), optional
        Displacement gradient along (row, column): a position r moves to r + strain @ r about the middle.
    boundary : GrainBoundary, optional
        A second grain.
    margin_angstrom : float
        Columns reach this far beyond the field [Å].
    rng : numpy.random.Generator, optional
        Draws defects, and the lattice's offset against the field; without it a metal column lies in
        the middle.

    Returns
    -------
    Crystal

    Raises
    ------
    InputError
        If the size is not positive, a concentration is given without `rng` or a dopant concentration
        without a dopant, or an explicit defect finds no column.
    """
    size = np.asarray(size_angstrom, dtype=np.float64)
    if not np.isfinite(rotation_deg):
        raise InputError(f"rotation of {rotation_deg} degrees: expected a finite angle")
    if not np.all(np.isfinite(size)) or np.any(size <= 0):
        raise InputError(
            f"field of {size_angstrom[0]:g} x {size_angstrom[1]:g} Å: expected two positive lengths"
        )
    host = find_host(specimen.host)
    gradient = np.zeros((2, 2)) if strain is None else np.asarray(strain, dtype=np.float64)
    if not np.all(np.isfinite(gradient)) or np.abs(gradient).max() > 0.2:
        raise InputError(f"strain {gradient.tolist()}: expected components of at most 0.2 in size")
    middle = size / 2
    # Far enough that what the strain moves into the field and its margin is there to be moved.
    stretch = float(np.abs(gradient).sum(axis=1).max())
    reach = stretch / (1.0 - stretch) * float(np.linalg.norm(size / 2 + margin_angstrom))
    low, high = -np.full(2, margin_angstrom + reach), size + margin_angstrom + reach
    origin = middle.copy()
    if rng is not None:
        origin = middle + rng.uniform(-0.5, 0.5, 2) * host.lattice_constant_angstrom
    positions, is_metal = _lattice(host, low, high, rotation_deg, origin)
    grains = np.zeros(len(positions), np.uint8)
    if boundary is not None:
        positions, is_metal, grains = _join_grains(host, low, high, rotation_deg, origin, boundary, middle)
    positions = positions + (positions - middle) @ gradient.T
    inside = np.all((positions >= -margin_angstrom) & (positions <= size + margin_angstrom), axis=1)
    states = np.where(is_metal[inside], STATES.index("metal"), STATES.index("X2")).astype(np.uint8)
    crystal = Crystal(specimen, positions[inside], states, grains[inside])
    if concentrations is not None:
        crystal = _scatter_defects(crystal, concentrations, rng)
    return _place_defects(crystal, defects)


def _join_grains(
    host: Host,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    rotation_deg: float,
    origin: NDArray[np.float64],
    boundary: GrainBoundary,
    middle: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.uint8]]:
    """Two lattices cut along a line, without the columns of the second that overlap the first."""
    angle = np.deg2rad(boundary.direction_deg)
    normal = np.array([-np.cos(angle), np.sin(angle)])
    parts = []
    for grain, rotation in enumerate((rotation_deg, rotation_deg + boundary.misorientation_deg)):
        positions, is_metal = _lattice(host, low, high, rotation, origin)
        beyond = (positions - middle) @ normal > boundary.offset_angstrom
        keep = beyond == bool(grain)
        parts.append((positions[keep], is_metal[keep]))
    (first, first_metal), (second, second_metal) = parts
    free = np.ones(len(second), bool)
    if len(first) and len(second):
        bond = host.lattice_constant_angstrom / np.sqrt(3)
        distance, _ = cKDTree(first).query(second)
        free = distance > _OVERLAP_FRACTION * bond
    positions = np.concatenate([first, second[free]])
    grains = np.repeat(np.array([0, 1], np.uint8), [len(first), int(free.sum())])
    return positions, np.concatenate([first_metal, second_metal[free]]), grains


def _scatter_defects(
    crystal: Crystal, concentrations: DefectConcentrations, rng: np.random.Generator | None
) -> Crystal:
    """Draw defects at random sites."""
    if rng is None:
        raise InputError("defects by concentration are drawn at random: give a seeded generator as rng")
    if concentrations.dopant > 0 and crystal.specimen.dopant is None:
        raise InputError(
            f"a dopant concentration of {concentrations.dopant:g} needs a specimen with a dopant"
        )
    states = crystal.states.copy()
    draw = rng.random(len(states))
    side = rng.random(len(states)) < 0.5
    chalcogen = ~crystal.is_metal_site
    single = chalcogen & (draw < concentrations.vac1)
    states[single & side] = STATES.index("X1top")
    states[single & ~side] = STATES.index("X1bottom")
    double = chalcogen & ~single & (draw < concentrations.vac1 + concentrations.vac2)
    states[double] = STATES.index("empty")
    states[crystal.is_metal_site & (draw < concentrations.dopant)] = STATES.index("dopant")
    return replace(crystal, states=states)


def _place_defects(crystal: Crystal, defects: Sequence[Defect]) -> Crystal:
    """Apply a list of defects, each at the nearest column of its sublattice."""
    states = crystal.states.copy()
    reach = crystal.host.lattice_constant_angstrom
    for defect in defects:
        if defect.state == "dopant" and crystal.specimen.dopant is None:
            raise InputError("a dopant in the list of defects needs a specimen with a dopant")
        sites = np.flatnonzero(crystal.is_metal_site == (defect.state in ("metal", "dopant")))
        target = np.array([defect.row_angstrom, defect.column_angstrom])
        distance = np.linalg.norm(crystal.positions[sites] - target, axis=1)
        if not len(sites) or distance.min() > reach:
            raise InputError(
                f"no column within {reach:g} Å of ({target[0]:g}, {target[1]:g}) Å "
                f"for a defect {defect.state!r}"
            )
        states[sites[np.argmin(distance)]] = STATES.index(defect.state)
    return replace(crystal, states=states)


def build_periodic(specimen: Specimen, cells: tuple[int, int]) -> tuple[Crystal, tuple[float, float]]:
    """Perfect crystal of whole orthogonal cells, to be repeated without a seam.

    Parameters
    ----------
    specimen : Specimen
        Host and dopant.
    cells : tuple of int
        Orthogonal cells, of sqrt(3) a by a, along (row, column).

    Returns
    -------
    crystal : Crystal
        Columns of one period.
    period_angstrom : tuple of float
        Period along (row, column) [Å].
    """
    a = find_host(specimen.host).lattice_constant_angstrom
    height = a * np.sqrt(3)
    motif = np.array([[0, 0], [height / 2, a / 2], [height / 6, a / 2], [height * 2 / 3, 0]])
    i, j = np.meshgrid(np.arange(cells[0]), np.arange(cells[1]), indexing="ij")
    corners = np.stack([i.ravel() * height, j.ravel() * a], axis=1)
    positions = (corners[:, None] + motif).reshape(-1, 2)
    states = np.tile([STATES.index("metal")] * 2 + [STATES.index("X2")] * 2, len(corners)).astype(np.uint8)
    crystal = Crystal(specimen, positions, states, np.zeros(len(states), np.uint8))
    return crystal, (cells[0] * height, cells[1] * a)
