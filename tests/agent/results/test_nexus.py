import io
import json

import h5py
import numpy as np

from agent.results.nexus import nexus_bytes
from drivers.contract.maps import CLASS_NAMES, DefectMap, Sublattice
from drivers.files import read_micrographs


def test_the_file_holds_columns_image_scale_and_sources(a_map):
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    with h5py.File(io.BytesIO(nexus_bytes(a_map(), image)), "r") as file:
        assert file["entry/definition"][()] == b"NXem"
        event = file["entry/measurement/event1"]
        assert event.attrs["NX_class"] == "NXem_event_data"
        data = event["image1/image"]
        assert np.array_equal(data[data.attrs["signal"]][()], image)
        assert np.allclose(np.diff(data["axis_i"][()]), 0.4)
        assert event["instrument/settings/energy_kev"].attrs["source"] == "image.dm4: Voltage"
        table = file["entry/columns/table"]
        assert table["p_vac1"].shape == (6,)
        header = json.loads(file["entry/summary/header_json"][()])
        assert header["scale"]["lattice_px"] == 8.3


def test_our_own_file_can_be_read_again(a_map, tmp_path):
    path = tmp_path / "map.nxs"
    image = np.random.default_rng(1).poisson(9, (64, 64)).astype(np.uint16)
    path.write_bytes(nexus_bytes(a_map(), image))
    (micrograph, *_) = read_micrographs(path, is_trusted=True).micrographs
    assert np.array_equal(micrograph.image, image)
    assert micrograph.facts.host is not None
    assert micrograph.facts.host.value == "WSe2"


def test_the_fitted_pixel_size_of_our_own_file_is_not_read_as_declared(a_map, tmp_path):
    path, image = tmp_path / "map.nxs", np.random.default_rng(1).poisson(9, (64, 64)).astype(np.uint16)
    path.write_bytes(nexus_bytes(a_map(), image))
    size = read_micrographs(path, is_trusted=True).micrographs[0].facts.pixel_size_angstrom
    assert size.value == 0.41
    assert size.source.endswith("/instrument/settings/declared_pixel_size_angstrom")
    with h5py.File(path, "a") as file:
        del file["entry/measurement/event1/instrument/settings/declared_pixel_size_angstrom"]
    facts = read_micrographs(path, is_trusted=True).micrographs[0].facts
    assert facts.pixel_size_angstrom is None
    assert facts.notes == ()


def test_the_axes_of_the_image_are_its_rows_and_then_its_columns(a_map):
    image = np.zeros((64, 48), np.uint16)
    with h5py.File(io.BytesIO(nexus_bytes(a_map(), image)), "r") as file:
        data = file["entry/measurement/event1/image1/image"]
        names = [*data.attrs["axes"]]
        assert [data[name].size for name in names] == [64, 48]
        assert [data[name].attrs["long_name"] for name in names] == ["row", "column"]
        assert [data.attrs[f"{name}_indices"] for name in names] == [0, 1]
        assert {data[name].attrs["units"] for name in names} == {"angstrom"}


def test_every_field_of_the_table_is_that_of_the_columns_in_its_own_unit(a_map):
    columns = a_map().columns.copy()
    columns["grain"], columns["foreign"] = 2, 0.25
    defect_map = DefectMap(a_map().header, columns)
    with h5py.File(io.BytesIO(nexus_bytes(defect_map, np.zeros((64, 64), np.uint16))), "r") as file:
        table = file["entry/columns/table"]
        for name in set(columns.dtype.names) & set(table):
            np.testing.assert_array_equal(table[name][()], columns[name], name)
        for number, name in enumerate(CLASS_NAMES):
            np.testing.assert_array_equal(table[f"p_{name}"][()], columns["p"][:, number])
        for name, unit in (("row", "px"), ("col", "px"), ("x", "angstrom"), ("y", "angstrom")):
            assert table[f"{name}_{unit}"].attrs["units"] == {"px": "pixel"}.get(unit, unit)
        sides = ", ".join(f"{side.value} {side.name.lower()}" for side in Sublattice)
        assert table["sublattice"].attrs["meaning"] == sides
        assert table["cls"].attrs["meaning"] == "0 x2, 1 vac1, 2 vac2, 3 metal, 4 dopant"
        share = file["entry/summary/concentration_vac1"]
        assert [share[name][()] for name in ("low", "value", "high")] == [0.1, 0.3, 0.6]
