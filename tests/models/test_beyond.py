"""Columns beyond every class are foreign, and many of them put the context in doubt."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.maps import score as benchmark_score
from drivers.contract.context import HAADF, MAADF, ColumnClass, Context, Detector, Specimen
from models.analysis import analyse, load_analyser
from models.map_flags import FOREIGN
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import Frame, SpecimenPlan, simulate_frame


def context(host: str, dopant: str | None, detector: Detector = HAADF) -> Context:
    return Context(specimen=Specimen(host=host, dopant=dopant), energy_kev=80.0, detector=detector)


def taken(
    of: Context, source: float = 0.45, shares: tuple[float, float, float] = (0.03, 0.01, 0.04)
) -> Frame:
    acquisition = Acquisition(pixels=512, fov_nm=10.0, dose_e_per_a2=1e5, source_sigma_angstrom=source)
    plan = SpecimenPlan(rotation_deg=17.0, concentrations=DefectConcentrations(*shares))
    return simulate_frame(of, acquisition, plan, seed=8)


def kinds_of(image: NDArray[np.float32], said: Context) -> list[str]:
    return [flag.kind for flag in analyse(image, said, load_analyser()).header.flags]


@pytest.mark.parametrize("named", [("MoSe2", "Cr"), ("MoSe2", None)], ids=["another named", "none named"])
def test_dopants_that_nobody_named_are_foreign_and_no_others(named):
    frame = taken(context("MoSe2", "Re"))
    found = analyse(frame.image, context(*named), load_analyser())
    at = np.stack([found.columns["row_px"], found.columns["col_px"]], axis=1)
    truth = frame.crystal.classes[cKDTree(frame.pixel_positions).query(at)[1]]
    foreign = found.columns["foreign"] > FOREIGN
    assert foreign[truth == ColumnClass.DOPANT].mean() > 0.95
    assert foreign[truth != ColumnClass.DOPANT].mean() < 0.005
    assert "many_foreign" in [flag.kind for flag in found.header.flags]


# Each frame fits the other context in the ratio of its sublattices, so that nothing else gives it away.
MISTAKEN = {
    "another host": (context("WSe2", "Ti"), context("MoSe2", "Ti"), "many_foreign"),
    "another detector": (context("MoTe2", "V", MAADF), context("MoTe2", "V"), "context_contradicted"),
}


@pytest.mark.parametrize(("true", "said", "told"), MISTAKEN.values(), ids=MISTAKEN)
def test_a_context_that_only_defects_speak_against_is_doubted(true, said, told):
    image = taken(true).image
    assert told in kinds_of(image, said)
    assert kinds_of(image, true) == []


@pytest.mark.parametrize(("host", "detector"), [("WS2", HAADF), ("WS2", MAADF), ("TaS2", HAADF)])
def test_defects_that_are_less_deep_than_those_of_the_context_are_told(host, detector):
    """Nb read as Ti drags the vacancies along: single ones become double, and nothing else gives it away."""
    image = taken(context(host, "Nb", detector)).image
    assert "defects_unlike" in kinds_of(image, context(host, "Ti", detector))
    assert kinds_of(image, context(host, "Nb", detector)) == []


def test_a_blur_beyond_the_usual_is_told():
    of = context("WS2", "Cr")
    assert "defects_unlike" in kinds_of(taken(of, source=0.95).image, of)


ALLOYS = {
    "a quarter V in MoS2": (context("MoS2", "V", MAADF), (0.03, 0.004, 0.25)),
    "a quarter V in WSe2": (context("WSe2", "V", MAADF), (0.02, 0.002, 0.25)),
    "3 in 10 Ti in WSe2": (context("WSe2", "Ti", MAADF), (0.02, 0.002, 0.3)),
    "few vacancies in WSe2:Ti": (context("WSe2", "Ti"), (0.01, 0.001, 0.1)),
}


@pytest.mark.parametrize(("of", "shares"), ALLOYS.values(), ids=ALLOYS)
def test_alloys_are_not_taken_for_vacancies_of_the_other_sublattice(of, shares):
    frame = taken(of, shares=shares)
    found = analyse(frame.image, of, load_analyser())
    score = benchmark_score(frame, found)
    assert score["sublattice_right"] == 1.0
    assert score["f1"] > 0.95
    # The other detector, with the sublattices exchanged, explains dopants as vacancies about as well.
    assert {flag.kind for flag in found.header.flags} <= {"detector_decides"}


@pytest.mark.parametrize("host", ["MoS2", "VS2"])
def test_dopants_of_a_signal_that_is_not_linear_are_told(host):
    """They stand out from the metal as clearly as before, and half-way to where they should be."""
    of = context(host, "Re")
    image = taken(of, shares=(0.03, 0.01, 0.01)).image.astype(float)
    assert "defects_unlike" not in kinds_of(image, of)
    assert "defects_unlike" in kinds_of((image / image.max()) ** 0.7, of)
    assert "defects_unlike" in kinds_of(image / (1 + image / image.max()), of)


@pytest.mark.parametrize("detector", [HAADF, MAADF])
def test_dopants_of_another_depth_than_was_said_leave_the_vacancies_alone(detector):
    frame = taken(context("WSe2", "Nb", detector), shares=(0.04, 0.004, 0.06))
    found = analyse(frame.image, context("WSe2", "Ti", detector), load_analyser())
    at = np.stack([found.columns["row_px"], found.columns["col_px"]], axis=1)
    truth = frame.crystal.classes[cKDTree(frame.pixel_positions).query(at)[1]]
    single = found.columns["cls"][truth == ColumnClass.VAC1]
    assert (single == ColumnClass.VAC1).mean() > 0.95
    assert "defects_unlike" in [flag.kind for flag in found.header.flags]
