"""The map as a NeXus file that names NXem: columns, image, context and the source of every value.

Names follow the NXem definition of the commit below, in which an event is an `NXem_event_data`; earlier
versions call it `NXevent_data_em` (decision 0021).  Fields that NXem asks for and no file tells, such as who
measured when, are left out rather than made up.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.contract.facts import FIELDS
from drivers.contract.maps import CLASS_NAMES, ColumnFlag, DefectMap

#: Commit of github.com/nexusformat/definitions that holds the definition.
DEFINITION = "004da96ef29bc6b7529e1f8e5d9415cd000bccb8"

_UNITS = {
    "energy_kev": "keV",
    "inner_mrad": "mrad",
    "outer_mrad": "mrad",
    "convergence_mrad": "mrad",
    "pixel_size_angstrom": "angstrom",
    "dwell_us": "us",
    "dose_e_per_a2": "1/angstrom^2",
    "beam_current_pa": "pA",
}


def nexus_bytes(defect_map: DefectMap, image: NDArray[np.generic]) -> bytes:
    """Content of the file.

    Parameters
    ----------
    defect_map : DefectMap
    image : ndarray of shape (M, N)
        The frame, in its own type.
    """
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w", track_order=True) as file:
        file.attrs["NX_class"] = "NXroot"
        file.attrs["default"] = "entry"
        file.attrs["creator"] = f"columnist {defect_map.header.model.code_version}"
        entry = _group(file, "entry", "NXentry")
        entry.attrs["default"] = "measurement/event1/image1/image"
        definition = entry.create_dataset("definition", data="NXem")
        definition.attrs["version"] = DEFINITION
        definition.attrs["URL"] = "https://github.com/nexusformat/definitions"
        _write_sample(entry, defect_map)
        _write_measurement(entry, defect_map, image)
        _write_columns(entry, defect_map)
        _write_provenance(entry, defect_map)
    return content.getvalue()


def _group(parent: Any, name: str, nx_class: str) -> Any:
    group = parent.create_group(name, track_order=True)
    group.attrs["NX_class"] = nx_class
    return group


def _write_sample(entry: Any, defect_map: DefectMap) -> None:
    """Write what is imaged."""
    specimen = defect_map.header.settled.context.specimen
    sample = _group(entry, "sample", "NXsample")
    sample["name"] = specimen.host
    sample["host"] = specimen.host
    sample["dopant"] = specimen.dopant or "none"


def _write_measurement(entry: Any, defect_map: DefectMap, image: NDArray[np.generic]) -> None:
    """Write the event: the context in our units, and the image on the lattice's scale."""
    header = defect_map.header
    event = _group(_group(entry, "measurement", "NXem_measurement"), "event1", "NXem_event_data")
    settings = _group(_group(event, "instrument", "NXem_instrument"), "settings", "NXcollection")
    for field in FIELDS:
        sourced = getattr(header.settled.facts, field)
        if sourced is None or field in ("host", "dopant"):
            continue
        name = "declared_" + field if field == "pixel_size_angstrom" else field
        dataset = settings.create_dataset(name, data=sourced.value)
        dataset.attrs["source"] = sourced.source
        if field in _UNITS:
            dataset.attrs["units"] = _UNITS[field]
    data = _group(_group(event, "image1", "NXimage"), "image", "NXdata")
    data.attrs["signal"] = "intensity"
    data.attrs["axes"] = ["axis_j", "axis_i"]
    data.create_dataset("intensity", data=image, compression="gzip", compression_opts=4, shuffle=True)
    for axis, (name, count) in enumerate(zip(("axis_j", "axis_i"), image.shape, strict=True)):
        place = data.create_dataset(name, data=np.arange(count) * header.scale.pixel_size_angstrom)
        place.attrs["units"] = "angstrom"
        place.attrs["long_name"] = ("row", "column")[axis]
        data.attrs[f"{name}_indices"] = axis


def _write_columns(entry: Any, defect_map: DefectMap) -> None:
    """Write every column: one dataset a quantity, and the raw records."""
    columns = defect_map.columns
    process = _group(entry, "columns", "NXprocess")
    process["program"] = "columnist"
    process["version"] = defect_map.header.model.code_version
    data = _group(process, "table", "NXdata")
    data.attrs["signal"] = "entropy_nats"
    units = {"row_px": "pixel", "col_px": "pixel", "x_angstrom": "angstrom", "y_angstrom": "angstrom"}
    for name in ("row_px", "col_px", "x_angstrom", "y_angstrom", "sublattice", "cls"):
        data[name] = columns[name]
        if name in units:
            data[name].attrs["units"] = units[name]
    data["sublattice"].attrs["meaning"] = "0 metal, 1 chalcogen"
    data["cls"].attrs["meaning"] = ", ".join(f"{number} {name}" for number, name in enumerate(CLASS_NAMES))
    for number, name in enumerate(CLASS_NAMES):
        data[f"p_{name}"] = columns["p"][:, number]
    for name in ("entropy_nats", "foreign", "grain", "flags"):
        data[name] = columns[name]
    data["flags"].attrs["meaning"] = ", ".join(
        f"{flag.value} {str(flag.name).lower()}" for flag in ColumnFlag
    )


def _write_provenance(entry: Any, defect_map: DefectMap) -> None:
    """Write the summary: the header as JSON, and its main figures as fields."""
    header = defect_map.header
    process = _group(entry, "summary", "NXprocess")
    process["header_json"] = header.model_dump_json()
    process["file"] = f"{header.frame.file or 'none'} {header.frame.label}".strip()
    scale = _group(process, "scale", "NXcollection")
    scale["lattice_px"] = header.scale.lattice_px
    scale["lattice_px"].attrs["units"] = "pixel"
    scale["pixel_size"] = header.scale.pixel_size_angstrom
    scale["pixel_size"].attrs["units"] = "angstrom"
    scale["pixel_size"].attrs["source"] = "fitted lattice and the host's lattice constant"
    for concentration in header.concentrations:
        group = _group(process, f"concentration_{concentration.defect}", "NXcollection")
        for name in ("value", "low", "high", "sites", "expected_count"):
            group[name] = getattr(concentration, name)
        group.attrs["of"] = concentration.of
        group.attrs["interval"] = "95 %"
    model = _group(process, "model", "NXcollection")
    for name, value in header.model.model_dump().items():
        model[name] = value
    process["flags"] = [f"{flag.kind}: {flag.message}" for flag in header.flags] or ["none"]
    process["notes"] = list(header.settled.facts.notes) or ["none"]
