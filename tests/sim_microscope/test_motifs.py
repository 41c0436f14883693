from collections import Counter
from itertools import product

import numpy as np
import pytest

from drivers.contract.context import Specimen
from sim_microscope.commands.motifs import write_cif
from sim_microscope.crystal import STATES
from sim_microscope.motifs import all_doped_motifs, all_motifs, motif_crystal


def burnside(colours: int) -> int:
    """Arrangements of three neighbours up to the three rotations."""
    return (colours**3 + 2 * colours) // 3


def test_motifs_number_as_burnside_counts_them():
    counts = Counter(motif.center for motif in all_motifs())
    assert counts == dict.fromkeys(("X2", "X1top", "empty"), burnside(2)) | dict.fromkeys(
        ("metal", "dopant"), burnside(3)
    )
    assert len(all_motifs()) == 34
    assert sum(1 for _ in all_doped_motifs()) == 96 * 34


def test_no_motif_is_a_rotation_of_another_and_none_is_missing():
    def turns(ring):
        return frozenset(ring[k:] + ring[:k] for k in range(3))

    seen = Counter((motif.center, turns(motif.neighbours)) for motif in all_motifs())
    assert set(seen.values()) == {1}
    chalcogens, metals = ("X2", "X1top", "empty"), ("metal", "dopant")
    every = {(c, turns(r)) for c in chalcogens for r in product(metals, repeat=3)}
    every |= {(c, turns(r)) for c in metals for r in product(chalcogens, repeat=3)}
    assert set(seen) == every


@pytest.mark.parametrize("motif", all_motifs(), ids=lambda motif: motif.name)
def test_a_motif_sits_in_its_supercell(motif):
    crystal, cell = motif_crystal(Specimen(host="MoS2", dopant="V"), motif)
    assert [STATES[s] for s in crystal.states[:4]] == [motif.center, *motif.neighbours]
    steps = (crystal.positions[1:4] - crystal.positions[0]) @ np.linalg.inv(cell)
    steps = (steps - np.round(steps)) @ cell
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 3.19 / np.sqrt(3))
    angles = np.unwrap(np.arctan2(-steps[:, 0], steps[:, 1]))
    np.testing.assert_allclose(np.diff(angles), 2 * np.pi / 3)
    others = crystal.states[4:]
    assert set(others) == {STATES.index("metal"), STATES.index("X2")}


def test_a_cif_reads_back_with_the_same_atoms(tmp_path):
    from ase.io import read

    motif = all_motifs()[14]
    path = tmp_path / "motif.cif"
    write_cif(Specimen(host="WSe2", dopant="Ti"), motif, path)
    atoms = read(path)
    crystal, cell = motif_crystal(Specimen(host="WSe2", dopant="Ti"), motif)
    expected = Counter(symbol for state in crystal.states for symbol, _ in crystal.atoms_of(STATES[state]))
    assert Counter(atoms.get_chemical_symbols()) == expected
    assert atoms.cell.lengths()[:2] == pytest.approx(np.linalg.norm(cell, axis=1))
