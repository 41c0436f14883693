import os
import subprocess
import sys

import pytest
import torch

from drivers.contract.errors import InputError
from models.training.workers import Worker, joined


def test_the_parts_of_a_batch_make_the_batch():
    batch = torch.arange(11)
    parts = [Worker(torch.device("cpu"), rank, 3).part(batch) for rank in range(3)]
    assert torch.equal(torch.cat(parts).sort().values, batch)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_too_small_to_be_shared_goes_to_all():
    batch = torch.arange(2)
    assert all(torch.equal(Worker(torch.device("cpu"), rank, 3).part(batch), batch) for rank in range(3))


def test_one_process_is_alone():
    with joined("cpu") as worker:
        assert (worker.rank, worker.world, worker.device.type) == (0, 1, "cpu")


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="--device cpu"), joined("cuda:99"):
        pass


@pytest.mark.slow
def test_two_processes_train_one_network(made_up_dataset, tmp_path):
    words = ["-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "agent", "train", "mlp-simple"]
    options = ["--dataset", str(made_up_dataset), "--out", str(tmp_path), "--epochs", "1"]
    done = subprocess.run(
        [sys.executable, *words, *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert '"processes": 2' in (tmp_path / "mlp-simple.json").read_text()
