"""How fast data sets are built and classifiers are trained and asked.

Run by `columnist bench training [--json]`; takes about two minutes on an idle machine.
"""

import os
import platform
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from models.calibration import USUAL_SPREAD, Calibration
from models.checkpoint import Weights
from models.contexts import context_table, reference_contexts
from models.networks.catalogue import NETWORKS
from models.posterior import predict_logits
from models.training.conditions import Ranges
from models.training.dataset import Plan, build_shard, read_shard
from models.training.samples import Samples

#: Limits from the issue; a figure beyond its limit is reported as missed.
LIMITS = {"dataset_55m_minutes": 45.0, "peak_rss_gib": 8.0, "infer_10k_ms": 8.0}

_PATCHES = 55e6

#: Contexts for each process, from one end of the list to the other, and columns of each.
_SHARDS, _COLUMNS = 6, 12_000

_COLUMNS_TRAINED, _TRAINING_S = 1_000_000, 5.0


def measure_dataset() -> dict[str, float]:
    """Columns a second over all cores, and memory of all processes together."""
    workers = os.cpu_count() or 1
    plan = Plan(_COLUMNS, 2**30, Ranges())
    numbers = np.linspace(0, len(reference_contexts()) - 1, workers * _SHARDS).astype(int).tolist()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            # One round first, to load tables and compile.
            wait([pool.submit(build_shard, replace(plan, seed=k), 0, folder) for k in range(2 * workers)])
            start = time.perf_counter()
            for future in [pool.submit(build_shard, plan, number, folder) for number in numbers]:
                future.result()
            seconds = time.perf_counter() - start
        columns = sum(len(read_shard(folder, number)["label"]) for number in numbers)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    memory = workers * largest + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "dataset_columns_s": columns / seconds,
        "dataset_55m_minutes": _PATCHES * seconds / columns / 60,
        "peak_rss_gib": memory / 2**20,
    }


def measure_training(name: str) -> float:
    """Columns a second of one process on one thread, batches of the recipe's size."""
    recipe, count = NETWORKS[name], _COLUMNS_TRAINED
    samples = Samples(
        torch.randn(count, 8).half(),
        torch.randint(len(reference_contexts()), (count,), dtype=torch.int16),
        torch.randint(5, (count,), dtype=torch.uint8),
        torch.zeros(count).half(),
        torch.ones(count),
        torch.full((count,), USUAL_SPREAD).half(),
    )
    network, table = recipe.make(), context_table()
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    start, seen = time.perf_counter(), 0
    for chosen in torch.split(torch.randperm(count), recipe.batch):
        contrast, context, label = samples.take(chosen)
        logits = network(contrast, table[context])
        loss = (samples.weight[chosen] * cross_entropy(logits, label, reduction="none")).mean()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        seen += len(chosen)
        if time.perf_counter() - start > _TRAINING_S:
            break
    return seen / (time.perf_counter() - start)


def measure_inference(name: str) -> float:
    """Median time for 10,000 columns of one frame on two threads [ms]."""
    weights = Weights(NETWORKS[name].make().eval(), Calibration.none(), {"network": name})
    contrast, times = torch.randn(10_000, 8), []
    for _ in range(40):
        start = time.perf_counter()
        predict_logits(weights, contrast, reference_contexts()[0])
        times.append(time.perf_counter() - start)
    return float(np.median(times[5:])) * 1e3


def main() -> tuple[dict[str, Any], bool]:
    report: dict[str, Any] = {"cores": os.cpu_count(), "machine": platform.machine()}
    report |= measure_dataset()
    torch.set_num_threads(1)
    report["train_columns_s"] = {name: measure_training(name) for name in NETWORKS}
    torch.set_num_threads(2)
    report["infer_10k_ms_by_network"] = {name: measure_inference(name) for name in NETWORKS}
    report["infer_10k_ms"] = max(report["infer_10k_ms_by_network"].values())  # type: ignore[attr-defined]
    report["limits"] = LIMITS
    report["met"] = {name: float(str(report[name])) <= limit for name, limit in LIMITS.items()}
    return report, all(report["met"].values())
