"""`docs/bridge.md` and its example: what stands there runs."""

import asyncio
import importlib.util
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from drivers.bridge import serving
from drivers.client import BridgeClient, Options
from drivers.contract.frame import Frame
from drivers.contract.instrument import BlankBeam, SwitchDetector, SwitchEnergy
from drivers.folder import read_folder

PATIENCE_S = 30.0
DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "bridge.md").read_text(encoding="utf-8")
EXAMPLE = DOCS / "examples" / "own_microscope.py"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def own_microscope(monkeypatch):
    monkeypatch.setitem(sys.modules, "vendor", load(DOCS / "examples" / "vendor.py"))
    return load(EXAMPLE).OwnMicroscope()


def code_of(language):
    return [part.split("```")[0].strip() for part in PAGE.split(f"```{language}\n")[1:]]


def test_the_page_shows_the_example_as_it_is():
    (shown,) = code_of("python")
    assert shown in EXAMPLE.read_text(encoding="utf-8")


async def test_the_example_serves_frames_and_takes_commands(own_microscope):
    with serving(own_microscope) as bridge:
        async with BridgeClient(bridge.address, Options(credits=1)) as client, asyncio.timeout(PATIENCE_S):
            outcomes = []
            async for arrival in client.arrivals():
                if not isinstance(arrival.content, Frame):
                    continue
                header = arrival.content.header
                if header.detector.name == "MAADF":
                    break
                if not outcomes:
                    assert header.energy_kev == pytest.approx(80.0)
                    assert header.pixel_size_angstrom == pytest.approx(0.2)
                    assert header.dwell_us == pytest.approx(4.0)
                    for command in (SwitchDetector(detectors=("MAADF",)), SwitchEnergy(energy_kev=60.0)):
                        outcomes.append(await client.execute(command))
    assert [outcome.status for outcome in outcomes] == ["confirmed", "refused"]
    assert own_microscope.scope.is_blanked


def test_the_example_blanks_the_beam(own_microscope):
    own_microscope.capabilities()
    own_microscope.execute(BlankBeam())
    assert own_microscope.state().is_blanked


def test_the_description_on_the_page_is_read(tmp_path):
    (text,) = code_of("toml")
    (tmp_path / "columnist.toml").write_text(text)
    for entry in tomllib.loads(text)["frame"]:
        name = Path(entry["file"]).with_suffix(".npy").name
        np.save(tmp_path / name, np.random.default_rng(1).integers(1, 99, (40, 40)).astype(np.uint8))
    (tmp_path / "columnist.toml").write_text(text.replace(".dm4", ".npy"))
    one, other = read_folder(tmp_path).frames
    assert one.position == other.position == "1"
    assert (one.facts.detector.name, other.facts.detector.inner_mrad) == ("HAADF", 30.0)
    assert one.facts.dopants == ("Ti",)
