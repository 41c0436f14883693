"""NeXus and plain HDF5: images, their axes, and every attribute and scalar with its unit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from drivers.contract.errors import InputError
from drivers.file_images import SMALLEST_EDGE_PX, Axis, RawSignal
from drivers.file_metadata import Tag


def is_hyperspy(path: Path) -> bool:
    """Whether HyperSpy wrote the file, whatever its suffix."""
    import h5py

    with h5py.File(path, "r") as file:
        return bool(_plain(file.attrs.get("file_format")) == "HyperSpy")


def read_nexus(path: Path) -> tuple[RawSignal, ...]:
    """Read the default signal of every NXdata group, or every array of two or more axes if there is none.

    Raises
    ------
    InputError
        If there is no array at all.
    """
    import h5py

    with h5py.File(path, "r") as file:
        groups: list[Any] = [file]
        arrays: list[Any] = []

        def sort(_: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset):
                arrays.append(node)
            else:
                groups.append(node)

        file.visititems(sort)
        tags = dict(_tags([*groups, *arrays]))
        is_own = str(_plain(file.attrs.get("creator"))).startswith("columnist ")
        if is_own:  # its axes and its summary hold the fitted pixel size, which nobody declared
            tags = {path: tag for path, tag in tags.items() if not path.startswith("/entry/summary/")}
        signals = [(_signal(group), group) for group in groups if _is_nxdata(group)]
        chosen = [
            (dataset, () if is_own else _nexus_axes(group, dataset))
            for dataset, group in signals
            if dataset is not None
        ]
        if not chosen:
            chosen = [(dataset, ()) for dataset in arrays if dataset.ndim >= 2]
        if not chosen:
            raise InputError("expected an image, found no array of two axes in the file")
        paths = [str(dataset.name) for dataset, _ in chosen if sorted(dataset.shape)[-2] >= SMALLEST_EDGE_PX]
        return tuple(
            RawSignal(
                np.asarray(dataset[()]),
                axes,
                tags,
                title=_title(dataset),
                path=str(dataset.name),
                others=tuple(path for path in paths if path != dataset.name),
            )
            for dataset, axes in chosen
        )


def _tags(nodes: list[Any]) -> Iterator[tuple[str, Tag]]:
    """Attributes (``/entry/image/dwell_time``) and scalar datasets, with their units."""
    for node in nodes:
        base = str(node.name).rstrip("/")
        unit = _plain(node.attrs.get("units"))
        if getattr(node, "shape", None) == () or getattr(node, "shape", None) == (1,):
            yield base, Tag(_plain(node[()]), unit if isinstance(unit, str) else None)
        for name in node.attrs:
            own_unit = _plain(node.attrs.get(f"{name}_units"))
            yield (
                f"{base}/{name}",
                Tag(_plain(node.attrs[name]), own_unit if isinstance(own_unit, str) else None),
            )


def _plain(value: Any) -> Any:
    """Turn bytes and arrays of one element into what they hold."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _is_nxdata(group: Any) -> bool:
    return bool(_plain(group.attrs.get("NX_class")) == "NXdata") and "signal" in group.attrs


def _signal(group: Any) -> Any | None:
    """Return the array that an NXdata group names as its signal, or None."""
    import h5py

    name = _plain(group.attrs["signal"])
    node = group.get(name) if isinstance(name, str) else None
    return node if isinstance(node, h5py.Dataset) and node.ndim >= 2 else None


def _nexus_axes(group: Any, signal: Any) -> tuple[Axis, ...]:
    """Axes of an NXdata signal, or none unless every one is named."""
    names = group.attrs.get("axes")
    if names is None or len(np.atleast_1d(names)) != signal.ndim:
        return ()
    return tuple(
        _axis(group, str(_plain(name)), is_extra=index < signal.ndim - 2)
        for index, name in enumerate(np.atleast_1d(names))
    )


def _axis(group: Any, name: str, *, is_extra: bool) -> Axis:
    """Step and unit of one axis; an axis that is not evenly spaced to 1 in 1,000 has no unit."""
    import h5py

    node = group.get(name)
    if not isinstance(node, h5py.Dataset) or node.ndim != 1 or node.size < 2 or node.dtype.kind not in "uif":
        return Axis(name, 1.0, None, is_navigation=is_extra)
    steps = np.diff(np.asarray(node[()], dtype=np.float64))
    step = float(steps.mean())
    unit = _plain(node.attrs.get("units"))
    is_even = bool(np.all(np.abs(steps - step) <= 1e-3 * abs(step)))
    return Axis(
        name,
        abs(step),
        unit if isinstance(unit, str) and (is_even or is_extra) else None,
        is_navigation=is_extra,
    )


def _title(dataset: Any) -> str:
    """Name of the image within its file: its NXdata group's, unless the array is at the root."""
    parts = str(dataset.name).strip("/").split("/")
    return (
        parts[-2] if len(parts) > 1 and parts[-1] in ("data", "image", "intensity", "counts") else parts[-1]
    )
