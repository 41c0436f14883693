"""The data set: one shard of labelled columns for every context, built piece by piece and resumable."""

import json
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from drivers.contract.errors import InputError
from models.checkpoint import write_at_once
from models.contexts import context_name, reference_contexts
from models.encoding import MOMENTS
from models.reading import read_columns
from models.training.columns import MisreadError, label_columns, read_as_classified
from models.training.conditions import Ranges, draw_frame
from models.training.pools import one_thread, reading_pool
from sim_microscope.workers import connect_cluster

#: Raised when features or shards change their meaning.
FORMAT = 4

#: Columns of a class from a frame, at most, so that whole columns do not outweigh the rest.
MOST_A_FRAME = 1300

#: Of ten frames one calibrates and one tests; training sees neither.  It has seen frames of their annulus,
#: though, which four frames in a row share (`models.training.conditions.FRAMES_AN_ANNULUS`): in the test
#: part, the calibration and the scale of foreignness the camera length was met before.  What is claimed of
#: networks is therefore scored by `columnist evaluate simulated`, on fields with annuli of their own.
#: Parting by annulus would leave a context few camera lengths a part, and asks for new weights.
FRAMES_A_CYCLE, CALIBRATION_FRAME, TEST_FRAME = 10, 4, 9

#: Seeds of data sets are below this, those of test fields above.
SEEDS = 2**31

#: Frames in a row that cannot be read before a context is given up.
_MOST_REFUSED = 50

_ARRAYS = (
    "moments", "aligned", "spread", "is_metal", "is_bright", "label", "motif", "frame", "log10_dose"
)  # fmt: skip


def check_seed(seed: int) -> None:
    """Raise `InputError` if a seed is none of data sets and of what is learnt from them."""
    if not 0 <= seed < SEEDS:
        raise InputError(f"--seed {seed}: expected 0 to {SEEDS - 1}")


@dataclass(frozen=True)
class Plan:
    """What is built.

    Parameters
    ----------
    columns_a_context : int
        Columns in each shard, at least.
    seed : int
        Seed of everything random.
    ranges : Ranges
        What varies between frames.
    frames_a_context : int
        Frames that are read for each shard, at least.
    most_a_frame : int
        Of each class a frame gives at most this many columns.
    """

    columns_a_context: int
    seed: int
    ranges: Ranges
    frames_a_context: int = 0
    most_a_frame: int = MOST_A_FRAME

    @property
    def command(self) -> str:
        """Command that builds a data set to this plan, with the usual ranges."""
        columns = self.columns_a_context * len(reference_contexts())
        return f"columnist dataset build --patches {columns} --seed {self.seed} --out FOLDER"

    def as_card(self) -> dict[str, Any]:
        """Plan as plain data; two shards belong together if theirs are equal."""
        return {
            "what": "Labelled columns of simulated frames, read as the agent reads them",
            "made_by": "columnist dataset build",
            "format": FORMAT,
            "columns_a_context": self.columns_a_context,
            "contexts": len(reference_contexts()),
            "seed": self.seed,
            "frames_a_context": self.frames_a_context,
            "most_of_a_class_a_frame": self.most_a_frame,
            "ranges": self.ranges.as_card(),
        }


def build(
    plan: Plan,
    folder: Path,
    *,
    workers: int,
    cluster: str | None = None,
    made_by: str | None = None,
    on_done: Callable[[int], None] = lambda columns: None,
) -> dict[str, Any]:
    """Build every shard that a folder lacks, then write its card and return it.

    Parameters
    ----------
    plan : Plan
        What to build.
    folder : Path
        Shards and cards; an interrupted build goes on here.
    workers : int
        Processes, if they run here.
    cluster : str, optional
        Address of a Dask scheduler to work on instead.
    made_by : str, optional
        Command that makes the same again, for the card; by default that of `columnist dataset build`.
    on_done : callable
        Told the number of columns of every finished shard, those found finished included.

    Raises
    ------
    InputError
        If the folder holds a data set made to another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_plan(plan, folder)
    missing = []
    for number in range(len(reference_contexts())):
        if shard_path(folder, number).exists():
            on_done(plan.columns_a_context)
        else:
            missing.append(number)
    run = (
        _run_here(plan, missing, folder, workers)
        if cluster is None
        else _run_on(cluster, plan, missing, folder)
    )
    for _ in run:
        on_done(plan.columns_a_context)
    card = plan.as_card() | {"made_by": made_by or plan.command} | _totals(folder)
    write_at_once(folder / "card.json", json.dumps(card, indent=1).encode())
    return card


def _run_here(plan: Plan, numbers: list[int], folder: Path, workers: int) -> Iterator[None]:
    """Build shards in processes of this machine."""
    with reading_pool(workers) as pool:
        futures = [pool.submit(build_shard, plan, number, folder) for number in numbers]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def _run_on(address: str, plan: Plan, numbers: list[int], folder: Path) -> Iterator[None]:
    """Make shards on a Dask cluster, and write each here as it arrives."""
    from distributed import as_completed as dask_completed

    with connect_cluster(address) as client:
        futures = {client.submit(make_shard, plan, number, pure=False): number for number in numbers}
        for future in dask_completed(list(futures)):
            _write_shard(future.result(), shard_path(folder, futures[future]))
            future.release()
            yield


def shard_path(folder: Path, number: int) -> Path:
    """File of a context's shard."""
    return folder / f"context-{number:03d}.npz"


def _check_plan(plan: Plan, folder: Path) -> None:
    """Write the plan into a new folder, or raise if the folder holds another one."""
    path = folder / "plan.json"
    if not path.exists():
        write_at_once(path, json.dumps(plan.as_card(), indent=1).encode())
        return
    found = read_json(path, "delete it to go on with the plan that the options say")
    differing = [key for key, value in plan.as_card().items() if found.get(key) != value]
    if differing:
        raise InputError(
            f"{folder} holds a data set made with another {', '.join(differing)} "
            f"({', '.join(f'{found.get(key)!r}' for key in differing)}); "
            "give the same to go on with it, or another --out"
        )


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Entries of a plan or card.

    Raises
    ------
    InputError
        If it is missing, cut short or altered; with the remedy.
    """
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is missing, cut short or altered ({error}); {remedy}") from error


def build_shard(plan: Plan, number: int, folder: Path) -> None:
    """Make one context's shard, and write it at once or not at all."""
    _write_shard(make_shard(plan, number), shard_path(folder, number))


def make_shard(plan: Plan, number: int) -> dict[str, NDArray[Any]]:
    """Draw frames of one context until the shard is full."""
    # The stream of [seed, number, 0], too, which draws the first frame: only that frame's columns are chosen
    # by numbers that were used before.
    rng = np.random.default_rng([plan.seed, number])
    parts: list[dict[str, NDArray[Any]]] = []
    counts = dict.fromkeys(("frames", "refused", "misread", "missed", "spurious", "matched"), 0)
    columns = in_a_row = 0
    while columns < plan.columns_a_context or len(parts) < plan.frames_a_context:
        index = counts["frames"]
        counts["frames"] += 1
        try:
            # Its defocus may, once in millions, be more than kernels carry.
            frame = draw_frame(reference_contexts()[number], plan.ranges, [plan.seed, number, index])
            one_thread()  # the simulator's compiled loops raised it: a frame then takes ten times as long
            labelled = label_columns(frame, read_columns(frame.image, with_edges=False))
            contrast, scatter = read_as_classified(labelled, reference_contexts()[number])
        except InputError as error:
            counts["refused"] += 1
            counts["misread"] += isinstance(error, MisreadError)
            in_a_row += 1
            if in_a_row > _MOST_REFUSED:
                raise
            continue
        in_a_row = 0
        counts["missed"] += labelled.missed
        counts["spurious"] += labelled.spurious
        counts["matched"] += len(labelled.label)
        dose = frame.acquisition.dose_e_per_a2 or np.inf
        read = {
            "moments": labelled.moments.astype(np.float16),
            "aligned": contrast[:, :MOMENTS].half().numpy(),
            "spread": scatter.noise.half().numpy(),
            "is_metal": labelled.is_metal,
            "is_bright": labelled.is_bright,
            "label": labelled.label,
            "motif": labelled.motif,
            "frame": np.full(len(contrast), index, np.uint16),
            "log10_dose": np.full(len(contrast), np.log10(dose), np.float16),
        }
        keep = _choose(labelled.label, plan.most_a_frame, rng)
        parts.append({name: values[keep] for name, values in read.items()})
        columns += len(parts[-1]["label"])
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in _ARRAYS}
    return arrays | {"counts": np.array(json.dumps(counts))}


def _write_shard(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    """Write a shard at once or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.part")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    partial.replace(path)


def _choose(label: NDArray[np.uint8], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A balanced choice of a frame's columns: of each class at most so many."""
    return np.concatenate([rng.permutation(np.flatnonzero(label == k))[:most] for k in range(5)])


def _totals(folder: Path) -> dict[str, Any]:
    """Counts over all shards: columns by class, frames, and how well the frames were read."""
    by_class = np.zeros(5, np.int64)
    by_motif = np.zeros(34, np.int64)
    counts: dict[str, int] = {}
    for number in range(len(reference_contexts())):
        arrays = read_shard(folder, number)
        by_class += np.bincount(arrays["label"], minlength=5)
        by_motif += np.bincount(arrays["motif"], minlength=34)[:34]
        for name, count in json.loads(str(arrays["counts"])).items():
            counts[name] = counts.get(name, 0) + int(count)
    columns = {"columns": int(by_class.sum()), "by_class": by_class.tolist(), "by_motif": by_motif.tolist()}
    return columns | counts


def read_shard(folder: Path, number: int) -> dict[str, NDArray[Any]]:
    """Arrays of one shard.

    Raises
    ------
    InputError
        If it is missing, cut short or altered.
    """
    path = shard_path(folder, number)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return {name: data[name] for name in (*_ARRAYS, "counts")}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} ({context_name(reference_contexts()[number])}) is missing, cut short or altered "
            f"({error}); delete it and run `columnist dataset build` again with the same options"
        ) from error
