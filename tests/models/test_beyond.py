"""Columns beyond every class are foreign, and many of them put the context in doubt."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from drivers.contract.context import HAADF, MAADF, ColumnClass, Context, Detector, Specimen
from models.analysis import FOREIGN, analyse, load_analyser
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import Frame, SpecimenPlan, simulate_frame


def context(host: str, dopant: str | None, detector: Detector = HAADF) -> Context:
    return Context(specimen=Specimen(host=host, dopant=dopant), energy_kev=80.0, detector=detector)


def taken(of: Context) -> Frame:
    acquisition = Acquisition(pixels=512, fov_nm=10.0, dose_e_per_a2=1e5, source_sigma_angstrom=0.45)
    plan = SpecimenPlan(rotation_deg=17.0, concentrations=DefectConcentrations(0.03, 0.01, 0.04))
    return simulate_frame(of, acquisition, plan, seed=8)


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
    kinds = {
        name: [flag.kind for flag in analyse(image, one, load_analyser()).header.flags]
        for name, one in (("true", true), ("said", said))
    }
    assert told in kinds["said"]
    assert kinds["true"] == []
