"""Every format that is read, series and detectors, and everything that cannot be read."""

import gc
import os
import shutil
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from drivers.contract.errors import InputError
from drivers.files import read_micrographs

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the recorded micrographs (../shared/data) are missing"
)

FORMATS = [
    "frame.hspy",
    "frame.zspy",
    "frame.tif",
    "frame.mrc",
    "frame.ser",
    "frame.dm3",
    "frame.dm4",
    "velox.emd",
    "berkeley.emd",
    "frame.nxs",
    "frame.h5",
    "frame.npy",
    "frame.png",
]


@pytest.mark.parametrize("name", FORMATS)
def test_reads_the_same_picture_from_every_format(samples, name):
    first = read_micrographs(samples.write(name)).micrographs[0]
    np.testing.assert_array_equal(first.image, samples.picture())
    assert first.image.dtype == np.uint16
    assert first.image.flags.c_contiguous
    size = first.facts.pixel_size_angstrom
    if name in ("frame.npy", "frame.png"):
        assert size is None
    else:
        assert size.value == pytest.approx(samples.step_angstrom)
        assert name in size.source


def test_reads_the_detectors_of_a_velox_file_with_their_own_angles(samples):
    haadf, bf = read_micrographs(samples.write("velox.emd")).micrographs
    assert (haadf.label, bf.label) == ("HAADF", "BF")
    assert haadf.facts.energy_kev.value == 80.0
    assert haadf.facts.energy_kev.source == "velox.emd: Optics/AccelerationVoltage"
    assert haadf.facts.inner_mrad.value == pytest.approx(60.0)
    assert bf.facts.inner_mrad.value == pytest.approx(70.0)
    assert haadf.facts.outer_mrad.value == pytest.approx(200.0)
    assert haadf.facts.convergence_mrad.value == pytest.approx(31.4)
    assert haadf.facts.dwell_us.value == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("angles", "inner_mrad", "outer_mrad"),
    [
        ((None, "0"), 60.0, None),
        (("0", "0"), None, None),
        (("0", ""), None, None),
        (("0", "0.02"), 0.0, 20.0),
    ],
    ids=["no outer angle", "0 to 0", "an empty outer angle", "a disc"],
)
def test_angles_that_velox_writes_where_it_knows_none_are_not_known(samples, angles, inner_mrad, outer_mrad):
    samples.velox(samples.folder / "a.emd", detectors=("HAADF",), angles=angles)
    facts = read_micrographs(samples.folder / "a.emd").micrographs[0].facts
    known = [fact.value if fact else None for fact in (facts.inner_mrad, facts.outer_mrad)]
    assert known == [inner_mrad, outer_mrad]
    assert facts.notes == ()


def test_reads_the_detectors_of_a_nexus_file_with_their_own_angles(samples):
    haadf, maadf = read_micrographs(samples.write("frame.nxs")).micrographs
    assert (haadf.facts.detector.value, maadf.facts.detector.value) == ("HAADF", "MAADF")
    assert haadf.facts.inner_mrad.value == pytest.approx(68.0)
    assert maadf.facts.outer_mrad.value == pytest.approx(120.0)
    assert maadf.facts.dwell_us.value == pytest.approx(38.0)
    assert maadf.facts.energy_kev.value == pytest.approx(80.0)
    assert maadf.facts.energy_kev.source == "frame.nxs: /entry/instrument/ebeam_column/voltage"


def test_an_image_of_an_hdf5_file_does_not_borrow_the_angles_of_another(samples):
    with h5py.File(samples.folder / "two.h5", "w") as file:
        for name in ("HAADF", "MAADF"):
            file[f"{name}/image"] = samples.picture()
        file["HAADF/matrix"] = np.eye(3)
        file["HAADF/inner_angle_mrad"] = 68.0
        file["optics/matrix"] = np.eye(3)
        file["optics/energy"] = 80.0
    haadf, maadf = read_micrographs(samples.folder / "two.h5").micrographs
    assert haadf.facts.inner_mrad.value == 68.0
    assert maadf.facts.inner_mrad is None
    assert maadf.facts.energy_kev.value == haadf.facts.energy_kev.value == 80.0


def test_reads_units_from_names_in_plain_hdf5(samples):
    (only,) = read_micrographs(samples.write("frame.h5")).micrographs
    assert only.facts.dwell_us.value == 4.0
    assert only.facts.dose_e_per_a2.value == pytest.approx(5e4)
    assert only.facts.energy_kev.value == 80.0
    assert "taken as V" in only.facts.energy_kev.source


def series(samples, name):
    frames = np.stack([samples.picture(), samples.picture() + 1])
    path = samples.folder / name
    if name.endswith("hspy"):
        samples.hspy(path, frames, first=("time", "s"))
    elif name.endswith("tif"):
        samples.tif(path, frames, first=("z", ""))
    elif name.endswith("mrc"):
        samples.mrc(path, frames)
    else:
        samples.velox(path, detectors=("HAADF",), frames=2)
    return path


@pytest.mark.parametrize("name", ["a.hspy", "a.tif", "a.mrc", "a.emd"])
def test_takes_the_frames_of_a_series_apart(samples, name):
    one, two = read_micrographs(series(samples, name)).micrographs
    np.testing.assert_array_equal(one.image, samples.picture())
    np.testing.assert_array_equal(two.image, samples.picture() + 1)
    assert one.label.endswith("frame_0")
    assert two.label.endswith("frame_1")


def test_reads_an_mrc_file_of_the_other_byte_order(samples):
    path = samples.folder / "big.mrc"
    samples.mrc(path, order=">")
    np.testing.assert_array_equal(read_micrographs(path).micrographs[0].image, samples.picture())


def test_does_not_invent_a_pixel_size_for_an_mrc_file_without_one(samples):
    path = samples.folder / "bare.mrc"
    samples.mrc(path, cell_angstrom=(0.0, 0.0, 0.0))
    assert read_micrographs(path).micrographs[0].facts.pixel_size_angstrom is None


@pytest.mark.parametrize("with_header", [True, False], ids=["by its header", "by its steps"])
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_reads_an_mrc_file_of_bytes_with_and_without_signs(tmp_path, kind, with_header):
    wave = 100 * np.sin(np.arange(48) / 3)[:, None] * np.cos(np.arange(40) / 3)
    image = (wave if kind is np.int8 else wave + 120).astype(kind)
    header = np.zeros(256, "<i4")
    header[:4], header[7:10], header[16:19] = (40, 48, 1, 0), (40, 48, 1), (1, 2, 3)
    header[10:13] = np.array([40.0, 48.0, 1.0], "<f4").view("<i4")
    if with_header:
        header[19:21] = np.array([image.min(), image.max()], "<f4").view("<i4")
    content = bytearray(header.tobytes())
    content[208:216] = b"MAP DD\0\0"
    path = tmp_path / "bytes.mrc"
    path.write_bytes(bytes(content) + image.tobytes())
    read = read_micrographs(path).micrographs[0].image
    assert read.dtype == kind
    np.testing.assert_array_equal(np.sort(read, axis=None), np.sort(image, axis=None))


IMAGEJ_UNITS = {"nm": 0.04, "um": 4e-5, "\\u00B5m": 4e-5, "micron": 4e-5, "A": 0.4, "angstrom": 0.4}


@pytest.mark.parametrize("unit", IMAGEJ_UNITS)
def test_reads_the_pixel_size_that_imagej_wrote(tmp_path, unit):
    path = tmp_path / "image.tif"
    write_tiff(path, imagej=True, resolution=(1 / IMAGEJ_UNITS[unit],) * 2, metadata={"unit": unit})
    size = read_micrographs(path).micrographs[0].facts.pixel_size_angstrom
    assert size.value == pytest.approx(0.4, rel=1e-5)


@pytest.mark.parametrize("unit", ["pixel", "inch"])
def test_dots_of_a_printer_are_no_pixel_size(tmp_path, unit):
    path = tmp_path / "image.tif"
    write_tiff(path, imagej=True, resolution=(72, 72), metadata={"unit": unit})
    facts = read_micrographs(path).micrographs[0].facts
    assert facts.pixel_size_angstrom is None
    assert facts.notes == ()


def test_pixels_that_imagej_says_are_not_square_are_told(tmp_path):
    path = tmp_path / "image.tif"
    write_tiff(path, imagej=True, resolution=(25, 50), metadata={"unit": "nm"})
    facts = read_micrographs(path).micrographs[0].facts
    assert facts.pixel_size_angstrom is None
    assert "rows are 0.2 Å apart and columns 0.4 Å" in facts.notes[0]


@pytest.mark.parametrize(
    ("metadata", "size"),
    [
        (
            {
                "PhysicalSizeX": 0.04,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 0.04,
                "PhysicalSizeYUnit": "nm",
            },
            0.4,
        ),
        ({"PhysicalSizeX": 4e-5, "PhysicalSizeY": 4e-5}, 0.4),
        ({}, None),
    ],
    ids=["nm", "microns where no unit is named", "none"],
)
def test_reads_the_pixel_size_of_ome(tmp_path, metadata, size):
    path = tmp_path / "image.ome.tif"
    write_tiff(path, ome=True, metadata=metadata)
    found = read_micrographs(path).micrographs[0].facts.pixel_size_angstrom
    assert found is None if size is None else found.value == pytest.approx(size)


@pytest.mark.parametrize("broken", ['<OME><Pixels PhysicalSizeX="wide" PhysicalSizeY="1"/></OME>', "<OME"])
def test_an_image_is_no_worse_for_a_broken_description(tmp_path, broken):
    path = tmp_path / "image.ome.tif"
    write_tiff(path, description=broken, metadata=None)
    read = read_micrographs(path).micrographs[0]
    np.testing.assert_array_equal(read.image, COUNTS)
    assert read.facts.pixel_size_angstrom is None


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits"])
def test_reads_compressed_tiff(tmp_path, compression):
    path = tmp_path / "image.tif"
    write_tiff(path, compression=compression)
    np.testing.assert_array_equal(read_micrographs(path).micrographs[0].image, COUNTS)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_a_tiff_file_in_which_0_is_white_is_turned_round(tmp_path, kind):
    pixels = (COUNTS % 250).astype(kind)
    write_tiff(tmp_path / "image.tif", data=np.iinfo(kind).max - pixels, photometric="miniswhite")
    (only,) = read_micrographs(tmp_path / "image.tif").micrographs
    np.testing.assert_array_equal(only.image, pixels)


@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "colour"])
def test_the_thumbnail_of_a_tiff_file_is_no_micrograph(tmp_path, samples, channels):
    from tifffile import TiffWriter

    path = tmp_path / "frame.tif"
    small = np.random.default_rng(4).integers(0, 255, (40, 36, *channels)).astype(np.uint8)
    with TiffWriter(path) as file:
        file.write(small, subfiletype=1, metadata=None)
        file.write(samples.picture(), metadata=None)
    (only,) = read_micrographs(path).micrographs
    assert np.array_equal(only.image, samples.picture())


CHANNELS = np.random.default_rng(6).integers(0, 4000, (3, 48, 40)).astype(np.uint16)
NAMES = ["HAADF", "MAADF", "BF"]
KEPT_IN_CHANNELS = {
    "ImageJ": ("a.tif", CHANNELS, {"imagej": True, "metadata": {"axes": "CYX", "Labels": NAMES}}),
    "OME": ("a.ome.tif", CHANNELS, {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": NAMES}}}),
    "samples": ("a.tif", np.moveaxis(CHANNELS, 0, -1), {"planarconfig": "contig", "metadata": None}),
    "planes": ("a.tif", CHANNELS, {"planarconfig": "separate", "metadata": None}),
    "no names": ("a.tif", CHANNELS, {"imagej": True, "metadata": {"axes": "CYX"}}),
    "one name for all": (
        "a.tif",
        CHANNELS,
        {"imagej": True, "metadata": {"axes": "CYX", "Labels": ["a"] * 3}},
    ),
}


@pytest.mark.parametrize(("name", "data", "options"), KEPT_IN_CHANNELS.values(), ids=KEPT_IN_CHANNELS)
@pytest.mark.parametrize("count", [2, 3])
def test_the_detectors_that_a_tiff_file_keeps_as_channels_are_read_each(tmp_path, name, data, options, count):
    few = data[:count] if data is CHANNELS else data[..., :count]
    write_tiff(tmp_path / name, few.copy(), **options)
    found = read_micrographs(tmp_path / name).micrographs
    for one, image in zip(found, CHANNELS[:count], strict=True):
        np.testing.assert_array_equal(one.image, image)
    if "HAADF" in str(options):
        assert [one.label for one in found] == NAMES[:count]
        assert [one.facts.detector.value for one in found] == NAMES[:count]
        assert found[0].facts.detector.source == f"{name}: name of the channel"
    else:
        assert [one.label for one in found] == [f"channel_{number}" for number in range(count)]
        assert found[0].facts.detector is None


def test_channels_over_time_are_series_and_keep_their_pixel_size(tmp_path):
    path = tmp_path / "a.tif"
    frames = np.stack([CHANNELS[:2], CHANNELS[:2] + 1])
    about = {"axes": "TCYX", "Labels": ["HAADF", "MAADF"] * 2, "unit": "nm"}
    write_tiff(path, frames, imagej=True, resolution=(25, 25), metadata=about)
    found = read_micrographs(path).micrographs
    assert [one.label for one in found] == [
        f"{name}_frame_{number}" for name in ("HAADF", "MAADF") for number in range(2)
    ]
    np.testing.assert_array_equal(found[3].image, CHANNELS[1] + 1)
    assert found[3].facts.pixel_size_angstrom.value == pytest.approx(0.4, rel=1e-5)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_tiff_file_in_colour_is_no_scan_of_three_detectors(tmp_path, planar):
    path = tmp_path / "a.tif"
    data = CHANNELS if planar == "separate" else np.moveaxis(CHANNELS, 0, -1).copy()
    write_tiff(path, data, photometric="rgb", planarconfig=planar)
    with pytest.raises(InputError, match=r"expected a grey image, found a colour image"):
        read_micrographs(path)


def test_a_tiff_file_in_which_0_is_white_and_nothing_black_is_refused(tmp_path):
    write_tiff(tmp_path / "image.tif", data=PICTURE.astype(np.float32), photometric="miniswhite")
    with pytest.raises(InputError, match="found that 0 is white among values without a largest one"):
        read_micrographs(tmp_path / "image.tif")


def write_tiff(path, data=None, photometric="minisblack", **options):
    from tifffile import imwrite

    imwrite(path, COUNTS if data is None else data, photometric=photometric, **options)


COUNTS = np.random.default_rng(3).integers(0, 4000, (48, 40)).astype(np.uint16)


def test_keeps_the_good_frames_and_names_those_that_hold_nothing(samples):
    frames = np.stack([samples.picture(), np.zeros_like(samples.picture())])
    path = samples.folder / "half.hspy"
    samples.hspy(path, frames, first=("time", "s"))
    file = read_micrographs(path)
    assert [one.label for one in file.micrographs] == ["scan_frame_0"]
    (unusable,) = file.unusable
    assert unusable.label == "scan frame 1"
    assert "expected an image with contrast" in unusable.reason


PICTURE = np.random.default_rng(1).normal(size=(40, 40)).astype(np.float32)

BAD_ARRAYS = {
    "all NaN": (np.full((40, 40), np.nan), "NaN in every pixel"),
    "constant": (np.full((40, 40), 7), "the constant 7"),
    "tiny": (PICTURE[:8], "found 8 x 40"),
    "a line": (PICTURE[0], "found shape"),
    "colour": (np.stack([PICTURE] * 3, axis=-1), "colour"),
    "stack": (np.stack([PICTURE] * 9), "nothing that says that it is a series"),
    "4-D": (np.zeros((2, 2, 40, 40)), "found shape"),
    "empty": (np.zeros((0, 40)), "found 0 x 40"),
    "complex": (PICTURE + 1j, "complex values"),
    "negative infinite": (np.where(PICTURE > 2, -np.inf, PICTURE), "infinite pixels"),
    "text": (np.full((40, 40), "a"), "of type <U1"),
    "records": (np.zeros((40, 40), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour image"),
    "pickled": (np.full((40, 40), None), "pickled"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_refuses_an_array_that_is_no_micrograph(tmp_path, name):
    array, words = BAD_ARRAYS[name]
    path = tmp_path / "bad.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(InputError, match=words) as caught:
        read_micrographs(path)
    assert str(path) in str(caught.value)
    assert ";" in str(caught.value)


@pytest.mark.parametrize(
    ("unit", "first", "words"),
    [
        ("1/nm", None, "diffraction"),
        ("nm", ("z", "nm"), "stack of shape"),
        ("nm", ("Energy", "eV"), "spectrum"),
    ],
    ids=["diffraction pattern", "volume", "spectrum"],
)
def test_refuses_signals_that_are_no_images(samples, unit, first, words):
    path = samples.folder / "other.hspy"
    data = samples.picture() if first is None else np.stack([samples.picture()] * 9)
    samples.hspy(path, data, unit=unit, first=first)
    with pytest.raises(InputError, match=words):
        read_micrographs(path)


GREY = np.random.default_rng(2).integers(0, 255, (40, 44)).astype(np.uint8)
OPAQUE = np.full_like(GREY, 255)
IN_COLOUR = {
    "RGB": [GREY, GREY, GREY],
    "RGBA": [GREY, GREY, GREY, OPAQUE],
}
SUFFIXES_OF_COLOUR = ["png", "tif"]


@pytest.mark.parametrize("suffix", SUFFIXES_OF_COLOUR)
@pytest.mark.parametrize("mode", IN_COLOUR)
def test_a_grey_picture_that_was_saved_in_colour_is_read_as_grey(tmp_path, suffix, mode):
    path = tmp_path / f"grey.{suffix}"
    Image.fromarray(np.stack(IN_COLOUR[mode], axis=-1)).save(path)
    (micrograph,) = read_micrographs(path).micrographs
    np.testing.assert_array_equal(micrograph.image, GREY)


def test_a_grey_png_with_an_opaque_channel_is_read_as_grey(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(np.stack([GREY, OPAQUE], axis=-1), "LA").save(path)
    np.testing.assert_array_equal(read_micrographs(path).micrographs[0].image, GREY)


@pytest.mark.parametrize("suffix", SUFFIXES_OF_COLOUR)
@pytest.mark.parametrize(
    "channels",
    [[GREY, GREY, OPAQUE], [GREY, OPAQUE, GREY, OPAQUE], [GREY, GREY, GREY, GREY]],
    ids=["colour", "opaque colour", "half-transparent grey"],
)
def test_refuses_a_colour_picture(tmp_path, suffix, channels):
    path = tmp_path / f"colour.{suffix}"
    Image.fromarray(np.stack(channels, axis=-1)).save(path)
    with pytest.raises(InputError, match=r"expected a grey image, found .*colour"):
        read_micrographs(path)


def test_refuses_a_missing_file_a_folder_and_an_unknown_suffix(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_micrographs(tmp_path / "none.dm4")
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(InputError, match=r"tif: expected a file, found a folder; pass the files in it$"):
        read_micrographs(tmp_path / "folder.tif")
    (tmp_path / "a.docx").touch()
    with pytest.raises(InputError, match=r"expected a file of type .*\.dm4.*found '\.docx'"):
        read_micrographs(tmp_path / "a.docx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_refuses_a_named_pipe_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(InputError, match="expected a file, found a named pipe"):
        read_micrographs(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "suffix", ["dm3", "dm4", "emd", "ser", "mrc", "tif", "hspy", "nxs", "h5", "npy", "png"]
)
def test_refuses_an_empty_file_and_one_of_another_type(samples, suffix):
    path = samples.folder / f"liar.{suffix}"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="an empty one"):
        read_micrographs(path)
    other = samples.write("frame.npy" if suffix == "png" else "frame.png")
    shutil.copy(other, path)
    with pytest.raises(InputError, match=r"as its name says, found (PNG|NumPy)"):
        read_micrographs(path)


def test_refuses_a_zarr_folder_that_lacks_a_chunk(samples):
    path = samples.write("frame.zspy")
    (path / "Experiments" / "scan" / "data" / "1" / "1").unlink()
    with pytest.raises(InputError, match="found 3; copy"):
        read_micrographs(path)


def mutated(content, rng, kind):
    """A copy that is cut short, or has some bits turned: anywhere, or among the first 4 kB."""
    if kind == 0:
        return content[: int(rng.integers(1, len(content)))]
    copy = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        copy[int(rng.integers(len(copy) if kind == 1 else min(len(copy), 4096)))] ^= 1 << int(rng.integers(8))
    return bytes(copy)


# RosettaSciIO leaves a TIFF open when it fails; the file is closed when the error is dropped.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "frame.zspy"])
def test_a_damaged_file_is_refused_or_read_and_nothing_else(samples, name, caplog):
    caplog.set_level("CRITICAL")
    content = samples.write(name).read_bytes()
    path = samples.folder / f"damaged_{name}"
    rng = np.random.default_rng(17)
    is_hdf5 = content.startswith(b"\x89HDF")  # each case is a process
    for case in range(9 if is_hdf5 else 60):
        path.write_bytes(mutated(content, rng, case % 3))
        try:
            file = read_micrographs(path)
        except InputError:
            continue
        if case % 3 == 0:  # only what lies behind the image was cut away
            np.testing.assert_array_equal(file.micrographs[0].image, samples.picture())
    gc.collect()  # while the warning is expected


def test_a_file_that_hangs_the_library_is_given_up(samples, monkeypatch):
    path = samples.write("frame.hspy")
    monkeypatch.setattr("drivers.file_rehearsal.PATIENCE_S", 1e-3)
    with pytest.raises(InputError, match="found no end"):
        read_micrographs(path)
    assert read_micrographs(path, is_trusted=True).micrographs


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_tiff_pages_that_go_round_are_refused(samples, pages):
    path = samples.write("frame.tif")
    content = bytearray(path.read_bytes())
    begin = first = int.from_bytes(content[4:8], "little")
    tags = int.from_bytes(content[first : first + 2], "little")
    page = content[first : first + 2 + 12 * tags]
    for _ in range(pages - 1):  # copies of the page, each named by the one before
        begin, named = len(content), begin + len(page)
        content[named : named + 4] = begin.to_bytes(4, "little")
        content += page + bytes(4)
    content[begin + len(page) : begin + len(page) + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"found {pages} pages that lead back to byte {first}"):
        read_micrographs(path)


@needs_data
def test_a_damaged_dm4_file_is_refused_or_read_and_nothing_else(tmp_path):
    content = (DATA / "tiwse2" / "haadf_2.dm4").read_bytes()
    path = tmp_path / "damaged.dm4"
    rng = np.random.default_rng(3)
    for case in range(30):
        path.write_bytes(mutated(content, rng, case % 3))
        with suppress(InputError):
            read_micrographs(path)


@needs_data
@pytest.mark.parametrize(("name", "signal"), [("haadf_2", "ADF1"), ("maadf_2", "ADF2"), ("haadf_11", "ADF1")])
def test_reads_the_tags_of_the_recorded_dm4_files(name, signal):
    (only,) = read_micrographs(DATA / "tiwse2" / f"{name}.dm4").micrographs
    facts = only.facts
    assert only.image.shape == (512, 512)
    assert facts.energy_kev.value == 80.0
    assert facts.pixel_size_angstrom.value == pytest.approx(0.3988, abs=1e-4)
    assert facts.dwell_us.value == 38.0
    assert facts.detector.value == signal
    assert facts.inner_mrad is None
    assert facts.beam_current_pa is None  # the tag says 0: not measured


@needs_data
def test_reads_the_recorded_images_without_metadata():
    tif = read_micrographs(DATA / "mose2" / "mose2_grain_boundary.tif").micrographs[0]
    npy = read_micrographs(DATA / "crwse2" / "maadf_denoised_15.npy").micrographs[0]
    assert tif.image.shape == (500, 500)
    assert npy.image.dtype == np.float64
    assert tif.facts == npy.facts
    assert tif.facts.pixel_size_angstrom is None
