"""How many threads torch works with."""

import torch


def use_threads(count: int) -> None:
    """Let operations that are called from this thread use `count` threads."""
    torch.set_num_threads(count)
