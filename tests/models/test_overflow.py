"""Counts that overflowed are told from every other way to lose the bright end."""

from pathlib import Path

import numpy as np
import pytest

from drivers.contract.context import MAADF, Context, Specimen
from drivers.contract.errors import InputError
from drivers.files import read_micrographs
from models.analysis import analyse, load_analyser
from models.overflow import overflowed_part
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

DATA = Path(__file__).parents[3] / "shared" / "data"
CONTEXT = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=MAADF)
TYPES = ["u1", "u2", "i2"]


def simulated(dose_e_per_a2):
    plan = SpecimenPlan(rotation_deg=13.0, concentrations=DefectConcentrations(0.05, 0.004, 0.002))
    acquisition = Acquisition(
        pixels=256, fov_nm=256 * 0.039, dose_e_per_a2=dose_e_per_a2, source_sigma_angstrom=0.5
    )
    return simulate_frame(CONTEXT, acquisition, plan, seed=3).image.astype(float)


@pytest.fixture(scope="module")
def image():
    return simulated(1e5)


def overflowing(image, part, dtype):
    """Counts of which this part is more than the type holds, and begins anew at its least."""
    limits = np.iinfo(dtype)
    counts = np.round(image / np.quantile(image, 1 - part) * limits.max).astype(np.int64)
    span = int(limits.max) - int(limits.min) + 1
    return ((counts - limits.min) % span + limits.min).astype(dtype)


def stretched(image, cut, dtype):
    """The image over the whole range of a type, cut at both ends."""
    low, high = np.quantile(image, [cut, 1 - cut])
    limits = np.iinfo(dtype)
    unit = np.clip((image - low) / (high - low), 0, 1)
    return np.round(unit * (int(limits.max) - int(limits.min)) + limits.min).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_few_counts_that_overflowed_are_flagged(image, dtype):
    made = analyse(overflowing(image, 0.002, dtype), CONTEXT, load_analyser())
    (flag,) = (flag for flag in made.header.flags if flag.kind == "overflowed")
    assert "counts have overflowed" in flag.message


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("part", [0.03, 0.1])
def test_many_are_refused(image, part, dtype):
    with pytest.raises(InputError, match="overflowed; save the image in a wider type"):
        analyse(overflowing(image, part, dtype), CONTEXT, load_analyser())


@pytest.mark.parametrize("part", [0.002, 0.03])
def test_a_lost_line_hides_no_overflow(image, part):
    frame = overflowing(image, part, np.uint16)
    frame[100] = 0
    if part > 0.01:
        with pytest.raises(InputError, match="overflowed; save the image in a wider type"):
            analyse(frame, CONTEXT, load_analyser())
    else:
        kinds = {flag.kind for flag in analyse(frame, CONTEXT, load_analyser()).header.flags}
        assert {"overflowed", "lost_rows"} <= kinds


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("dose_e_per_a2", [100.0, 1e3, 1e4, 1e5])
def test_nothing_else_is_taken_for_an_overflow(dose_e_per_a2, dtype):
    frame = simulated(dose_e_per_a2)
    for cut in (0.0, 0.001, 0.01, 0.05, 0.1):
        assert overflowed_part(stretched(frame, cut, dtype)) == 0.0
    assert overflowed_part(np.round(frame).astype(np.uint16)) == 0.0


def test_dead_pixels_a_padded_edge_and_a_white_scale_bar_are_none():
    frame = stretched(simulated(1e5), 0.0, np.uint8)
    rng = np.random.default_rng(4)
    frame[rng.integers(0, 256, 60), rng.integers(0, 256, 60)] = 0
    frame[:10] = 2
    frame[-20:-16, 20:120] = 250
    assert overflowed_part(frame) == 0.0


@pytest.mark.skipif(not DATA.is_dir(), reason="the recorded micrographs (../shared/data) are missing")
@pytest.mark.parametrize("name", ["haadf_2", "maadf_2", "haadf_11", "maadf_11"])
@pytest.mark.parametrize("dtype", TYPES)
def test_recorded_micrographs_tell_it_too(name, dtype):
    frame = read_micrographs(DATA / "tiwse2" / f"{name}.dm4").micrographs[0].image.astype(float)
    assert overflowed_part(overflowing(frame, 0.005, dtype)) > 0
    for cut in (0.0, 0.001, 0.01, 0.05, 0.1):
        assert overflowed_part(stretched(frame, cut, dtype)) == 0.0
