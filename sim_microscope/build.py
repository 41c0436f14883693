"""Make the kernel table: one resumable piece of work a column and energy, here or on a Dask cluster."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.context import CONVERGENCE_MRAD
from drivers.contract.materials import ATOMIC_NUMBERS, DOPANTS, HOSTS, dopants_of, find_host
from sim_microscope.column_build import Settings, compute_column
from sim_microscope.crystal import column_atoms
from sim_microscope.interference import RECIPE
from sim_microscope.kernels import EDGES_MRAD, RADII_ANGSTROM, KernelTable
from sim_microscope.pair_build import compress_pairs, compute_pairs, compute_remainders
from sim_microscope.pairs import PAIR_EDGES_MRAD, SHELL_DISTANCES, PairTable, all_pair_keys, all_site_keys
from sim_microscope.scattering import rms_displacement_angstrom
from sim_microscope.workers import connect_cluster, worker_pool

#: What a finished kernel holds; raised when that changes, so that old ones are made again.
_FORMAT = 3


@dataclass(frozen=True)
class ColumnTask:
    """One column at one energy.

    Parameters
    ----------
    species : str
        Name as in `KernelTable.species`.
    energy_kev : int
        Beam energy.
    settings : Settings
        Numerics.
    device : {"cpu", "gpu"}
        Where to work.
    """

    species: str
    energy_kev: int
    settings: Settings
    device: str = "cpu"

    @property
    def stem(self) -> str:
        """File name of the result, which also says by which settings it was made."""
        recipe = [
            asdict(self.settings),
            RADII_ANGSTROM.tolist(),
            EDGES_MRAD.tolist(),
            column_atoms(self.species),
        ]
        return f"{self.species.replace(':', '-')}_{self.energy_kev}_{_digest(recipe, self.species)}"

    def compute(self) -> dict[str, NDArray[np.float32]]:
        """Kernels of the column, see `sim_microscope.column_build.compute_column`."""
        return compute_column(self.species, self.energy_kev, self.settings, self.device)


@dataclass(frozen=True)
class PairTask:
    """All pairs of neighbours of one host with its dopants, at one energy."""

    host: str
    energy_kev: int

    @property
    def stem(self) -> str:
        """File name of the result, which also says by which settings it was made."""
        shells = {shell.name: distance for shell, distance in SHELL_DISTANCES.items()}
        recipe = [
            PAIR_EDGES_MRAD.tolist(),
            RECIPE,
            shells,
            asdict(find_host(self.host)),
            dopants_of(self.host),
        ]
        return f"{self.host}-pairs_{self.energy_kev}_{_digest(recipe, self.host)}"

    def compute(self) -> dict[str, NDArray[np.float32]]:
        """Pair terms of the host, see `sim_microscope.pair_build.compute_pairs`."""
        _, terms = compute_pairs(self.host, dopants_of(self.host), self.energy_kev)
        return {"terms": terms}


Task = ColumnTask | PairTask


def _digest(recipe: Sequence[Any], species_or_host: str) -> str:
    """Digest of everything that a finished piece of work depends on."""
    if species_or_host in HOSTS:
        host = find_host(species_or_host)
        symbols: tuple[str, ...] = (host.metal, host.chalcogen, *dopants_of(host.name))
    else:
        symbols = tuple(symbol for symbol, _ in column_atoms(species_or_host))
    displacements = [round(rms_displacement_angstrom(symbol), 9) for symbol in symbols]
    whole = [_FORMAT, CONVERGENCE_MRAD, version("abtem"), displacements, *recipe]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:12]


def default_species(hosts: Sequence[str] = tuple(HOSTS)) -> tuple[str, ...]:
    """Species of the table for some hosts: every metal and dopant, and three columns a host."""
    metals = dict.fromkeys([find_host(name).metal for name in hosts] + list(DOPANTS))
    chalcogens = [f"{name}:{state}" for name in hosts for state in ("X2", "X1top", "X1bottom")]
    return (*sorted(metals, key=ATOMIC_NUMBERS.__getitem__), *chalcogens)


def _run(task: Task, folder: str) -> str:
    """Compute a task unless its file is there; the file appears whole or not at all."""
    path = Path(folder) / f"{task.stem}.npz"
    if not path.is_file():
        import threadpoolctl

        with threadpoolctl.threadpool_limits(1):
            arrays = task.compute()
        _keep(arrays, path)
    return task.stem


def _keep(arrays: dict[str, NDArray[np.float32]], path: Path) -> None:
    """Write a finished piece of work, whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def run_tasks(
    tasks: Sequence[Task], folder: Path, *, workers: int, cluster: str | None, on_done: Callable[[int], None]
) -> None:
    """Run what is not done yet, in `workers` processes or on the Dask cluster at an address.

    `on_done` is told how many pieces of work are finished: all that were before at once, then each.

    Raises
    ------
    InputError
        If the cluster cannot be reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pending = [task for task in tasks if not (folder / f"{task.stem}.npz").is_file()]
    if len(pending) < len(tasks):
        on_done(len(tasks) - len(pending))
    if cluster is not None:
        for _ in _run_on_cluster(pending, folder, cluster):
            on_done(1)
        return
    with worker_pool(workers) as pool:
        futures: list[Future[str]] = [pool.submit(_run, task, str(folder)) for task in pending]
        try:
            for future in as_completed(futures):
                future.result()
                on_done(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _run_on_cluster(tasks: Sequence[Task], folder: Path, address: str) -> Iterator[Any]:
    """Run tasks on a Dask cluster and write each result here as it arrives."""
    from distributed import as_completed as dask_completed

    with connect_cluster(address) as client:
        futures = {client.submit(type(task).compute, task, pure=False): task for task in tasks}
        for future in dask_completed(list(futures)):
            _keep(future.result(), folder / f"{futures[future].stem}.npz")
            yield future


def assemble_columns(
    folder: Path, species: tuple[str, ...], energies_kev: tuple[int, ...], settings: Settings
) -> KernelTable:
    """Gather finished kernels into a table."""
    shape = (len(species), len(energies_kev), RADII_ANGSTROM.size + 1, EDGES_MRAD.size - 1)
    static, averaged = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for i, name in enumerate(species):
        for j, energy in enumerate(energies_kev):
            with np.load(
                folder / f"{ColumnTask(name, energy, settings).stem}.npz", allow_pickle=False
            ) as data:
                static[i, j], averaged[i, j] = data["static"], data["averaged"]
    elements = dict.fromkeys(symbol for name in species for symbol, _ in column_atoms(name))
    # Two atoms that move independently: their centre moves by 1/sqrt(2) of one of them.
    motion = np.array(
        [
            rms_displacement_angstrom(atoms[0][0]) / np.sqrt(len(atoms))
            for atoms in (column_atoms(name) for name in species)
        ]
    )
    card = {
        "what": "Column kernels of 1H transition-metal dichalcogenide monolayers",
        "made_by": "columnist kernels build",
        "convergence_mrad": CONVERGENCE_MRAD,
        "settings": asdict(settings),
        "rms_displacement_angstrom": {symbol: rms_displacement_angstrom(symbol) for symbol in elements},
        "temperature_k": 300,
        "potential": "Lobato and Van Dyck (2014), 10.1107/S205327331401643X, by abTEM",
        "abtem": version("abtem"),
        "numpy": np.__version__,
        "kernels": len(species) * len(energies_kev),
    }
    return KernelTable(species, energies_kev, static, averaged, motion, card)


def assemble_pairs(
    folder: Path, hosts: Sequence[str], energies_kev: tuple[int, ...], *, rank: int
) -> PairTable:
    """Gather finished pair terms into a table, compressed to a common basis of a given rank."""
    terms, remainders = [], []
    for energy in energies_kev:
        of_energy, left = [], []
        for name in hosts:
            with np.load(folder / f"{PairTask(name, energy).stem}.npz", allow_pickle=False) as data:
                of_energy.append(data["terms"])
            left.append(compute_remainders(name, dopants_of(name), energy, of_energy[-1]))
        terms.append(np.concatenate(of_energy))
        remainders.append(np.concatenate(left))
    table = compress_pairs(
        all_pair_keys(hosts),
        energies_kev,
        np.stack(terms, axis=1),
        all_site_keys(hosts),
        np.stack(remainders, axis=1),
        rank=rank,
    )
    table.card.update(
        what="Interference and double scattering of neighbouring columns of doped 1H monolayers",
        made_by="columnist kernels build",
        convergence_mrad=CONVERGENCE_MRAD,
        temperature_k=300,
        pairs=len(table.keys) * len(energies_kev),
    )
    return table
