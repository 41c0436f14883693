"""A made-up data set: as the builder writes it, but drawn from Gaussians in a second."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.training.conditions import Ranges
from models.training.dataset import Plan, shard_path

FRAMES = 12


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks only lose by more threads, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def made_up_dataset(tmp_path_factory) -> Path:
    """576 shards in which the class shows in the moments, but what it looks like depends on the detector."""
    folder = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(0)
    n = 10 * FRAMES
    label = np.tile(np.arange(5, dtype=np.uint8), n // 5)
    for number in range(576):
        sign = 1 if number % 2 else -1  # the detector
        moments = rng.normal(size=(n, 6)) * 0.3
        moments[:, 0] += sign * (1.5 * (label % 3) - 1.5)
        arrays = {
            "moments": moments.astype(np.float16),
            "aligned": moments.astype(np.float16),
            "spread": np.full(n, 0.1, np.float16),
            "is_metal": label >= 3,
            "is_bright": label < 3,
            "label": label,
            "motif": np.zeros(n, np.uint8),
            "frame": np.repeat(np.arange(FRAMES, dtype=np.uint16), 10),
            "log10_dose": np.full(n, 4.7, np.float16),
            "counts": np.array(json.dumps({"frames": FRAMES})),
        }
        np.savez(shard_path(folder, number), **arrays)
    card = Plan(n, 0, Ranges()).as_card() | {"columns": 576 * n}
    (folder / "card.json").write_text(json.dumps(card))
    return folder
