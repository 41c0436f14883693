"""Processes that share a computation, and end with the one that started them."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from drivers.contract.errors import InputError


def worker_pool(workers: int, prepare: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """Pool of processes that outlive their parent by nothing but the moment in which they notice.

    Workers of a parent that is killed would wait for more work for ever.  Each calls `prepare` first.
    """
    return ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(prepare,)
    )


def connect_cluster(address: str, *, timeout_s: float = 10.0) -> Any:
    """Client of a Dask scheduler.

    Raises
    ------
    InputError
        If none answers at the address.
    """
    from distributed import Client

    try:
        return Client(address, timeout=timeout_s)
    except OSError as error:
        raise InputError(
            f"no Dask scheduler answers at {address!r} ({error}); start one with `dask scheduler`, or "
            "leave out --cluster to work on this machine"
        ) from error


def _begin(prepare: Callable[[], None] | None) -> None:
    """What a worker does before its first work."""
    _end_with_parent()
    if prepare is not None:
        prepare()


def _end_with_parent() -> None:
    """End this process when its parent is gone."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True, name="end-with-parent").start()
