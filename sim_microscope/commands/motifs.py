"""`columnist motifs`: the 34 motifs of every doped host as CIF files."""

import argparse
from pathlib import Path

import numpy as np

from drivers.contract.context import Specimen
from drivers.contract.errors import InputError
from drivers.contract.materials import doped_pairs
from sim_microscope.commands.options import make_folder, progress_bar
from sim_microscope.crystal import STATES
from sim_microscope.motifs import Motif, all_motifs, motif_crystal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist motifs`."""
    parser.add_argument("action", choices=["export"])
    parser.add_argument("--host", help="only this host")
    parser.add_argument("--dopant", help="only this dopant")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to, a folder a doped host")


def run(arguments: argparse.Namespace) -> int:
    """Write every motif of the chosen pairs."""
    pairs = [
        (host, dopant)
        for host, dopant in doped_pairs()
        if arguments.host in (None, host) and arguments.dopant in (None, dopant)
    ]
    if not pairs:
        raise InputError(
            f"no doped host matches --host {arguments.host} --dopant {arguments.dopant}; possible pairs: "
            + ", ".join(f"{host}+{dopant}" for host, dopant in doped_pairs())
        )
    motifs = all_motifs()
    make_folder(arguments.out)
    with progress_bar() as progress:
        bar = progress.add_task("motifs", total=len(pairs) * len(motifs))
        for host, dopant in pairs:
            folder = arguments.out / f"{host}-{dopant}"
            folder.mkdir(parents=True, exist_ok=True)
            for number, motif in enumerate(motifs, start=1):
                path = folder / f"{number:02d}_{motif.name}.cif"
                write_cif(Specimen(host=host, dopant=dopant), motif, path)
                progress.advance(bar)
    print(f"{len(pairs)} pairs x {len(motifs)} motifs -> {arguments.out}")
    return 0


def write_cif(specimen: Specimen, motif: Motif, path: Path) -> None:
    """Write a motif in a 6 x 6 supercell of its host, with 15 Å of vacuum, as CIF."""
    from ase import Atoms
    from ase.io import write

    crystal, cell = motif_crystal(specimen, motif)
    height = crystal.host.thickness_angstrom + 15.0
    symbols, points = [], []
    for state, (row, column) in zip(crystal.states, crystal.positions, strict=True):
        for symbol, z in crystal.atoms_of(STATES[state]):
            symbols.append(symbol)
            points.append((column, row, height / 2 + z))
    vectors = np.zeros((3, 3))
    vectors[:2, :2] = cell[:, ::-1]
    vectors[2, 2] = height
    write(path, Atoms(symbols, positions=np.array(points), cell=vectors, pbc=True), format="cif")
