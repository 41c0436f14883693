"""Processes that draw and read frames side by side, each with one thread."""

from concurrent.futures import ProcessPoolExecutor

import torch

from sim_microscope.workers import worker_pool


def reading_pool(workers: int) -> ProcessPoolExecutor:
    """Pool of processes that leave the other cores to one another, and end with the one that started them."""
    return worker_pool(workers, one_thread)


def one_thread() -> None:
    """Leave the cores to the other processes; the simulator's compiled loops raise torch's threads again."""
    torch.set_num_threads(1)
