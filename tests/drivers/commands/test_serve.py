import argparse

import numpy as np
import pytest

from drivers.commands import serve
from drivers.contract.errors import InputError
from drivers.replay import ReplayMicroscope
from drivers.session_layout import FACTS
from drivers.watch import WatchMicroscope


def parse(*words):
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture
def folder(tmp_path):
    for name in ("haadf_1.npy", "maadf_1.npy"):
        np.save(tmp_path / name, np.random.default_rng(1).integers(1, 99, (40, 40)).astype(np.uint8))
    return tmp_path


def test_a_folder_is_served_with_what_the_command_line_says(folder):
    microscope = serve.build_microscope(
        parse("replay", folder, "--host", "WSe2", "--dopant", "Ti", "--start-with", "MAADF", "--speed", "max")
    )
    assert isinstance(microscope, ReplayMicroscope)
    exposure = microscope.take_frame(1.0)
    assert (exposure.facts.host, exposure.facts.dopants) == ("WSe2", ("Ti",))
    assert exposure.facts.detector.name == "MAADF"


def test_a_folder_is_watched(folder):
    assert isinstance(serve.build_microscope(parse("watch", folder, "--present")), WatchMicroscope)


@pytest.mark.parametrize("speed", ["0", "-2", "fast", "nan"])
def test_a_speed_that_is_none_is_refused(folder, speed):
    with pytest.raises(SystemExit):
        parse("replay", folder, f"--speed={speed}")


@pytest.mark.parametrize("option", [("--host", "WSe2"), ("--describe", "columnist.toml")], ids=" ".join)
def test_a_session_is_told_nothing_of_its_frames(tmp_path, option):
    (tmp_path / FACTS).touch()
    with pytest.raises(InputError, match="says itself what its frames are; leave the options out"):
        serve.build_microscope(parse("replay", tmp_path, *option))


def test_a_folder_that_is_missing_is_refused(tmp_path):
    with pytest.raises(InputError, match="found nothing"):
        serve.build_microscope(parse("replay", tmp_path / "gone"))
