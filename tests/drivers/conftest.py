"""Small files of every format that is read, each holding the same picture."""

import json
import struct

import h5py
import numpy as np
import pytest

from benchmarks.rig.dm_files import dm_file

STEP_NM = 0.02


def picture(rows=48, columns=40):
    """A picture with no symmetry, so that a turned or shifted one is seen."""
    return np.random.default_rng(5).integers(1, 4000, (rows, columns)).astype(np.uint16)


def signal(data, metadata=None, *, unit="nm", step=STEP_NM, first=None):
    """A signal as RosettaSciIO's writers take it; `first` is (name, unit) of a leading axis."""
    names = [("y", unit), ("x", unit)] if first is None else [first, ("y", unit), ("x", unit)]
    axes = [
        {
            "name": name,
            "size": data.shape[index],
            "units": axis_unit,
            "scale": step,
            "offset": 0.0,
            "index_in_array": index,
            "navigate": len(names) == 3 and index == 0,
            "_type": "UniformDataAxis",
            "is_binned": False,
        }
        for index, (name, axis_unit) in enumerate(names)
    ]
    return {
        "data": data,
        "axes": axes,
        "metadata": {"General": {"title": "scan"}, "Signal": {"signal_type": ""}} | (metadata or {}),
        "original_metadata": {},
        "attributes": {"_lazy": False, "ragged": False},
        "package_info": {"package": "columnist", "package_version": "0"},
        "learning_results": {},
        "tmp_parameters": {},
        "models": {},
    }


def write_hspy(path, data=None, metadata=None, **axes):
    from rsciio.hspy import file_writer

    data = picture() if data is None else data
    file_writer(str(path), signal(data, metadata, **axes), show_progressbar=False)


def write_tif(path, data=None, **axes):
    from rsciio.tiff import file_writer

    file_writer(str(path), signal(picture() if data is None else data, **axes))


def write_zspy(path):
    """As HyperSpy writes it: Zarr format 2, nested chunks."""
    import zarr

    data = picture()
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    root.attrs.update({"file_format": "ZSpy", "file_format_version": "3.3"})
    experiment = root.require_group("Experiments").require_group("scan")
    experiment.attrs.update({"package": "hyperspy", "package_version": "2.0"})
    array = experiment.create_array(
        "data",
        shape=data.shape,
        chunks=(24, 20),
        dtype=data.dtype,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
    array[...] = data
    for index, axis in enumerate(signal(data)["axes"]):
        experiment.require_group(f"axis-{index}").attrs.update(axis)
    metadata = experiment.require_group("metadata")
    metadata.require_group("General").attrs.update({"title": "scan"})
    metadata.require_group("Signal").attrs.update({"signal_type": ""})
    metadata.require_group("Acquisition_instrument").require_group("TEM").attrs.update({"beam_energy": 80.0})
    experiment.require_group("original_metadata")


def write_mrc(path, data=None, *, order="<", cell_angstrom=None, mode=6):
    data = picture() if data is None else data
    frames = data[np.newaxis] if data.ndim == 2 else data
    count, rows, columns = frames.shape
    cell = cell_angstrom or (columns * STEP_NM * 10, rows * STEP_NM * 10, float(count))
    header = struct.pack(f"{order}10i3f", columns, rows, count, mode, 0, 0, 0, columns, rows, count, *cell)
    header = header.ljust(208, b"\0") + b"MAP " + (b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    path.write_bytes(header.ljust(1024, b"\0") + frames.astype(f"{order}u2").tobytes())


def write_ser(path):
    """One image as TIA writes it; rows run upwards in the file."""
    data = picture()
    rows, columns = data.shape
    dimension = struct.pack("<IddIII", 1, 0.0, 1.0, 0, 0, 0)
    offset_array = 30 + len(dimension)
    element = offset_array + 8
    head = struct.pack("<HHHIIIIII", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, 1, 1, offset_array, 1)
    calibration = struct.pack("<ddIddIHII", 0, STEP_NM * 1e-9, 0, 0, STEP_NM * 1e-9, 0, 2, columns, rows)
    body = calibration + data[::-1].astype("<u2").tobytes()
    tag = struct.pack("<HHI", 0x4152, 0, 0)
    offsets = struct.pack("<II", element, element + len(body))
    path.write_bytes(head + dimension + offsets + body + tag)


def write_velox(path, detectors=("HAADF", "BF"), frames=1, unit="m", angles=(None, "0.2")):
    """Several detectors of one scan, with the metadata that Velox keeps; `angles` are texts in rad."""
    data = picture()
    begin, end = angles
    with h5py.File(path, "w") as file:
        file["Version"] = np.array([json.dumps({"format": "Velox", "version": "11.0"}).encode()], dtype="S64")
        for index in range(len(detectors)):
            metadata = {
                "BinaryResult": {
                    "DetectorIndex": str(index),
                    "PixelSize": {"width": str(STEP_NM * 1e-9), "height": str(STEP_NM * 1e-9)},
                    "Offset": {"x": "0", "y": "0"},
                    "PixelUnitX": unit,
                },
                "Optics": {"AccelerationVoltage": "80000", "BeamConvergence": "0.0314"},
                "Scan": {"DwellTime": "5e-06", "FrameTime": "0.5"},
                "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1635407724"}},
                "Detectors": {
                    f"Detector-{number}": {
                        "DetectorName": other,
                        "CollectionAngleRange": {
                            "begin": f"{0.06 + number / 100}" if begin is None else begin,
                            "end": end,
                        },
                    }
                    for number, other in enumerate(detectors)
                },
            }
            text = json.dumps(metadata).encode().ljust(4096, b"\0")
            group = file.create_group(f"Data/Image/{index:032x}")
            group["Data"] = np.stack([data + index + frame for frame in range(frames)], axis=-1)
            group["Metadata"] = np.repeat(np.frombuffer(text, np.uint8)[:, np.newaxis], frames, axis=1)


def write_berkeley(path):
    from rsciio.emd import file_writer

    file_writer(str(path), signal(picture()))


def write_nexus(path):
    """Two detectors, one group each, and what they share in the instrument's group."""
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        column = entry.create_group("instrument/ebeam_column")
        column["voltage"] = 80e3
        column["voltage"].attrs["units"] = "V"
        for name, inner, outer in (("HAADF", 0.068, 0.28), ("MAADF", 0.03, 0.12)):
            group = entry.create_group(name)
            group.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["y", "x"], "detector": name})
            group["data"] = picture()
            for axis, size in zip("yx", picture().shape, strict=True):
                group[axis] = np.arange(size) * STEP_NM * 1e-9
                group[axis].attrs["units"] = "m"
            group["inner_angle"], group["outer_angle"] = inner, outer
            group["inner_angle"].attrs["units"] = group["outer_angle"].attrs["units"] = "rad"
            group["dwell_time"] = 38e3
            group["dwell_time"].attrs["units"] = "ns"


def write_hdf5(path):
    """No structure at all: one array, with what is known in its attributes."""
    with h5py.File(path, "w") as file:
        file["image"] = picture()
        file["image"].attrs.update(
            {"pixel_size_angstrom": 0.2, "beam_energy": 80e3, "dwell_time_us": 4.0, "dose_e_per_nm2": 5e6}
        )


def write_npy(path):
    np.save(path, picture())


def write_png(path):
    from imageio.v3 import imwrite

    imwrite(path, picture())


WRITERS = {
    "frame.hspy": write_hspy,
    "frame.zspy": write_zspy,
    "frame.tif": write_tif,
    "frame.mrc": write_mrc,
    "frame.ser": write_ser,
    "frame.dm3": lambda path: path.write_bytes(dm_file(picture(), version=3, step_nm=STEP_NM)),
    "frame.dm4": lambda path: path.write_bytes(dm_file(picture(), version=4, step_nm=STEP_NM)),
    "velox.emd": write_velox,
    "berkeley.emd": write_berkeley,
    "frame.nxs": write_nexus,
    "frame.h5": write_hdf5,
    "frame.npy": write_npy,
    "frame.png": write_png,
}


class Samples:
    """The writers, for tests: `samples.write("frame.tif")`, or one by name with its own options."""

    step_angstrom = STEP_NM * 10
    names = tuple(WRITERS)
    picture = staticmethod(picture)
    hspy, tif, mrc, velox = map(staticmethod, (write_hspy, write_tif, write_mrc, write_velox))

    def __init__(self, folder):
        self.folder = folder

    def write(self, name):
        path = self.folder / name
        WRITERS[name](path)
        return path


@pytest.fixture
def samples(tmp_path):
    return Samples(tmp_path)
