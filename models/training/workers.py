"""The processes that train one network together: one alone, or those that torchrun started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from drivers.contract.errors import InputError


@dataclass(frozen=True)
class Worker:
    """One process of a training.

    Parameters
    ----------
    device : device
        Where its part of each batch is worked on.
    rank, world : int
        Its number, and how many there are; number 0 writes what is kept.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    def part(self, batch: Tensor) -> Tensor:
        """Part of a batch that is for this process; of one too small to be shared, all of it."""
        # A mean over no columns would be no number, or halve what the others have found.
        return batch if len(batch) < self.world else batch[self.rank :: self.world]

    def precision(self) -> torch.autocast:
        """Mixed precision on a GPU, single on the CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def share_gradients(self, network: nn.Module) -> None:
        """Give every process the mean of all gradients."""
        if self.world > 1:
            for parameter in network.parameters():
                if parameter.grad is not None:
                    distributed.all_reduce(parameter.grad)
                    parameter.grad /= self.world


@contextmanager
def joined(device: str) -> Iterator[Worker]:
    """Join the processes that torchrun started, if it did; leave them at the end.

    Parameters
    ----------
    device : str
        "cpu", "cuda" (with torchrun one GPU a process), or a device's full name.

    Raises
    ------
    InputError
        If the device is not there.
    """
    world, local = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("LOCAL_RANK", "0")
    name = f"cuda:{local}" if device == "cuda" else device
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {device}: {error}; use --device cpu") from error
    if world == 1:
        yield Worker(chosen)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Worker(chosen, distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
