import os

import numpy as np
import pytest

from drivers.contract.errors import CommandRefusedError, InputError
from drivers.contract.instrument import BlankBeam
from drivers.file_context import facts_given
from drivers.watch import Before, WatchMicroscope


class HandClock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s

    def wait(self, seconds):
        self.now_s += seconds


def save(path, seed=0):
    with path.open("wb") as file:
        np.save(file, np.random.default_rng(seed).integers(1, 999, (40, 36)).astype(np.uint16))


def watch(folder, clock=None, **options):
    clock = clock or HandClock()
    return WatchMicroscope(folder, stable_s=1.0, clock=clock, wait=clock.wait, **options)


def test_a_new_file_becomes_a_frame_once_it_has_stood_still(tmp_path):
    clock = HandClock()
    save(tmp_path / "old.npy")
    microscope = watch(tmp_path, clock)
    assert microscope.take_frame(3.0) is None
    save(tmp_path / "haadf_7.npy", seed=1)
    before_s = clock.now_s
    exposure = microscope.take_frame(3.0)
    assert clock.now_s - before_s >= 1.0
    assert exposure.facts.source == "haadf_7.npy"
    assert exposure.facts.detector.name == "HAADF"
    assert np.array_equal(exposure.pixels, np.load(tmp_path / "haadf_7.npy"))
    assert microscope.take_frame(3.0) is None


def test_a_file_that_grows_is_left_alone_until_it_is_complete(tmp_path):
    save(tmp_path / "whole.npy")
    whole = (tmp_path / "whole.npy").read_bytes()
    clock = HandClock()
    microscope = watch(tmp_path, clock)
    path = tmp_path / "growing.npy"
    for end in (0, 100, 2000, 2500):
        path.write_bytes(whole[:end])
        assert microscope.take_frame(0.8) is None
    path.write_bytes(whole)
    assert microscope.take_frame(3.0).facts.source == "growing.npy"


def test_a_file_of_an_unfinished_name_waits_for_its_renaming(tmp_path):
    microscope = watch(tmp_path)
    save(tmp_path / "a.npy.part")
    save(tmp_path / ".b.npy")
    assert microscope.take_frame(3.0) is None
    os.rename(tmp_path / "a.npy.part", tmp_path / "a.npy")
    assert microscope.take_frame(3.0).facts.source == "a.npy"


def test_a_picture_that_is_written_beside_its_micrograph_is_no_frame(tmp_path):
    microscope = watch(tmp_path)
    (tmp_path / "a_map.png").write_bytes(b"\x89PNG\r\n\x1a\n....tEXtSoftware\0columnist")
    assert microscope.take_frame(3.0) is None
    save(tmp_path / "a.npy")
    assert microscope.take_frame(3.0).facts.source == "a.npy"


def test_files_come_in_the_order_of_their_times(tmp_path):
    for number, name in enumerate(["c.npy", "a.npy", "b.npy"]):
        save(tmp_path / name, seed=number)
        os.utime(tmp_path / name, ns=(10**18 + number, 10**18 + number))
    microscope = watch(tmp_path, takes_present=True)
    names = [microscope.take_frame(3.0).facts.source for _ in range(3)]
    assert names == ["c.npy", "a.npy", "b.npy"]


def test_a_file_that_is_written_again_is_a_frame_again(tmp_path):
    microscope = watch(tmp_path)
    save(tmp_path / "a.npy")
    assert microscope.take_frame(3.0) is not None
    save(tmp_path / "a.npy", seed=2)
    os.utime(tmp_path / "a.npy", ns=(2 * 10**18, 2 * 10**18))
    assert microscope.take_frame(3.0) is not None


def test_a_file_that_was_moved_on_is_forgotten_and_a_frame_again_when_it_is_back(tmp_path):
    folder, archive = tmp_path / "folder", tmp_path / "archive"
    folder.mkdir(), archive.mkdir()
    microscope = watch(folder)
    save(folder / "a.npy")
    assert microscope.take_frame(3.0) is not None
    (folder / "a.npy").rename(archive / "a.npy")
    assert microscope.take_frame(3.0) is None
    (archive / "a.npy").rename(folder / "a.npy")
    assert microscope.take_frame(3.0) is not None


def test_after_a_restart_what_came_meanwhile_is_handed_over(tmp_path):
    names = ("old.npy", "read.npy", "read a.npy", "changed.npy", "missed.npy", "series.npy")
    for number, name in enumerate(names):
        save(tmp_path / name, seed=number)
    now_s = (tmp_path / "old.npy").stat().st_ctime
    read_s = {"read.npy": now_s + 9, "read a.npy": now_s + 9, "changed.npy": now_s - 1}
    before = Before(now_s - 5, read_s | {"series.npy scan_frame_1": now_s + 9})
    microscope = watch(tmp_path, before=before)
    taken = {microscope.take_frame(3.0).facts.source for _ in range(3)}
    assert taken == {"old.npy", "changed.npy", "missed.npy"}, "all that changed since it began"
    assert microscope.take_frame(3.0) is None
    assert watch(tmp_path, before=Before(now_s + 5, {})).take_frame(3.0) is None


def test_after_a_restart_what_was_read_is_not_read_again_though_files_that_are_there_are_wanted(tmp_path):
    for number, name in enumerate(("read.npy", "missed.npy")):
        save(tmp_path / name, seed=number)
    now_s = (tmp_path / "read.npy").stat().st_ctime
    microscope = watch(tmp_path, takes_present=True, before=Before(now_s + 5, {"read.npy": now_s + 9}))
    assert microscope.take_frame(3.0).facts.source == "missed.npy"
    assert microscope.take_frame(3.0) is None


def test_after_a_restart_a_series_that_was_read_in_part_is_read_to_its_end(tmp_path, samples):
    path, series = tmp_path / "series.hspy", np.stack([samples.picture() + step for step in range(3)])
    samples.hspy(path, series, first=("time", "s"))
    now_s = path.stat().st_ctime
    names = [f"series.hspy scan_frame_{step}" for step in range(3)]
    microscope = watch(tmp_path, before=Before(now_s - 5, {names[0]: now_s + 9}))
    assert [microscope.take_frame(3.0).facts.source for _ in range(2)] == names[1:]
    assert microscope.take_frame(3.0) is None
    os.utime(path, (now_s + 99, now_s + 99))
    assert [microscope.take_frame(3.0).facts.source for _ in range(3)] == names, "it has changed"


def test_what_cannot_be_read_is_announced_once(tmp_path):
    microscope = watch(tmp_path)
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.npy"):
        microscope.take_frame(3.0)
    assert microscope.take_frame(3.0) is None


def test_a_frame_of_a_series_that_holds_nothing_is_announced_and_the_others_come(tmp_path, samples):
    microscope = watch(tmp_path)
    series = np.stack([samples.picture(), 0 * samples.picture(), samples.picture() + 1])
    samples.hspy(tmp_path / "series.hspy", series, first=("time", "s"))
    with pytest.raises(InputError, match=r"series\.hspy scan frame 1: expected an image with contrast"):
        microscope.take_frame(3.0)
    frames = [microscope.take_frame(3.0) for _ in range(2)]
    assert all(np.array_equal(one.pixels, known) for one, known in zip(frames, series[::2], strict=True))
    assert microscope.take_frame(3.0) is None


@pytest.mark.parametrize("name", [b"bad\xff.npy", b"haadf_bad\xff.npy"], ids=["plain", "names a detector"])
def test_a_name_that_is_no_text_is_told_as_text(tmp_path, name):
    microscope = watch(tmp_path)
    save(tmp_path / os.fsdecode(name))
    assert microscope.take_frame(3.0).facts.source == name.decode("ascii", "backslashreplace").replace(
        "\\xff", "\\udcff"
    )


def test_a_file_that_vanishes_is_forgotten(tmp_path):
    microscope = watch(tmp_path)
    save(tmp_path / "a.npy")
    assert microscope.take_frame(0.5) is None
    (tmp_path / "a.npy").unlink()
    assert microscope.take_frame(3.0) is None


def test_the_state_tells_nothing_for_each_file_speaks_for_itself(tmp_path):
    microscope = watch(tmp_path, given=facts_given({"host": "WSe2", "energy_kev": 80}, "command line"))
    save(tmp_path / "a.npy")
    microscope.take_frame(3.0)
    assert (microscope.state().host, microscope.state().detectors) == (None, ())
    assert microscope.state().is_scanning


def test_it_takes_no_commands(tmp_path):
    assert watch(tmp_path).capabilities().commands == ()
    with pytest.raises(CommandRefusedError):
        watch(tmp_path).execute(BlankBeam())


def test_what_is_no_folder_cannot_be_watched(tmp_path):
    with pytest.raises(InputError, match="expected a folder to watch, found nothing"):
        watch(tmp_path / "gone")
