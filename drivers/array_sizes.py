"""Sizes that a file claims for its arrays, checked before anything is read."""

import math
from pathlib import Path
from typing import Any

from drivers.contract.errors import InputError

#: The largest array that is read [bytes]: a damaged header may claim any size.
LARGEST_ARRAY_BYTES = 8 * 2**30

# Deflate shrinks by at most 1032; an array that claims more was never written.
_LARGEST_COMPRESSION = 1100


def check_size(name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Raise for an array that a damaged header blew up."""
    if math.prod(shape) * itemsize > LARGEST_ARRAY_BYTES:
        raise InputError(
            f"expected an array of at most {LARGEST_ARRAY_BYTES // 2**30} GiB, found {name!r} of shape "
            f"{shape}; the file is damaged, or to be split"
        )


def check_hdf5_arrays(path: Path) -> None:
    """Walk the whole tree of an HDF5 file once and look at every array's size."""
    import h5py

    def look(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            check_size(name, node.shape, node.dtype.itemsize)
            stored = node.id.get_storage_size()
            if node.size >= 32**2 and node.nbytes > _LARGEST_COMPRESSION * stored:
                raise InputError(
                    f"expected {node.nbytes} bytes of {name!r}, found {stored} stored: the file is "
                    "damaged, or was closed before the image was written"
                )

    with h5py.File(path, "r") as file:
        file.visititems(look)
