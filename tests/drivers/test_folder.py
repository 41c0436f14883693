import os
from pathlib import Path

import numpy as np
import pytest

import drivers.folder
from drivers.contract.context import HAADF, MAADF
from drivers.contract.errors import InputError
from drivers.file_context import facts_given
from drivers.files import read_micrographs
from drivers.folder import read_folder
from drivers.own_results import TABLE_HEADER

TIWSE2 = Path(__file__).parents[3] / "shared" / "data" / "tiwse2"


def save(folder, *names, shape=(40, 36)):
    for number, name in enumerate(names):
        picture = np.random.default_rng(number).integers(1, 999, shape).astype(np.uint16)
        np.save(folder / name, picture)


def labels(recording):
    return [(held.facts.source, held.position) for held in recording.frames]


def test_names_tell_detector_and_position(tmp_path):
    save(tmp_path, "haadf_2.npy", "maadf_2.npy", "haadf_11.npy", "overview.npy")
    recording = read_folder(tmp_path)
    assert labels(recording) == [
        ("overview.npy", "overview"),
        ("haadf_2.npy", "2"),
        ("maadf_2.npy", "2"),
        ("haadf_11.npy", "11"),
    ]
    assert [held.facts.detector for held in recording.frames] == [None, HAADF, MAADF, HAADF]
    assert not recording.is_series


def test_maps_that_were_written_beside_their_micrographs_are_not_played(tmp_path):
    save(tmp_path, "haadf_2.npy", "haadf_2.nxs.npy", "theirs.npy")
    (tmp_path / "haadf_2.nxs.npy").rename(tmp_path / "haadf_2.nxs")
    (tmp_path / "haadf_2.csv").write_text(",".join(TABLE_HEADER) + "\n")
    (tmp_path / "haadf_2_map.png").write_bytes(b"\x89PNG\r\n\x1a\n....tEXtSoftware\0columnist")
    (tmp_path / "theirs.csv").write_text(",".join(TABLE_HEADER) + "\n")
    recording = read_folder(tmp_path)
    assert labels(recording) == [("theirs.npy", "theirs"), ("haadf_2.npy", "2")]
    assert recording.notes == ("2 pictures and maps of earlier runs are left out",)


def test_what_the_operator_gives_counts_most(tmp_path):
    save(tmp_path, "haadf_1.npy")
    given = facts_given({"host": "WSe2", "dopant": "none", "detector": "MAADF"}, "command line")
    (held,) = read_folder(tmp_path, given).frames
    assert (held.facts.host, held.facts.dopants, held.facts.detector) == ("WSe2", (), MAADF)


def test_a_description_says_what_the_files_are(tmp_path):
    save(tmp_path, "a.npy", "b.npy", "not-this.npy")
    (tmp_path / "columnist.toml").write_text(
        """
        [context]
        host = "WSe2"
        dopant = "Ti"
        energy_kev = 80.0
        [[frame]]
        file = "b.npy"
        position = 7
        detector = "HAADF"
        [[frame]]
        file = "a.npy"
        position = 7
        detector = "35-120"
        dwell_us = 4.0
        """
    )
    one, other = read_folder(tmp_path).frames
    assert (one.facts.source, one.position, one.facts.detector) == ("b.npy", "7", HAADF)
    assert (other.facts.detector.inner_mrad, other.facts.dwell_us) == (35.0, 4.0)
    assert other.lasts_s == pytest.approx(40 * 36 * 4e-6)
    assert (one.facts.host, one.facts.dopants, one.facts.energy_kev) == ("WSe2", ("Ti",), 80.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[context", "expected a description in TOML"),
        ("[conext]", "expected the tables context and frame, found conext"),
        ('[context]\nhots = "WSe2"', "found 'hots'"),
        ("[[frame]]\nposition = 2", "expected file = the name"),
        ('[[frame]]\nfile = "../a.npy"', "expected file = the name"),
        ('[frame]\nfile = "a.npy"', r"expected \[\[frame\]\]"),
        ('[[frame]]\nfile = "gone.npy"', "gone.npy"),
        ('[context]\nhost = "XY2"\n[[frame]]\nfile = "a.npy"', "host 'XY2' is unknown"),
        ("context = 3", "expected a table"),
    ],
)
def test_a_wrong_description_is_refused_with_the_reason(tmp_path, text, reason):
    save(tmp_path, "a.npy")
    (tmp_path / "columnist.toml").write_text(text)
    with pytest.raises(InputError, match=reason):
        read_folder(tmp_path)


def test_one_file_is_a_recording_too(tmp_path):
    save(tmp_path, "haadf_1.npy", "other.npy")
    assert labels(read_folder(tmp_path / "haadf_1.npy")) == [("haadf_1.npy", "1")]


def test_what_cannot_be_read_is_left_out_with_a_note(tmp_path):
    save(tmp_path, "good.npy")
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("not a picture")
    recording = read_folder(tmp_path)
    assert labels(recording) == [("good.npy", "good")]
    assert "bad.npy is left out" in recording.notes[0]
    assert len(recording.notes) == 1


def test_a_frame_of_a_series_that_holds_nothing_is_left_out_with_a_note(tmp_path, samples):
    series = np.stack([samples.picture(), 0 * samples.picture(), samples.picture() + 1])
    samples.hspy(tmp_path / "series.hspy", series, first=("time", "s"))
    recording = read_folder(tmp_path)
    assert [held.facts.source for held in recording.frames] == [
        "series.hspy scan_frame_0",
        "series.hspy scan_frame_2",
    ]
    (note,) = recording.notes
    assert note.startswith("series.hspy scan frame 1: expected an image with contrast")
    assert note.endswith("it is left out")


def test_names_that_are_no_text_are_told_as_text(tmp_path):
    save(tmp_path, os.fsdecode(b"good\xff.npy"))
    (tmp_path / os.fsdecode(b"bad\xff.npy")).write_bytes(b"nothing")
    recording = read_folder(tmp_path)
    assert recording.frames[0].facts.source == "good\\udcff.npy"
    assert recording.notes[0].startswith("bad\\udcff.npy is left out: ")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "empty"])
def test_a_folder_without_pictures_is_refused(tmp_path, make):
    make(tmp_path / "folder")
    with pytest.raises(InputError, match="expected"):
        read_folder(tmp_path / "folder")


def test_pixels_past_the_bound_are_read_again_when_their_turn_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(drivers.folder, "KEPT_BYTES", 3000)
    save(tmp_path, "a.npy", "b.npy")
    one, other = read_folder(tmp_path).frames
    expected = np.load(tmp_path / "b.npy")
    assert np.array_equal(other.load(), expected)
    assert np.array_equal(one.load(), np.load(tmp_path / "a.npy"))
    save(tmp_path, "b.npy", shape=(50, 36))
    with pytest.raises(InputError, match="has changed"):
        other.load()


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that are read, each time."""
    names = []

    def read(file):
        names.append(file.name)
        return read_micrographs(file)

    monkeypatch.setattr(drivers.folder, "read_micrographs", read)
    return names


def test_frames_of_a_series_are_kept_up_to_the_bound_and_the_rest_is_read_at_once(
    tmp_path, samples, monkeypatch, reads
):
    series = np.stack([samples.picture() + number for number in range(6)])
    samples.hspy(tmp_path / "series.hspy", series, first=("time", "s"))
    monkeypatch.setattr(drivers.folder, "KEPT_BYTES", 2 * series[0].nbytes)
    frames = read_folder(tmp_path).frames
    kept = [held.load() for held in frames[:2]]
    assert all(image.base is None for image in kept)  # nothing else is kept with them
    assert reads == ["series.hspy"]
    assert all(np.array_equal(held.load(), known) for held, known in zip(frames, series, strict=True))
    assert reads == ["series.hspy"] * 2


def test_a_file_past_the_bound_leaves_it_to_those_that_follow(tmp_path, monkeypatch, reads):
    monkeypatch.setattr(drivers.folder, "KEPT_BYTES", 6000)
    save(tmp_path, "a.npy", shape=(100, 100))
    save(tmp_path, "b.npy", "c.npy")
    for held in read_folder(tmp_path).frames:
        held.load()
    assert reads == ["a.npy", "b.npy", "c.npy", "a.npy"]


def test_a_file_past_the_bound_that_is_gone_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(drivers.folder, "KEPT_BYTES", 0)
    save(tmp_path, "a.npy")
    (held,) = read_folder(tmp_path).frames
    (tmp_path / "a.npy").unlink()
    with pytest.raises(InputError, match=r"a\.npy: expected"):
        held.load()


@pytest.mark.skipif(not TIWSE2.is_dir(), reason=f"needs the recorded micrographs in {TIWSE2}")
def test_the_recorded_micrographs_are_an_instrument_of_two_detectors():
    recording = read_folder(TIWSE2)
    assert labels(recording) == [
        ("haadf_2.dm4", "2"),
        ("maadf_2.dm4", "2"),
        ("haadf_11.dm4", "11"),
        ("maadf_11.dm4", "11"),
    ]
    assert {held.facts.energy_kev for held in recording.frames} == {80.0}
    assert recording.frames[0].lasts_s == pytest.approx(512 * 512 * 38e-6)
